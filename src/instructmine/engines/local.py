"""Runs jobs in this process, one after the other: the default, and the fastest for one machine.

Model libraries use all cores by themselves, so more processes would only divide them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from instructmine.contracts import Engine, Worker


@dataclass(frozen=True)
class LocalEngine(Engine):
    """Runs jobs in this process, in order."""

    def run(self, worker: Worker, jobs: Iterable[Any]) -> Iterator[Any]:
        """Yield one result per job; jobs are drawn one at a time, so memory stays bounded."""
        for job in jobs:
            yield worker(job)
