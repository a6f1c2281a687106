"""What a pool of 10,000 to 10,000,000 rows costs, step by step: seconds, rows a second, memory.

    python -m benchmarks.bench_scale --rows 1000000,10000000 --out scale.json

Every step is a process of its own on one thread; peak memory is that process's own maximum. The
steps share a work folder, as a user's runs do: the pool is read once (index); its lengths are
scored, those of a million rows at most, as if the pool had grown by so many (score); made-up values
are published under the recipe of the profile's reward model as a finished scoring would have
(publish); one row in a hundred is selected by them with all output files (select). Pools are made
by `benchmarks.make_pool` where they are not there yet.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

STEPS = ("index", "score", "publish", "select")
DRAWN = {"index": "index", "score": "score, a million rows at most", "select": "select"}
COMPUTED = 1_000_000  # lengths computed at most: tokenizing goes on at the same rate
ROWS = "10000,100000"


def spawn(arguments: list[str]) -> dict[str, float]:
    """Run a command; return wall seconds, CPU seconds and peak MB of that process."""
    started = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    process = subprocess.Popen(
        arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    error = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(error.decode()[-4000:])
    scale = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in KB on Linux
    return {
        "seconds": round(time.perf_counter() - started, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mb": round(usage.ru_maxrss * scale / 1e6, 1),
    }


def command(step: str, rows: int, pool: Path, work: Path) -> list[str]:
    """Return the command line of one step."""
    common = ["--workdir", str(work), "--threads", "1"]
    main = [sys.executable, "-m", "instructmine"]
    if step == "score":
        out = str(work / "scores.parquet")
        return [
            *main,
            "score",
            str(pool),
            "--indicators",
            "input_length,output_length",
            "-o",
            out,
            *common,
        ]
    if step == "select":
        out = str(work / "gold.jsonl")
        size = str(max(1, rows // 100))
        return [*main, "select", str(pool), "--size", size, "--rule", "reward", "-o", out, *common]
    here = str(Path(__file__).resolve())
    return [sys.executable, here, "--step", step, "--pool", str(pool), "--work", str(work)]


def index(pool: Path, work: Path) -> None:
    """Read a pool once and note the ids of its rows."""
    import numpy as np

    from instructmine.formats import open_pool
    from instructmine.stages._index import index_pool

    found = index_pool(open_pool(pool))
    np.save(work / "ids.npy", found.ids)


def publish(pool: Path, work: Path) -> None:
    """Publish a value per example under the recipe of the starter profile's reward model."""
    _publish(work, "reward", ("reward",), 0)


def grow(pool: Path, work: Path) -> None:
    """Publish the lengths of all but the first million rows, as an earlier run would have."""
    _publish(work, "length", ("input_length", "output_length"), COMPUTED)


def _publish(work: Path, name: str, columns: tuple[str, ...], first: int) -> None:
    import numpy as np

    from instructmine.config import load_profile
    from instructmine.recipes import Recipe
    from instructmine.store import Store

    recipe = Recipe.of(name, load_profile("starter").indicator(name).identity())
    ids = np.load(work / "ids.npy", mmap_mode="r")
    rng = np.random.default_rng(0)
    store = Store(work)
    for start in range(first, len(ids), 8192):
        part = np.asarray(ids[start : start + 8192])
        values = {column: rng.normal(size=len(part)) for column in columns}
        store.publish(recipe, part, values, {})


def measure(rows: int, scratch: Path, keep: bool) -> list[dict[str, Any]]:
    """Measure every step on a pool of so many rows."""
    pool, work = scratch / f"pool-{rows}", scratch / f"work-{rows}"
    if not pool.is_dir():
        made = [sys.executable, "-m", "benchmarks.make_pool", str(pool), "--rows", str(rows)]
        subprocess.run(made, check=True)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    found = []
    for step in STEPS:
        if step == "score" and rows > COMPUTED:
            spawn(command("grow", rows, pool, work))
        used = spawn(command(step, rows, pool, work))
        rate = round(rows / used["cpu_seconds"])
        found.append({"step": step, "rows": rows, **used, "rows_per_cpu_second": rate})
        if step == "score":
            found[-1]["computed"] = min(rows, COMPUTED)
        print(f"{step:8} {rows:>11,} rows", found[-1], file=sys.stderr, flush=True)
    for row, name in zip(found, ("ids.npy", "scores.parquet", "scores", "gold*"), strict=True):
        row["disk_mb"] = round(sum(_size(path) for path in work.glob(name)) / 1e6, 1)
    if not keep:
        shutil.rmtree(work)
        shutil.rmtree(pool)
    return found


def _size(path: Path) -> int:
    return sum(p.stat().st_size for p in (path, *path.rglob("*")) if p.is_file())


def plot(found: list[dict[str, Any]], path: Path) -> None:
    """Draw how CPU time and memory grow, with a line of plain proportion to compare with."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    shown = [("cpu_seconds", "CPU seconds", 1.0), ("peak_mb", "peak memory, GB", 1e-3)]
    for axis, (name, unit_label, unit) in zip(axes, shown, strict=True):
        for step, label in DRAWN.items():
            own = [row for row in found if row["step"] == step]
            axis.plot([r["rows"] for r in own], [r[name] * unit for r in own], "o-", label=label)
        axis.set(xscale="log", yscale="log", xlabel="pool rows", ylabel=unit_label)
        axis.grid(alpha=0.3)
    largest = max(row["rows"] for row in found)
    smallest = min(row["rows"] for row in found)
    most = max(row["cpu_seconds"] for row in found if row["step"] == "select")
    ends = [most * smallest / largest, most]
    axes[0].plot([smallest, largest], ends, ":", color="gray", label="in proportion")
    axes[1].axhline(4, ls=":", color="gray", label="4 GB")
    for axis in axes:
        axis.legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure and print a table; write JSON with --out, draw with --plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default=ROWS, help="pool sizes, with commas between them")
    parser.add_argument("--scratch", type=Path, default=Path("build/scale"))
    parser.add_argument("--keep", action="store_true", help="leave pools and work folders")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path, help="draw the growth into this PNG")
    parser.add_argument("--step", choices=("index", "grow", "publish"), help=argparse.SUPPRESS)
    parser.add_argument("--pool", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        run = {"index": index, "grow": grow, "publish": publish}[options.step]
        run(options.pool, options.work)
        return
    found: list[dict[str, Any]] = []
    for rows in map(int, options.rows.split(",")):
        found += measure(rows, options.scratch, options.keep)
        if options.out:  # after every size: the largest takes long
            options.out.parent.mkdir(parents=True, exist_ok=True)
            machine = {"python": platform.python_version(), "machine": platform.machine()}
            title = "Steps of a selection, one thread, each a process of its own"
            data = {"title": title, "machine": {**machine, "threads": 1}, "rows": found}
            options.out.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        plot(found, options.plot)
    print(f"{'step':8} {'rows':>11} {'seconds':>9} {'CPU s':>9} {'rows/CPU s':>11} {'peak MB':>9}")
    for row in found:
        print(
            f"{row['step']:8} {row['rows']:11,} {row['seconds']:9.1f} {row['cpu_seconds']:9.1f} "
            f"{row['rows_per_cpu_second']:11,} {row['peak_mb']:9.0f}"
        )


if __name__ == "__main__":
    main()
