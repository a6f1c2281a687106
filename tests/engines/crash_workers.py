"""Workers for the engines' tests: jobs are lists of numbers, some of which end the process."""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from instructmine.contracts import Column, Indicator, Resources, Scored, Worker
from instructmine.errors import MissingExtraError, UsageError


@dataclass
class Doubler(Worker):
    """Doubles every number of a job; keeps a note of what it did in `folder`.

    poison: numbers that end the process. once: those that end it only the first time.
    """

    folder: Path
    poison: tuple[int, ...] = ()
    once: tuple[int, ...] = ()
    seconds: float = 0.0
    stateful: bool = True
    opened: bool = False
    gpus: float = 0.0

    @property
    def resources(self):
        return Resources(cpus=1, gpus=self.gpus)

    def __call__(self, job):
        if not self.opened:
            self.opened = True
            note(self.folder, "opened", os.getpid())
            note(self.folder, "devices", os.environ.get("CUDA_VISIBLE_DEVICES"))
        for number in job:
            note(self.folder, "tried", number)
            if number in self.poison or number in self.once and self._first(number):
                os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.seconds)
        if "wrong" in job:
            raise UsageError("a number is wrong; give another one")
        if "missing" in job:
            raise MissingExtraError("nothing", "all", "a test")
        return [2 * number for number in job]

    def _first(self, number):
        with contextlib.suppress(FileExistsError):
            (self.folder / f"once-{number}").touch(exist_ok=False)
            return True
        return False

    def halves(self, job):
        middle = len(job) // 2
        return (job[:middle], job[middle:]) if middle else ()

    def give_up(self, job, reason):
        return [(job[0], reason)]


@dataclass
class Absent(Doubler):
    """A worker whose package another machine has not got."""

    def __setstate__(self, state):
        raise ImportError("No module named 'instructmine'")


def note(folder, what, value):
    with (folder / what).open("a") as handle:
        handle.write(f"{value}\n")


def notes(folder, what):
    path = folder / what
    return path.read_text().split() if path.exists() else []


@dataclass(frozen=True, kw_only=True)
class Fragile(Indicator):
    """Counts characters; an example that says "poison" ends the process."""

    version = 1
    columns = (Column("characters", "unknown", "characters"),)

    pause: float = 0.0

    def open(self, context, columns):
        return self

    def score(self, batch):
        for example in batch.examples:
            if "poison" in example.prompt:
                os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.pause)
        return Scored({"characters": np.array([float(len(e.response)) for e in batch.examples])})
