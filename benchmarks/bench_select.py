"""The whole of `select` on a real pool: cold, warm, after 1 % more rows; seconds and memory.

    python -m benchmarks.bench_select --data ../shared/data --out build/bench/select.json

Every case is its own process, as a user runs it; peak memory is the process's own maximum.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def run(arguments: list[str]) -> dict[str, float]:
    """Run a command; return wall seconds, CPU seconds and peak MB of that process."""
    started = time.perf_counter()
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    err = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(err.decode())
    scale = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in KB on Linux
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss * scale / 1e6,
    }


def command(pool: Path, work: Path, threads: int | None, size: int) -> list[str]:
    """Return the command line of one case."""
    return [
        sys.executable, "-m", "instructmine", "select", str(pool), "--size", str(size),
        "-o", str(work / "gold.jsonl"), "--workdir", str(work),
        *(["--threads", str(threads)] if threads else []),
    ]  # fmt: skip


def measure(pool: Path, rows: int | None, threads: int | None, size: int) -> dict[str, Any]:
    """Measure cold, warm and grown on one pool, and the start of the command line."""
    records = json.loads(pool.read_text(encoding="utf-8"))[:rows]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if rows is not None:
            pool = work / pool.name
            pool.write_text(json.dumps(records), encoding="utf-8")
        cases = {"cold": run(command(pool, work, threads, size))}
        cases["warm"] = run(command(pool, work, threads, size))
        grown = work / "grown.json"
        more = [
            {**record, "instruction": f"{record['instruction']} (Answer in full.)"}
            for record in records[: len(records) // 100]
        ]
        grown.write_text(json.dumps(records + more), encoding="utf-8")
        cases["grown by 1 %"] = run(command(grown, work, threads, size))
    cases["--help"] = run([sys.executable, "-m", "instructmine", "--help"])
    return {"pool": pool.name, "rows": len(records), "threads": threads, "cases": cases}


def main() -> None:
    """Measure and print a table; write JSON with --out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--pool", default="train/alpaca_data.json", help="file below --data")
    parser.add_argument("--rows", type=int, help="so many rows of the file")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--size", type=int, default=1000, help="rows to choose")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    result = measure(options.data / options.pool, options.rows, options.threads, options.size)
    cold = result["cases"]["cold"]["seconds"]
    print(f"{result['pool']}, {result['rows']:,} rows, starter profile, --size {options.size}")
    print(f"{'case':14} {'seconds':>9} {'CPU s':>9} {'peak MB':>9} {'of cold':>9}")
    for name, case in result["cases"].items():
        print(
            f"{name:14} {case['seconds']:9.2f} {case['cpu_seconds']:9.2f} "
            f"{case['peak_mb']:9.0f} {case['seconds'] / cold:9.1%}"
        )
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
