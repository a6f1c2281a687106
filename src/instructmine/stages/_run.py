"""What every stage needs to run: profile, store, engine, device, progress."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import instructmine
from instructmine import plugins
from instructmine.config import Profile, load_profile
from instructmine.contracts import Context, Engine, Progress
from instructmine.errors import UsageError
from instructmine.formats import read_examples
from instructmine.store import Store
from instructmine.workdirs import default_workdir, local_folder

REPORTED_PACKAGES = (
    "instructmine", "torch", "transformers", "tokenizers", "sentence-transformers",
    "numpy", "pyarrow", "faiss-cpu",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """How one call runs. Nothing here but the profile changes a number."""

    profile: Profile
    store: Store
    engine: Engine
    context: Context
    workdir: Path
    progress: Progress | None = None

    def report(self, what: str, done: int, total: int) -> None:
        """Tell the progress display, if there is one."""
        if self.progress is not None:
            self.progress(what, done, total)


def open_run(
    *,
    profile: str,
    settings: Iterable[str] = (),
    target: str | Path | None = None,
    workdir: str | Path | None = None,
    engine: str = "local",
    workers: int = 1,
    ray_address: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
) -> Run:
    """Gather what a stage needs; imports no model library."""
    chosen = load_profile(profile, settings)
    if target is not None:
        read_examples(target, "target")  # an error in it is one now, not after the scoring
        chosen = chosen.override([f"target_similarity.target={target}"])
    place = workdir or default_workdir()
    runs_jobs = _engine(engine, workers, ray_address)
    return Run(
        profile=chosen,
        store=Store(place),
        engine=runs_jobs,
        context=Context(device=device, threads=threads or runs_jobs.threads_each()),
        workdir=local_folder(place),
        progress=progress,
    )


def _engine(name: str, workers: int, ray_address: str | None) -> Engine:
    kind = plugins.load("engines", name, Engine)
    if ray_address is None:
        return kind(workers=workers)
    if plugins.spelling("engines", name) != "ray":
        raise UsageError(
            f"--ray-address is for --engine ray, not for {name}; leave one of the two out"
        )
    return kind(workers=workers, address=ray_address)


def provenance(command: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a manifest that says who made it: command, arguments, versions."""
    return {
        "command": command,
        "arguments": {name: _plain(value) for name, value in arguments.items()},
        "versions": {"python": platform.python_version(), **_versions()},
        "platform": f"{platform.system()} {platform.machine()}",
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in REPORTED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    found.setdefault("instructmine", instructmine.__version__)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
