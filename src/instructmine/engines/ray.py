"""Runs jobs on Ray: on all cores and GPUs of this machine, or of a cluster.

Work that keeps a model open goes to actors, each of which does many jobs; any other job is a task.
Neither is retried by Ray itself: a job that ended its process is tried again, halved and given up
by the rules of `_attempts`, and never waits for a machine that is gone.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import logging
import os
import socket
import warnings
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from instructmine.contracts import Engine, Resources, Worker
from instructmine.engines._attempts import Attempt, Attempts
from instructmine.errors import InstructmineError, MissingExtraError, UsageError

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # Workers of a Ray of our own are as nice as this process: at Ray's 15 they stand still on a
    # machine that has other things to do.
    "RAY_worker_niceness": "0",
    # Ray prints some of its notices on stdout, where there is to be nothing but results.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RayEngine(Engine):
    """Runs jobs in `workers` actors or tasks of Ray.

    address: of a cluster to join, "auto" for the one that this machine belongs to. None takes
    RAY_ADDRESS, or a Ray of its own, which ends with the engine.
    """

    address: str | None = None
    _held: list[_Connection | None] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Refuse what cannot work. Raises UsageError, MissingExtraError."""
        super().__post_init__()
        if (self.address or "").startswith("ray://"):
            raise UsageError(
                f"--ray-address {self.address} is of Ray's client, which cannot be used; run this "
                "on a machine of the cluster, with --ray-address auto"
            )
        if importlib.util.find_spec("ray") is None:
            raise MissingExtraError("ray", "ray", "the engine 'ray'")

    def run(self, worker: Worker, jobs: Iterable[Any]) -> Iterator[Any]:
        """Yield one result per job; at most `workers` jobs are drawn and not finished."""
        self._held[:] = [_connect(self.address)]
        attempts = Attempts(worker, jobs, self.workers)
        crew = _Crew(worker) if worker.stateful else _Tasks(worker)
        try:
            yield from crew.run(attempts, self.workers)
        finally:
            crew.dismiss()


# ── joining and leaving ─────────────────────────────────────────────────────────────────────


class _Connection:
    """A connection to Ray that ends when no engine holds it any more, or with the process."""

    def __init__(self, address: str) -> None:
        import ray

        where: dict[str, Any] = {"address": address}
        if address == "local":
            where["include_dashboard"] = False
        try:
            _knock(address)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ray.init(**where, log_to_driver=False, logging_level=logging.CRITICAL)
        except Exception as error:  # Ray raises all sorts, from ConnectionError to RuntimeError
            ray.shutdown()
            raise InstructmineError(
                f"cannot join Ray at {address} ({_line(error)}); see `ray status` there, or leave "
                "--ray-address and RAY_ADDRESS out"
            ) from error
        self.address = address
        self.close = weakref.finalize(self, ray.shutdown)


def _knock(address: str) -> None:
    """Raise OSError where nothing answers at HOST:PORT: Ray itself tries for two minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


_current: weakref.WeakValueDictionary[str, _Connection] = weakref.WeakValueDictionary()


def _connect(address: str | None) -> _Connection | None:
    """Return our connection, a new one if need be; None where the caller's own program has one."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    address = address or os.environ.get("RAY_ADDRESS") or "local"
    found = _current.get("ours")
    if found is not None and found.close.alive:
        if found.address == address and ray.is_initialized():
            return found
        found.close()
    if ray.is_initialized():
        return None
    _current["ours"] = made = _Connection(address)
    return made


# ── working ─────────────────────────────────────────────────────────────────────────────────


class _Place:
    """A process of the cluster: it has the worker, and the folder that paths start from."""

    def __init__(self, worker: Worker, folder: str) -> None:
        with contextlib.suppress(OSError):  # other machines have only what is shared
            os.chdir(folder)
        self._worker = worker

    def ready(self) -> None:
        """Return when this process has started."""

    def work(self, job: Any) -> Any:
        """Do one job."""
        return self._worker(job)


def _task(worker: Worker, folder: str, job: Any) -> Any:
    return _Place(worker, folder).work(job)


class _Tasks:
    """Runs each job as a task of its own."""

    def __init__(self, worker: Worker) -> None:
        import ray

        self._shared = ray.put(worker), os.getcwd()
        self._task: Any = ray.remote(max_retries=0, **_options(worker.resources))(_task)
        self._running: dict[Any, Attempt] = {}

    def run(self, attempts: Attempts, workers: int) -> Iterator[Any]:
        while True:
            for attempt in itertools.islice(attempts, workers - len(self._running)):
                self._running[self._task.remote(*self._shared, attempt.job)] = attempt
            if not self._running:
                return
            for one in _first(self._running):
                attempt = self._running.pop(one)
                alive, result = _outcome(one)
                if alive:
                    attempts.finished()
                    yield result
                else:
                    yield from attempts.died(attempt)

    def dismiss(self) -> None:
        import ray

        for one in self._running:
            ray.cancel(one, force=True)


class _Crew:
    """Runs jobs in actors that stay. A job is given only to an actor that has started."""

    def __init__(self, worker: Worker) -> None:
        import ray

        self._shared = ray.put(worker), os.getcwd()
        options = _options(worker.resources)
        self._actor: Any = ray.remote(max_restarts=0, max_task_retries=0, **options)(_Place)
        self._starting: dict[Any, Any] = {}
        self._idle: list[Any] = []
        self._running: dict[Any, tuple[Any, Attempt]] = {}

    def run(self, attempts: Attempts, workers: int) -> Iterator[Any]:
        waiting: deque[Attempt] = deque()
        while True:
            room = workers - len(self._running) - len(waiting)
            waiting.extend(itertools.islice(attempts, room))
            while waiting and self._idle:
                actor, attempt = self._idle.pop(), waiting.popleft()
                self._running[actor.work.remote(attempt.job)] = actor, attempt
            while len(self._starting) < len(waiting):
                actor = self._actor.remote(*self._shared)
                self._starting[actor.ready.remote()] = actor
            if not self._running and not waiting:
                return
            for one in _first({**self._starting, **self._running}):
                alive, result = _outcome(one)
                tried: Attempt | None = None
                if one in self._starting:
                    actor = self._starting.pop(one)
                else:
                    actor, tried = self._running.pop(one)
                if alive:
                    self._idle.append(actor)
                else:
                    yield from attempts.died(tried)
                if alive and tried is not None:
                    attempts.finished()
                    yield result

    def dismiss(self) -> None:
        import ray

        busy = [actor for actor, _ in self._running.values()]
        for actor in (*self._starting.values(), *self._idle, *busy):
            ray.kill(actor)


def _options(resources: Resources) -> dict[str, Any]:
    """Return what Ray is asked for; GPUs only of a cluster that has any."""
    import ray

    nodes: Any = ray.nodes  # untyped
    machines = [node["Resources"] for node in nodes() if node["Alive"]]
    gpus = resources.gpus if any(machine.get("GPU") for machine in machines) else 0.0
    if not any(m.get("CPU", 0) >= resources.cpus and m.get("GPU", 0) >= gpus for m in machines):
        log.warning(
            "warning: no machine of the cluster has the %g CPUs and %g GPUs that one worker is to "
            "take; waiting for one, or stop and --set fewer cpus or gpus", resources.cpus, gpus,
        )  # fmt: skip
    return {"num_cpus": resources.cpus, "num_gpus": gpus, "scheduling_strategy": "SPREAD"}


def _first(pending: Iterable[Any]) -> list[Any]:
    """Wait until one of these is done."""
    import ray

    return list(ray.wait(list(pending), num_returns=1)[0])


def _outcome(one: Any) -> tuple[bool, Any]:
    """Return (True, result), or (False, None) where the process died.

    Raises what the worker raised, as it was; InstructmineError where Ray itself fails.
    """
    import ray
    from ray import exceptions as fault

    try:
        return True, ray.get(one)
    except fault.RayTaskError as error:
        if isinstance(error.cause, Exception):
            raise error.cause from None
        raise InstructmineError(f"a worker failed: {_line(error)}") from None
    except (fault.RayActorError, fault.WorkerCrashedError, fault.NodeDiedError,
            fault.OutOfMemoryError, fault.ObjectLostError) as error:  # fmt: skip
        if getattr(error, "actor_init_failed", False):
            raise InstructmineError(
                f"a worker cannot start on the cluster ({_line(error)}); install the same "
                "version of instructmine on every machine"
            ) from None
        return False, None
    except fault.RayError as error:
        raise InstructmineError(
            f"Ray failed ({_line(error)}); run again: what was finished is kept"
        ) from error


def _line(error: Exception) -> str:
    """Return the last line that an error says anything in."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
