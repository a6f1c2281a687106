"""Keep what `make bench` wrote: its files in `benchmarks/results/`, its table in the documentation.

Run it as `python -m benchmarks.record build/bench`.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from benchmarks import _summary

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs/benchmarks.md"
BEGIN, END = "<!-- table of bench.json -->", "<!-- end of table -->"


def ran(folder: Path) -> set[str]:
    """Return the names of the benchmarks that a folder has figures of."""
    return set(json.loads((folder / "bench.json").read_text(encoding="utf-8"))["benchmarks"])


def table() -> str:
    """Return the table of what is recorded."""
    text = (RESULTS / "bench.json").read_text(encoding="utf-8")
    return _summary.short_table(json.loads(text)["comparisons"])


def main() -> None:
    """Copy the files and put the table between its marks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="what make bench wrote into")
    folder = parser.parse_args().folder
    missing = sorted(ran(RESULTS) - ran(folder))
    if missing:  # half a run would take the other half's figures away
        parser.error(
            f"{folder} lacks {', '.join(missing)}: finish it with make bench BENCH=--resume"
        )
    for name in ("bench.md", "bench.json", "bench.png"):
        shutil.copyfile(folder / name, RESULTS / name)
    page = PAGE.read_text(encoding="utf-8")
    before, after = page[: page.index(BEGIN)], page[page.index(END) :]
    PAGE.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
