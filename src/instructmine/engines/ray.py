"""Runs jobs on Ray: on all cores and GPUs of this machine, or of a cluster.

Work that keeps a model open goes through Ray Data, to actors that each do many jobs; any other job
is a task. What ended its process is tried again, halved and given up by the rules of `_attempts`:
left to themselves, Ray Data would repeat it for ever and a task would be lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import logging
import os
import socket
import warnings
import weakref
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
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
    # Its core warns of every actor of Ray Data.
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}

AHEAD = 2  # jobs handed out for each worker, so that none waits for the next

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
        for package in ("ray", "pandas", "fsspec"):  # the latter two for Ray Data
            if importlib.util.find_spec(package) is None:
                raise MissingExtraError(package, "ray", "the engine 'ray'")

    def run(self, worker: Worker, jobs: Iterable[Any]) -> Iterator[Any]:
        """Yield one result per job; few jobs are drawn and not finished: `AHEAD` per worker."""
        self._held[:] = [_connect(self.address)]
        attempts = Attempts(worker, jobs, self.workers)
        kind = _Actors if worker.stateful else _Tasks
        yield from kind(worker).run(attempts, self.workers)


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
            with warnings.catch_warnings(), _no_stderr():
                warnings.simplefilter("ignore")
                ray.init(**where, log_to_driver=False, logging_level=logging.CRITICAL)
        except Exception as error:  # Ray raises all sorts, from ConnectionError to RuntimeError
            ray.shutdown()
            raise InstructmineError(
                f"cannot join Ray at {address} ({_line(error)}); see `ray status` there, or leave "
                "--ray-address and RAY_ADDRESS out"
            ) from error
        _report_to_files()
        self.address = address
        self.close = weakref.finalize(self, ray.shutdown)


def _knock(address: str) -> None:
    """Raise OSError where nothing answers at HOST:PORT: Ray itself tries for two minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


@contextlib.contextmanager
def _no_stderr() -> Iterator[None]:
    """Close stderr to the core of Ray, which announces there that it was told to be quiet."""
    try:
        kept = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _report_to_files() -> None:
    """Let Ray Data, which reports every run on stderr, write to its files alone."""
    import ray.data

    logger = logging.getLogger(ray.data.__name__)
    for handler in list(logger.handlers):
        if isinstance(handler, logging.StreamHandler):
            logger.removeHandler(handler)


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


# ── actors that stay, through Ray Data ──────────────────────────────────────────────────────


class _Actors:
    """Runs jobs through Ray Data: a stream of numbers, and actors that do the jobs of these.

    Ray Data starts the actors, replaces those that died or whose machine went away, and repeats
    what they had not finished; a `_Dispatcher` sees to it that it does not do so for ever.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._options = _options(worker.resources)

    def run(self, attempts: Attempts, workers: int) -> Iterator[Any]:
        """Yield results as they come."""
        while first := list(itertools.islice(attempts, AHEAD * workers)):
            yield from self._stream(first, attempts, workers)

    def _stream(self, first: list[Attempt], attempts: Attempts, workers: int) -> Iterator[Any]:
        """Do these jobs and what follows, until nothing does."""
        import ray

        dispatcher: Any = ray.remote(num_cpus=0, scheduling_strategy=_here())(_Dispatcher).remote()
        given: dict[int, Attempt] = {}
        count, most, closed = 0, AHEAD * workers, False

        def add(more: Iterable[Attempt]) -> None:
            nonlocal count, closed
            for attempt in more:
                given[count] = attempt
                dispatcher.add.remote(count, [ray.put(attempt.job)], attempt.limit)
                count += 1
            if len(given) < most:  # idle actors are let go, and leave room to those that restart
                closed = True
                dispatcher.close.remote(count)

        add(first)
        ends = self._ends(dispatcher, min(workers, len(first)), workers)
        try:
            for number, end in ends:
                attempt = given.pop(number, None)
                if attempt is None:  # done twice: the first end had gone with a machine
                    continue
                dispatcher.done.remote(number)
                if end.error is not None:
                    raise end.error
                if end.died:
                    results = list(attempts.died(attempt, attempt.limit))
                else:
                    attempts.finished()
                    results = [end.result]
                if not closed:
                    add(itertools.islice(attempts, most - len(given)))
                yield from results
            for attempt in given.values():
                yield from attempts.died(attempt)
        finally:
            ends.close()
            if ray.is_initialized():  # a call would begin another Ray
                ray.kill(dispatcher)

    def _ends(
        self, dispatcher: Any, actors: int, most: int
    ) -> Generator[tuple[int, _End], None, None]:
        """Yield what became of every job, by its number. actors: to start with."""
        import ray.data

        actor: Any = _Actor  # Ray Data takes classes too, but does not say so in its types
        stream = (
            ray.data.from_items([0])
            .map_batches(partial(_numbers, dispatcher), num_cpus=0)
            .map(
                actor,
                fn_constructor_args=(self._worker, os.getcwd(), dispatcher),
                compute=ray.data.ActorPoolStrategy(min_size=1, initial_size=actors, max_size=most),
                **self._options,
            )
        )
        stream.context.enable_progress_bars = False
        stream.context.target_max_block_size = 1  # every row is a block: it travels at once
        stream.context.execution_no_progress_timeout_s = -1  # a job may take hours
        try:
            for block in stream.iter_batches(batch_size=None, prefetch_batches=0):
                for number, end in zip(block["number"], block["end"], strict=True):
                    yield int(number), end
        except Exception as error:  # Ray Data raises all sorts
            raise _failure(error) from error


class _Dispatcher:
    """An actor beside the driver that holds the jobs given out, by their numbers, 0 and up.

    It counts how often a job is claimed: each time but the last it has ended its process.
    """

    def __init__(self) -> None:
        self._jobs: dict[int, tuple[list[Any], int]] = {}
        self._claims = Counter[int]()
        self._known = set[int]()
        self._end: int | None = None
        self._changed = asyncio.Condition()

    async def add(self, number: int, job: list[Any], limit: int) -> None:
        """Take a job, in a list; calls may overtake each other. limit: processes it may end."""
        self._jobs[number] = job, limit
        self._known.add(number)
        async with self._changed:
            self._changed.notify_all()

    async def close(self, end: int) -> None:
        """Say that there is no job of this number or any above."""
        self._end = end
        async with self._changed:
            self._changed.notify_all()

    async def has(self, number: int) -> bool:
        """Tell whether there is a job of this number, as soon as that is known."""
        async with self._changed:
            await self._changed.wait_for(lambda: number in self._known or number == self._end)
        return number in self._known

    async def claim(self, number: int) -> list[Any]:
        """Return a job that is not done; nothing if it has ended as many processes as it may."""
        job, limit = self._jobs.get(number, ([], 0))
        self._claims[number] += 1
        return job if self._claims[number] <= limit else []

    async def done(self, number: int) -> None:
        """Forget a job that is done."""
        self._jobs.pop(number, None)


def _numbers(dispatcher: Any, _: Any) -> Iterator[dict[str, list[int]]]:
    """Yield the number of every job, once the dispatcher has it."""
    import ray

    for number in itertools.count():
        if not ray.get(dispatcher.has.remote(number)):
            return
        yield {"number": [number]}


@dataclass(frozen=True)
class _End:
    """What became of a job: a result, an error of the worker, or the death of processes."""

    result: Any = None
    error: Exception | None = None
    died: bool = False


class _Place:
    """A process of the cluster: it has the worker, and the folder that paths start from."""

    def __init__(self, worker: Worker, folder: str) -> None:
        with contextlib.suppress(OSError):  # other machines have only what is shared
            os.chdir(folder)
        self._worker = worker

    def work(self, job: Any) -> Any:
        """Do one job."""
        return self._worker(job)


class _Actor(_Place):
    """A process of Ray Data's: it does the jobs of the numbers that it is given."""

    def __init__(self, worker: Worker, folder: str, dispatcher: Any) -> None:
        super().__init__(worker, folder)
        self._dispatcher = dispatcher

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Do the job of a number."""
        import ray

        job = ray.get(self._dispatcher.claim.remote(int(row["number"])))
        try:
            end = _End(self.work(ray.get(job[0]))) if job else _End(died=True)
        except Exception as error:  # for the driver to raise
            end = _End(error=error)
        return {**row, "end": end}


def _here() -> Any:
    """Return what puts an actor on this machine."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


# ── tasks ───────────────────────────────────────────────────────────────────────────────────


def _task(worker: Worker, folder: str, job: Any) -> Any:
    return _Place(worker, folder).work(job)


class _Tasks:
    """Runs each job as a task of its own."""

    def __init__(self, worker: Worker) -> None:
        import ray

        self._shared = ray.put(worker), os.getcwd()
        options = _options(worker.resources)
        self._task: Any = ray.remote(max_retries=0, scheduling_strategy="SPREAD", **options)(_task)

    def run(self, attempts: Attempts, workers: int) -> Iterator[Any]:
        """Yield results as they come; as many jobs as workers are drawn and not finished."""
        import ray

        running: dict[Any, Attempt] = {}
        try:
            while True:
                for attempt in itertools.islice(attempts, workers - len(running)):
                    running[self._task.remote(*self._shared, attempt.job)] = attempt
                if not running:
                    return
                for one in ray.wait(list(running), num_returns=1)[0]:
                    attempt = running.pop(one)
                    alive, result = _outcome(one)
                    if alive:
                        attempts.finished()
                        yield result
                    else:
                        yield from attempts.died(attempt)
        finally:
            for one in running if ray.is_initialized() else ():
                ray.cancel(one, force=True)


# ── Ray's words ─────────────────────────────────────────────────────────────────────────────


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
    return {"num_cpus": resources.cpus, **({"num_gpus": gpus} if gpus else {})}


def _outcome(one: Any) -> tuple[bool, Any]:
    """Return (True, result), or (False, None) where the process died.

    Raises what the worker raised, as it was; InstructmineError where Ray itself fails.
    """
    import ray
    from ray import exceptions as fault

    try:
        return True, ray.get(one)
    except fault.RayTaskError as error:
        if isinstance(error.cause, fault.RayError) or not isinstance(error.cause, Exception):
            raise _failure(error.cause or error) from error
        raise error.cause from None
    except (fault.WorkerCrashedError, fault.NodeDiedError, fault.OutOfMemoryError,
            fault.ObjectLostError):  # fmt: skip
        return False, None
    except fault.RayError as error:
        raise _failure(error) from error


def _failure(error: BaseException) -> InstructmineError:
    """Return what to say of an error that is not of the worker's making."""
    from ray.exceptions import RaySystemError

    if getattr(error, "actor_init_failed", False) or isinstance(error, RaySystemError):
        return InstructmineError(
            f"a worker cannot start on the cluster ({_line(error)}); install the same version of "
            "instructmine on every machine"
        )
    return InstructmineError(f"Ray failed ({_line(error)}); run again: what was finished is kept")


def _line(error: BaseException) -> str:
    """Return the last line that an error says anything in."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
