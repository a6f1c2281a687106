"""What is to be done next where a job may end the process that does it.

A crash of a worker process (a segmentation fault, the kernel short of memory, a machine that
went away) says nothing about which example is to blame, so a job is tried again, then halved
until what is left is one example, which is given up with a reason.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from instructmine.contracts import Worker
from instructmine.errors import InstructmineError

ATTEMPTS = 3  # processes that a job, or what is left of it when it is one example, may end
HOPELESS = 12  # deaths for each worker with nothing finished in between: it is not the examples


@dataclass
class Attempt:
    """A job to do, the deaths that it has caused, and how many it may."""

    job: Any
    limit: int = ATTEMPTS
    deaths: int = 0


class Attempts:
    """Hands out jobs: those to be tried again first, else new ones, drawn as they are needed."""

    def __init__(self, worker: Worker, jobs: Iterable[Any], workers: int) -> None:
        self._worker = worker
        self._new = iter(jobs)
        self._again: deque[Attempt] = deque()
        self._most_in_a_row = HOPELESS * workers
        self._in_a_row = 0

    def __iter__(self) -> Iterator[Attempt]:
        """Return itself: what is left grows again when a process dies."""
        return self

    def __next__(self) -> Attempt:
        """Return what to do next; StopIteration while there is nothing."""
        return self._again.popleft() if self._again else Attempt(next(self._new))

    def finished(self) -> None:
        """Note that an attempt gave a result."""
        self._in_a_row = 0

    def died(self, attempt: Attempt, times: int = 1) -> Iterator[Any]:
        """Note that a process died, or several, of an attempt; yields a result if it is given up.

        Raises InstructmineError when processes die without anything being finished.
        """
        self._in_a_row += times
        if self._in_a_row >= self._most_in_a_row:
            raise InstructmineError(
                f"{self._in_a_row} worker processes in a row ended by themselves, most likely for "
                "lack of memory; run again with fewer --workers, smaller batches or more memory: "
                "what was finished is kept"
            )
        attempt.deaths += times
        if attempt.deaths < attempt.limit:
            self._again.append(attempt)
        elif halves := self._worker.halves(attempt.job):
            for half in halves:  # one death says which half; only what is given up needs proof
                single = not self._worker.halves(half)
                self._again.append(Attempt(half, limit=ATTEMPTS if single else 1))
        else:
            yield self._worker.give_up(
                attempt.job, f"its worker process died {attempt.deaths} times"
            )
