"""What is released together says the same version, and is pinned alike."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from seawall import __version__

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^(\S+?)==(\S+)", re.MULTILINE)
LOCKS = sorted((ROOT / "image").glob("*.lock"))


def _pins(lock: Path) -> dict[str, str]:
    return dict(PIN.findall(lock.read_text()))


def test_everything_is_of_one_version() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == __version__
    for chart in ("seawall", "seawall-crds"):
        found = yaml.safe_load((ROOT / "charts" / chart / "Chart.yaml").read_text())
        assert (found["version"], found["appVersion"]) == (__version__, __version__)
    assert f"ARG VERSION={__version__}\n" in (ROOT / "Dockerfile").read_text()
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_the_image_has_what_was_tested(lock: Path) -> None:
    tested, packed = _pins(ROOT / "requirements-dev.lock"), _pins(lock)
    assert packed
    assert {
        name: (tested[name], version) for name, version in packed.items() if tested.get(name, version) != version
    } == {}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_every_package_is_pinned_by_hash_and_names_no_index(lock: Path) -> None:
    text = lock.read_text()
    assert len(_pins(lock)) == len(re.findall(r"^\S+==.*\\\n    --hash=sha256:", text, re.MULTILINE))
    assert "://" not in text and "--index" not in text


@pytest.mark.parametrize("lock", [lock for lock in LOCKS if "build" not in lock.stem], ids=lambda lock: lock.stem)
def test_the_image_can_do_what_the_charts_values_ask_for(lock: Path) -> None:
    """traces.endpoint, and what policies and options name."""
    assert {"opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http", "redis", "boto3", "kopf"} <= _pins(
        lock
    ).keys()


def test_actions_are_pinned_by_commit() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yaml").read_text())
    used = [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
    assert used and all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", one) for one in used)
    assert "${{ secrets" not in (ROOT / ".github" / "workflows" / "ci.yaml").read_text()


def test_what_is_pruned_is_what_nothing_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "image"))
    from prune import prune

    site = tmp_path / "lib" / "python3.13" / "site-packages"
    kept = ["botocore/data/sts/x.json.gz", "botocore/data/endpoints.json", "seawall/cli.py", "zstandard/backend_c.so"]
    taken = ["botocore/data/ec2/x.json.gz", "zstandard/_cffi.so", "a/core.pyx", "a/__init__.pyi", "a/tests/test_a.py"]
    for name in (*kept, *taken):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text("12345")
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("python3", "seawall", "seawall-operator", "kopf", "activate"):
        (commands / name).write_text("12345")
    assert prune(tmp_path) == 5 * len(taken) + 2 * 5
    assert all((site / name).exists() for name in kept)
    assert not any((site / name).exists() for name in taken)
    assert {one.name for one in commands.iterdir()} == {"python3", "seawall", "seawall-operator"}
