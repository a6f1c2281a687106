"""Building a report: seconds, memory and size of the page, from a warm store.

    python -m benchmarks.bench_report --data ../shared/data --out build/bench/report.json

Alpaca with lengths, MTLD and embeddings scored beforehand, and as many synthetic rows as a page
must bear, with random vectors in the place of embeddings. Every case is its own process, as a user
runs it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.bench_select import run
from instructmine.config import load_profile
from instructmine.recipes import Recipe
from instructmine.store import Store

SYNTHETIC = 200_000
WORDS = 5_000
DIMENSIONS = 256


def synthetic(path: Path, rows: int) -> Path:
    """Write a pool of random words, about 100 a row."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghilmnorstu"), 6)) for _ in range(WORDS)]
    lengths = rng.integers(10, 200, rows)
    with path.open("w", encoding="utf-8") as out:
        for number, length in enumerate(lengths.tolist()):
            drawn = [words[place] for place in rng.integers(0, WORDS, length + 10)]
            record = {
                "instruction": f"{' '.join(drawn[:10])} {number}",
                "input": "",
                "output": " ".join(drawn[10:]),
            }
            out.write(json.dumps(record) + "\n")
    return path


def command(verb: str, *more: str) -> list[str]:
    """Return a command line."""
    return [sys.executable, "-m", "instructmine", verb, *more]


def store_random_vectors(decisions: Path, work: Path) -> None:
    """Put a random unit vector into the store for every row that was decided about."""
    indicator = load_profile("starter").indicator("embedding")
    ids = np.array(pq.read_table(decisions, columns=["id"])["id"].to_pylist(), dtype="S32")
    vectors = np.random.default_rng(0).normal(size=(len(ids), DIMENSIONS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    recipe = Recipe.of("embedding", indicator.identity())
    Store(work).publish(recipe, ids, {indicator.columns[0].name: vectors}, {})


def measure(pool: Path, folder: Path, columns: str, size: int) -> dict[str, Any]:
    """Choose rows of a pool, then build the report of it."""
    work = ["--workdir", str(folder / "work")]
    gold = folder / "gold.jsonl"
    scoring = run(
        command(
            "select",
            str(pool),
            "--size",
            str(size),
            "--rule",
            "output_length:higher",
            "--indicators",
            columns,
            "--allow-unscorable",
            "-o",
            str(gold),
            *work,
        )  # fmt: skip
    )
    if "embedding" not in columns:
        store_random_vectors(folder / "gold.decisions.parquet", folder / "work")
    page, text = folder / "report.html", folder / "report.md"
    html = run(command("report", str(gold), "-o", str(page), *work))
    markdown = run(command("report", str(gold), "-o", str(text), *work))
    if "No map" in page.read_text(encoding="utf-8"):
        raise SystemExit("the embeddings were not found")
    return {
        "select, cold": scoring,
        "report, page": {**html, "page_mb": page.stat().st_size / 1e6},
        "report, Markdown": markdown,
    }


def main() -> None:
    """Measure and print a table; write JSON with --out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--pool", default="train/alpaca_data.json", help="file below --data; empty: none"
    )
    parser.add_argument("--rows", type=int, default=SYNTHETIC, help="of the synthetic pool")
    parser.add_argument("--size", type=int, default=1000, help="rows to choose")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    results = {}
    names = (Path(options.pool).name, f"{options.rows:,} synthetic rows")
    for name in names if options.pool else names[1:]:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            pool, columns = options.data / options.pool, "length,mtld,embedding"
            if name == names[1]:
                pool, columns = synthetic(folder / "pool.jsonl", options.rows), "length"
            results[name] = measure(pool, folder, columns, options.size)
        print(f"{name}\n{'case':18} {'seconds':>9} {'CPU s':>9} {'peak MB':>9} {'page MB':>9}")
        for case, one in results[name].items():
            size = f"{one['page_mb']:9.2f}" if "page_mb" in one else ""
            print(
                f"{case:18} {one['seconds']:9.2f} {one['cpu_seconds']:9.2f} "
                f"{one['peak_mb']:9.0f} {size}",
                flush=True,
            )
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
