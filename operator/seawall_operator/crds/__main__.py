"""`python -m seawall_operator.crds FOLDER` writes the definitions; with `--check` it only says what is out of date."""

import argparse
import sys
from pathlib import Path

import yaml

from seawall_operator.crds.definitions import definitions

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "documents.md"
HEAD = "# Made by `make crds` of the policy's models and of docs/documents.md. Change those.\n"


def texts() -> dict[str, str]:
    """File name → content."""
    found = definitions(DOCUMENTATION.read_text(encoding="utf-8"))
    return {
        f"{name}.yaml": HEAD + yaml.safe_dump(crd, sort_keys=False, width=120, allow_unicode=True)
        for name, crd in found.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the CustomResourceDefinitions.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file is out of date")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    wanted = texts()
    if arguments.check:
        there = {file.name: file.read_text(encoding="utf-8") for file in folder.glob("*.yaml")}
        stale = sorted(name for name in there.keys() | wanted.keys() if there.get(name) != wanted.get(name))
        if stale:
            print(f"out of date in {folder}: {', '.join(stale)}; run `make crds`", file=sys.stderr)
        return 1 if stale else 0
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.yaml"):
        if file.name not in wanted:
            file.unlink()
    for name, text in wanted.items():
        (folder / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
