"""Run every benchmark and gather the tables: `make bench`.

    python -m benchmarks --out build/bench [--quick] [--resume] [--only NAME]

Each `bench_*.py` runs as a process of its own with `--out NAME.json`. What it printed, and which
arguments it was given, is kept in `NAME.run.json` once it has ended; `--resume` runs only what has
none for the same arguments. `bench.md`, `bench.json` and `bench.png` are written anew after every
benchmark, from all that have run with these sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import _summary
from benchmarks._suite import SUITE, Part


def run(part: Part, arguments: list[str], out: Path) -> dict[str, Any]:
    """Run one benchmark and keep what it printed."""
    figures = out / f"{part.name}.json"
    figures.unlink(missing_ok=True)  # an old one is not to be taken for this run's
    command = [sys.executable, "-m", f"benchmarks.bench_{part.name}", *arguments]
    started = time.perf_counter()
    done = subprocess.run(
        [*command, "--out", str(figures)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
    )  # fmt: skip
    kept = {
        "name": part.name,
        "arguments": arguments,
        "output": done.stdout,
        "seconds": round(time.perf_counter() - started, 1),
        "failed": done.returncode != 0,
    }
    (out / f"{part.name}.run.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return kept


def known(part: Part, arguments: list[str], out: Path) -> dict[str, Any] | None:
    """Return a run of the same arguments with its figures; None where there is none."""
    path, figures = out / f"{part.name}.run.json", out / f"{part.name}.json"
    if not path.is_file():
        return None
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if kept["arguments"] != arguments:
        return None
    if figures.is_file():
        kept["figures"] = json.loads(figures.read_text(encoding="utf-8"))
        for name in ("comparisons", "missing"):
            kept[name] = kept["figures"].get(name, {} if name == "missing" else [])
    return kept


def gather(out: Path, quick: bool, shared: Path) -> None:
    """Write the page, the figures and the plot of all that has run with these sizes."""
    runs = [
        kept
        for part in SUITE
        if (kept := known(part, part.arguments(quick, shared, out), out)) is not None
    ]
    about = _summary.machine()
    comparisons = _summary.every_comparison(runs)
    (out / "bench.md").write_text(_summary.page(about, runs, quick), encoding="utf-8")
    benchmarks = {
        run["name"]: {"seconds": run["seconds"], "failed": run["failed"],
                      "figures": run.get("figures")}
        for run in runs
    }  # fmt: skip
    data = {"machine": about, "quick": quick, "comparisons": comparisons, "benchmarks": benchmarks}
    (out / "bench.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    if comparisons:
        _summary.plot(comparisons, out / "bench.png")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run them all; a benchmark that fails is reported and does not stop the others."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="public data")
    parser.add_argument("--only", default="", help="run this one, or those whose name contains it")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does everything run?")
    parser.add_argument("--resume", action="store_true", help="leave out what has run already")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    chosen = [part for part in SUITE if part.name == options.only]
    chosen = chosen or [part for part in SUITE if options.only in part.name]
    if not chosen:
        parser.error(f"no benchmark is called like '{options.only}'")
    failed = []
    for number, part in enumerate(chosen, 1):
        given = part.arguments(options.quick, options.shared, options.out)
        found = known(part, given, options.out) if options.resume else None
        if found and not found["failed"]:
            print(f"── {number}/{len(chosen)} {part.name}: has run already", flush=True)
            continue
        print(f"── {number}/{len(chosen)} {part.name} {' '.join(given)}", flush=True)
        found = run(part, given, options.out)
        print(f"{found['output']}\n{found['seconds']:.0f} seconds\n", flush=True)
        if found["failed"]:
            failed.append(part.name)
        gather(options.out, options.quick, options.shared)
    gather(options.out, options.quick, options.shared)
    print(f"wrote {options.out / 'bench.md'}, bench.json and bench.png")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
