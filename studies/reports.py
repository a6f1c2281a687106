"""Builds the page of every run that a study has recorded: `make reports`.

    python studies/reports.py --out build/studies

A run is whatever `instructmine report` recognises below `studies/*/results`; each gets a page.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import instructmine as im
from instructmine.errors import UsageError
from instructmine.reporting.runs import find_runs

STUDIES = Path(__file__).parent


def main() -> None:
    """Write `STUDY-RUN.html` for each run, and say where there is none yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/studies"))
    options = parser.parse_args()
    for study in sorted(path.parent for path in STUDIES.glob("*/run.py")):
        found: dict[str, dict[str, Path]] = {}  # name → command → its data, on one page
        for path in sorted((study / "results").rglob("*")):
            if path.suffix in (".parquet", ".json"):
                try:
                    for command, run in find_runs([path]).items():
                        found.setdefault(run.stem.name, {})[command] = run.data
                except UsageError:
                    continue  # a table of the study's own
        if not found:
            print(f"{study.name}: nothing recorded yet")
        for name, runs in found.items():
            out = options.out / f"{study.name}-{name}.html"
            im.report(list(runs.values()), out=out, title=f"{study.name}: {name}")
            print(f"wrote {out}")


if __name__ == "__main__":
    main()
