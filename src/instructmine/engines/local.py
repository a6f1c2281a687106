"""Runs jobs on this machine: in this process, or side by side in a few.

One process is enough for scoring on a CPU: model libraries use all cores by themselves. Training
of small models does not fill them, so trials can run in several.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from typing import Any

from instructmine.contracts import Engine, Worker
from instructmine.engines._attempts import Attempt, Attempts


@dataclass(frozen=True)
class LocalEngine(Engine):
    """Runs jobs in this process, in order, or in `workers` processes, in any order.

    A job that ends one of several processes is tried again, halved and given up as on a cluster;
    one that ends this process ends the run.
    """

    def run(self, worker: Worker, jobs: Iterable[Any]) -> Iterator[Any]:
        """Yield one result per job; jobs are drawn as they are needed, so memory stays bounded."""
        if self.workers == 1:
            for job in jobs:
                yield worker(job)
            return
        attempts = Attempts(worker, jobs, self.workers)
        seats: set[ProcessPoolExecutor] = set()
        running: dict[Future[Any], tuple[ProcessPoolExecutor, Attempt]] = {}
        try:
            while True:
                for attempt in islice(attempts, self.workers - len(running)):
                    idle = seats - {seat for seat, _ in running.values()}
                    seat = idle.pop() if idle else _seat(worker)
                    seats.add(seat)
                    running[_submit(seat, attempt.job)] = seat, attempt
                if not running:
                    return
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    seat, attempt = running.pop(done)
                    try:
                        result = done.result()
                    except BrokenProcessPool:
                        seats.discard(seat)
                        seat.shutdown(wait=False)
                        yield from attempts.died(attempt)
                    else:
                        attempts.finished()
                        yield result
        finally:
            for seat in seats:
                seat.shutdown(wait=False, cancel_futures=True)

    def threads_each(self) -> int | None:
        """Return an equal share of the cores for each of several workers."""
        return None if self.workers == 1 else max(1, (os.cpu_count() or 1) // self.workers)


def _seat(worker: Worker) -> ProcessPoolExecutor:
    """Return a pool of one process: its death says which job it was."""
    # Forked children would inherit the locks of whatever threads a model library has started.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, mp_context=context, initializer=_become, initargs=(worker,))


def _submit(seat: ProcessPoolExecutor, job: Any) -> Future[Any]:
    try:
        return seat.submit(_work, job)
    except BrokenProcessPool as error:  # its process died between two jobs
        broken = Future[Any]()
        broken.set_exception(error)
        return broken


_worker: Worker | None = None


def _become(worker: Worker) -> None:
    """Keep the worker in this process, so that what it opens serves all its jobs."""
    global _worker
    _worker = worker
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the run that started it was killed: it would wait for jobs for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(job: Any) -> Any:
    assert _worker is not None
    return _worker(job)
