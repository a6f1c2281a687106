"""Progress on stderr: a bar with rate and ETA on a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from instructmine.contracts import Progress

PLAIN_SECONDS = 10.0  # without a terminal, at most one line in this time (and one at the end)


@contextmanager
def show_progress() -> Iterator[Progress]:
    """Give a progress function that displays what it is told until the block ends."""
    if sys.stderr.isatty():
        with _bars() as report:
            yield report
    else:
        yield _PlainLines()


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        SpinnerColumn,
        Task,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress
    from rich.text import Text

    class Rate(TextColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(_rate(speed) if speed else "", style="dim")

    tasks: dict[str, TaskID] = {}
    display = RichProgress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(""),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    with display:

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = display.add_task(what, total=total or None)
            display.update(tasks[what], completed=done, total=total or None)
            if total and done >= total:
                del tasks[what]  # the same thing may be done again, for a target file

        yield report


def _rate(speed: float) -> str:
    """Write a speed; of rounds and trainings, which take minutes, two digits that count."""
    return f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.2g}/s"


class _PlainLines:
    """One line per thing at its end, and every few seconds while it lasts."""

    def __init__(self) -> None:
        self.started: dict[str, float] = {}
        self.last: dict[str, float] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        started = self.started.setdefault(what, now)
        self.last.setdefault(what, now)
        ended = bool(total) and done >= total
        if not ended and now - self.last[what] < PLAIN_SECONDS:
            return
        self.last[what] = now
        seconds = now - started
        rate = done / seconds if seconds > 0 else 0.0
        left = f", {(total - done) / rate:.0f} s left" if total > done and rate else ""
        of = f"/{total:,}" if total else ""
        sys.stderr.write(f"{what}: {done:,}{of}, {seconds:.1f} s, {_rate(rate)}{left}\n")
        sys.stderr.flush()
        if ended:  # the same thing may be done again, for a target file
            del self.started[what], self.last[what]
