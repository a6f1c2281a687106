"""Runs jobs on this machine: in this process, or side by side in a few.

Scoring stays in one process: model libraries use all cores by themselves. Training of small
models does not fill them, so trials can run in several.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from instructmine.contracts import Engine, Worker
from instructmine.errors import InstructmineError, UsageError


@dataclass(frozen=True)
class LocalEngine(Engine):
    """Runs jobs in this process, in order, or in `workers` processes, in any order."""

    def __post_init__(self) -> None:
        """Refuse fewer workers than one."""
        if self.workers < 1:
            raise UsageError(f"--workers must be 1 or more, not {self.workers}")

    def run(self, worker: Worker, jobs: Iterable[Any]) -> Iterator[Any]:
        """Yield one result per job; jobs are drawn as they are needed, so memory stays bounded."""
        if self.workers == 1:
            for job in jobs:
                yield worker(job)
            return
        # Forked children would inherit the locks of whatever threads a model library has started.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.workers, mp_context=context, initializer=_become,
                                 initargs=(worker,)) as crew:  # fmt: skip
            waiting = iter(jobs)
            running = set()
            try:
                while True:
                    for job in waiting:
                        running.add(crew.submit(_work, job))
                        if len(running) >= 2 * self.workers:
                            break
                    if not running:
                        return
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
            except BrokenProcessPool as error:
                raise InstructmineError(
                    "a worker process ended by itself, most likely for lack of memory; run again "
                    "with fewer --workers: what was finished is kept"
                ) from error
            finally:
                crew.shutdown(wait=False, cancel_futures=True)


_worker: Worker | None = None


def _become(worker: Worker) -> None:
    """Keep the worker in this process, so that what it opens serves all its jobs."""
    global _worker
    _worker = worker


def _work(job: Any) -> Any:
    assert _worker is not None
    return _worker(job)
