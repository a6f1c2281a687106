"""What the benchmarks share: one thread, CPU seconds, ratios over repeats, a table, a JSON file."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import multiprocessing
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
for _name in THREADS:  # before numpy, faiss or numba are imported
    os.environ[_name] = "1"

OURS = "instructmine"
SHIPPED = "as shipped"  # the peer's own package, called as its documents say
OWN_ENVIRONMENT = "own environment"  # the same, in a process with the peer's own versions
RESTATED = "restated"  # a faithful restatement of code that is no package
PLAIN = "plain loop"  # no project's code: what anyone would write first


def parser(summary: str) -> argparse.ArgumentParser:
    """Return a parser with the options every benchmark has."""
    made = argparse.ArgumentParser(description=summary)
    made.add_argument("--out", type=Path, help="write the figures to this JSON file")
    made.add_argument("--shared", type=Path, default=Path("../shared"), help="public data")
    made.add_argument("--rounds", type=int, default=5, help="how often all take their turn")
    return made


# ── repeats ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Ratio:
    """Ours divided by theirs: the median over rounds, the smallest and the largest."""

    median: float
    least: float
    most: float
    rounds: int

    @classmethod
    def of(cls, ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
        """Divide round by round, so that what slows a whole round down cancels out."""
        found = [a / b for a, b in zip(ours, theirs, strict=True)]
        return cls(statistics.median(found), min(found), max(found), len(found))

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.least:.3g}–{self.most:.3g})"


class Seconds(float):
    """CPU seconds that a contender has measured itself, in a process of its own."""


@dataclass
class Turns:
    """Seconds of every contender, round by round."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, took: float) -> None:
        """Note what one round took; never quite 0, which the clock may say of a short one."""
        self.seconds.setdefault(name, []).append(max(took, 1e-9))

    @property
    def median(self) -> dict[str, float]:
        """Median seconds of every contender."""
        return {name: statistics.median(found) for name, found in self.seconds.items()}

    def ratio(self, theirs: str, ours: str = OURS) -> Ratio:
        """Return our seconds divided by theirs."""
        return Ratio.of(self.seconds[ours], self.seconds[theirs])


def take_turns(contenders: dict[str, Callable[[], Any]], rounds: int) -> Turns:
    """Run all contenders in every round, so that noise hits all; another begins each round.

    CPU seconds of this process count, or the `Seconds` that a contender returns.
    """
    turns = Turns()
    for names in _orders(list(contenders), rounds):
        for name in names:
            start = time.process_time()
            found = contenders[name]()
            took = time.process_time() - start
            turns.add(name, float(found) if isinstance(found, Seconds) else took)
    return turns


def _orders(names: list[str], rounds: int) -> Iterable[list[str]]:
    for number in range(rounds):
        first = number % len(names)
        yield names[first:] + names[:first]


def isolated(run: Callable[..., Any], *arguments: Any) -> tuple[Any, float, float]:
    """Run a module-level function in a fresh process: its result, CPU seconds, peak MiB.

    The seconds are those the function reports with `(result, seconds)`; the peak is that of the
    whole process, so compare with a contender that does nothing. Raises ImportError when a
    contender is not installed.
    """
    with _Worker(run, arguments) as worker:
        return worker.call()


class _Worker:
    """A process that calls one function as often as it is told to."""

    def __init__(self, run: Callable[..., Any], arguments: Sequence[Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, there = context.Pipe()
        self.process = context.Process(target=_child, args=(there, run, tuple(arguments)))
        self.process.start()
        there.close()  # so that a child that dies ends the wait

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: Any) -> None:
        self.pipe.close()  # which ends the child's loop
        self.process.join()

    def call(self) -> tuple[Any, float, float]:
        """Return the result, the seconds it reports, and the peak MiB so far."""
        self.pipe.send(None)
        answer = self.pipe.recv()
        if isinstance(answer, ImportError):
            raise answer
        return answer


def _child(pipe: Any, run: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        try:
            result, seconds = run(*arguments)
        except ImportError as error:
            pipe.send(error)
        else:
            pipe.send((result, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


@dataclass
class Isolated:
    """Contenders in processes of their own: seconds, last results, peak MiB, who is missing."""

    turns: Turns
    results: dict[str, Any]
    peaks: dict[str, float]
    missing: dict[str, str]


def isolated_turns(
    contenders: dict[str, Callable[..., Any]], arguments: Sequence[Any], rounds: int
) -> Isolated:
    """Run all contenders in every round, each in a process of its own that it keeps.

    What compiles at the first call, as numba does, would else do so in every round.
    """
    found = Isolated(Turns(), {}, {}, {})
    with contextlib.ExitStack() as stack:
        workers = {
            name: stack.enter_context(_Worker(run, arguments)) for name, run in contenders.items()
        }
        for names in _orders(list(contenders), rounds):
            for name in names:
                if name in found.missing:
                    continue
                try:
                    result, seconds, peak = workers[name].call()
                except ImportError as error:
                    found.missing[name] = f"not installed: {error.name or error}"
                    continue
                found.results[name], found.peaks[name] = result, peak
                found.turns.add(name, seconds)
    return found


# ── what is reported ────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Comparison:
    """Ours against one peer.

    what: what both did. against: the peer, and how it was run. ratio: ours / theirs. ours,
    theirs: medians of the quantity. equality: what was compared before the quantity was.
    packages: the peer's packages with their versions.
    """

    what: str
    against: str
    ratio: Ratio
    ours: float
    theirs: float
    equality: str
    how: str = SHIPPED
    quantity: str = "CPU seconds"
    packages: dict[str, str] = field(default_factory=dict)


def compared(
    turns: Turns, what: str, theirs: str, *, equality: str, label: str = "",
    ours: str = OURS, how: str = SHIPPED, packages: Sequence[str] | dict[str, str] = (),
    quantity: str = "CPU seconds",
) -> Comparison:  # fmt: skip
    """Return the comparison with one contender. packages: names, or names with versions."""
    known = packages if isinstance(packages, dict) else versions(*packages)
    median = turns.median
    ratio = turns.ratio(theirs, ours)
    return Comparison(
        what, label or theirs, ratio, median[ours], median[theirs], equality, how, quantity, known
    )


def versions(*names: str) -> dict[str, str]:
    """Return the versions of installed packages."""
    return {name: metadata.version(name) for name in names}


def show(
    title: str, rows: Sequence[dict[str, Any]], out: Path | None,
    comparisons: Sequence[Comparison] = (), missing: dict[str, str] | None = None,
) -> None:  # fmt: skip
    """Print rows as a table and write them as JSON, with the comparisons and who is missing."""
    print(f"\n{title}")
    print(table(rows))
    for one in comparisons:
        print(f"ours / {one.against}: {one.ratio} {one.quantity} of {one.what}; {one.equality}")
    for name, why in (missing or {}).items():
        print(f"left out: {name}, {why}")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        machine = {"python": platform.python_version(), "machine": platform.machine(), "threads": 1}
        data = {"title": title, "machine": machine, "rows": list(rows)}
        if comparisons:
            data["comparisons"] = [dataclasses.asdict(one) for one in comparisons]
        if missing:
            data["missing"] = missing
        out.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as lines with aligned columns."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [columns] + [[_text(row.get(name, "")) for name in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
