"""Keeps finished trainings in a repository: their facts and losses as text, not their weights."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

FILE = "trained.parquet"


def keep(work: Path, results: Path) -> None:
    """Write every finished training and its losses into one file of the results."""
    files = sorted(work.glob("trials/*/*.json"))
    table = pa.table(
        {
            "trial": [path.parent.name for path in files],
            "file": [path.name for path in files],
            "text": [path.read_text(encoding="utf-8") for path in files],
        }
    )
    results.mkdir(exist_ok=True)
    pq.write_table(table, results / FILE, compression="zstd")


def restore(results: Path, work: Path) -> None:
    """Put what the results hold where `trials`, `search` and `compare` look for it."""
    if not (results / FILE).exists():
        return
    for row in pq.read_table(results / FILE).to_pylist():
        path = work / "trials" / row["trial"] / row["file"]
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(row["text"], encoding="utf-8")
