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
        found = {}
        for path in sorted((study / "results").rglob("*")):
            if path.suffix in (".parquet", ".json"):
                try:
                    found |= {run.data: path for run in find_runs([path]).values()}
                except UsageError:
                    continue  # a table of the study's own
        if not found:
            print(f"{study.name}: nothing recorded yet")
        for data in found:
            out = options.out / f"{study.name}-{data.name.split('.')[0]}.html"
            im.report(data, out=out, title=f"{study.name}: {data.stem}")
            print(f"wrote {out}")


if __name__ == "__main__":
    main()
