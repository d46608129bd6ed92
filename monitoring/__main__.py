"""`python -m monitoring FOLDER` writes dashboard.json and alerts.yaml; with `--check` it says what is out of date."""

import argparse
import json
import sys
from pathlib import Path

import yaml

from monitoring import alerts, dashboard
from monitoring.asked import mistakes
from monitoring.definitions import known

HEAD = "# Made by `make monitoring` of monitoring/alerts.py. Change that.\n"


def texts() -> dict[str, str]:
    """File name → content."""
    return {
        "dashboard.json": json.dumps(dashboard.dashboard(), indent=1, ensure_ascii=False) + "\n",
        "alerts.yaml": HEAD + yaml.safe_dump(alerts.rules(), sort_keys=False, width=120, allow_unicode=True),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the chart's dashboard and alerts.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file is out of date")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    found = mistakes([*dashboard.expressions(), *alerts.expressions()], known())
    for mistake in found:
        print(mistake, file=sys.stderr)
    if found:
        return 1
    for name, text in texts().items():
        file = folder / name
        if not arguments.check:
            file.write_text(text, encoding="utf-8")
        elif not file.is_file() or file.read_text(encoding="utf-8") != text:
            print(f"out of date: {file}; run `make monitoring`", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
