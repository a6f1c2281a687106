"""What the benchmarks share: one thread, CPU seconds, a table, a JSON file."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
for _name in THREADS:  # before numpy, faiss or numba are imported
    os.environ[_name] = "1"


def parser(summary: str) -> argparse.ArgumentParser:
    """Return a parser with the options every benchmark has."""
    made = argparse.ArgumentParser(description=summary)
    made.add_argument("--out", type=Path, help="write the figures to this JSON file")
    made.add_argument("--shared", type=Path, default=Path("../shared"), help="public data")
    made.add_argument("--rounds", type=int, default=3, help="the fastest of so many counts")
    return made


def fastest(contenders: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return each contender's fewest CPU seconds; they take turns, so that noise hits all."""
    best = dict.fromkeys(contenders, float("inf"))
    for _ in range(rounds):
        for name, run in contenders.items():
            start = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - start)
    return best


def isolated(run: Callable[..., Any], *arguments: Any) -> tuple[Any, float, float]:
    """Run a module-level function in a fresh process: its result, CPU seconds, peak MiB.

    The seconds are those the function reports with `(result, seconds)`; the peak is that of the
    whole process, so compare with a contender that does nothing. Raises ImportError when a
    contender is not installed.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_child, args=(there, run, arguments))
    process.start()
    there.close()  # so that a child that dies ends the wait
    answer = here.recv()
    process.join()
    if isinstance(answer, ImportError):
        raise answer
    result, seconds, peak = answer
    return result, seconds, peak


def _child(pipe: Any, run: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        result, seconds = run(*arguments)
    except ImportError as error:
        pipe.send(error)
    else:
        pipe.send((result, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def show(title: str, rows: Sequence[dict[str, Any]], out: Path | None) -> None:
    """Print rows as a table and write them as JSON, with what they were measured on."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [columns] + [[_text(row.get(name, "")) for name in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    print(f"\n{title}")
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        machine = {"python": platform.python_version(), "machine": platform.machine(), "threads": 1}
        data = {"title": title, "machine": machine, "rows": list(rows)}
        out.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
