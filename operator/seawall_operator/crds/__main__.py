"""`python -m seawall_operator.crds CHARTS PAGES` writes the definitions and a page of documentation for each kind; with
`--check` it only says what is out of date.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from seawall_operator.crds.definitions import definitions
from seawall_operator.crds.pages import pages

ROOT = Path(__file__).parents[3]
DOCUMENTATION, EXAMPLES = ROOT / "docs" / "documents.md", ROOT / "config" / "examples" / "kubernetes.yaml"
HEAD = "# Made by `make crds` of the policy's models and of docs/documents.md. Change those.\n"


def texts() -> dict[str, str]:
    """File name → content, of the definitions."""
    found = definitions(DOCUMENTATION.read_text(encoding="utf-8"))
    return {
        f"{name}.yaml": HEAD + yaml.safe_dump(crd, sort_keys=False, width=120, allow_unicode=True)
        for name, crd in found.items()
    }


def page_texts() -> dict[str, str]:
    """The same of the documentation."""
    return pages(DOCUMENTATION.read_text(encoding="utf-8"), EXAMPLES.read_text(encoding="utf-8"))


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the CustomResourceDefinitions, and a page for each kind.")
    parser.add_argument("charts", type=Path)
    parser.add_argument("pages", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file is out of date")
    arguments = parser.parse_args()
    places = ((arguments.charts, "*.yaml", texts()), (arguments.pages, "*.md", page_texts()))
    if not arguments.check:
        for folder, pattern, wanted in places:
            _write(folder, pattern, wanted)
        return 0
    stale = [f"{folder}/{name}" for folder, pattern, wanted in places for name in _stale(folder, pattern, wanted)]
    if stale:
        print(f"out of date: {', '.join(stale)}; run `make crds`", file=sys.stderr)
    return 1 if stale else 0


def _stale(folder: Path, pattern: str, wanted: Mapping[str, str]) -> list[str]:
    there = {file.name: file.read_text(encoding="utf-8") for file in folder.glob(pattern)}
    return sorted(name for name in there.keys() | wanted.keys() if there.get(name) != wanted.get(name))


def _write(folder: Path, pattern: str, wanted: Mapping[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob(pattern):
        if file.name not in wanted:
            file.unlink()
    for name, text in wanted.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
