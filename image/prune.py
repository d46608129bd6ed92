"""Takes out of an environment what nothing reads at run time, and says how much that was.

prune.py ENVIRONMENT
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

# AWS's library describes 450 services, 28 MB. Keys come from the first four, and calls go to the others.
AWS_SERVICES = frozenset({"sts", "sso", "sso-oidc", "signin", "bedrock", "bedrock-runtime"})
COMMANDS = ("python", "seawall", "kubectl-seawall")
SOURCES = (".pyi", ".pyx", ".pxd", ".c", ".h", ".hash")


def superfluous(environment: Path) -> Iterator[Path]:
    """Files and folders. Raises ValueError where that is no environment of one Python."""
    (site,) = environment.glob("lib/python3*/site-packages")
    # Commands that packages bring along, and what shells would source.
    yield from (one for one in (environment / "bin").glob("*") if not one.name.startswith(COMMANDS))
    for folder in (site / "botocore" / "data", site / "boto3" / "data"):
        yield from (one for one in folder.glob("*") if one.is_dir() and one.name not in AWS_SERVICES)
    # The binding for PyPy; CPython has its own beside it.
    yield from site.glob("zstandard/_cffi*")
    yield from (one for one in site.rglob("*") if one.suffix in SOURCES and one.is_file())
    yield from (one for one in site.glob("*/tests") if one.is_dir())


def prune(environment: Path) -> int:
    """Bytes that were taken out. Raises ValueError as above."""
    taken = 0
    for path in sorted(set(superfluous(environment))):
        if path.is_dir():
            taken += sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
            shutil.rmtree(path)
        elif path.exists():
            taken += path.stat().st_size
            path.unlink()
    return taken


if __name__ == "__main__":
    print(f"pruned {prune(Path(sys.argv[1])) / 1e6:.1f} MB")
