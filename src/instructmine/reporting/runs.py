"""Recognises what other commands wrote: by the manifest beside a file, else by its content."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from instructmine.errors import InstructmineError, UsageError

MANIFEST = ".manifest.json"
KINDS = ("decisions", "manifest", "rejected", "prompts", "trials")
DATA = {
    "select": ".decisions.parquet",
    "iterate": ".decisions.parquet",
    "score": ".parquet",
    "trials": ".parquet",
    "search": ".json",
    "compare": ".parquet",
    "evaluate": ".json",
}
"""Command → ending of the file that holds its numbers."""
CONTENT = {
    "select": {"id", "quality", "rank", "selected", "reason"},
    "compare": {"strategy", "eval", "difference", "verdict"},
    "score": {"source", "row", "id", "errors"},
    "trials": {"log_loss"},
}
"""Command → columns that only its table has, the most telling first."""


@dataclass(frozen=True)
class RunFile:
    """What one command wrote. data: the file with its numbers. manifest: {} where none is there."""

    command: str
    data: Path
    manifest: Mapping[str, Any]

    @property
    def stem(self) -> Path:
        """The path that the names of all its files begin with."""
        return self.data.with_name(_stem(self.data.name))

    @property
    def origin(self) -> tuple[str, ...]:
        """Names of the files that were read."""
        manifest = (f"{self.stem.name}{MANIFEST}",) if self.manifest else ()
        return (self.data.name, *manifest)

    def beside(self, ending: str) -> Path:
        """Return the path of a file beside it, `.rejected.jsonl`."""
        return self.stem.with_name(self.stem.name + ending)


def chosen_by(found: Mapping[str, RunFile]) -> RunFile | None:
    """Return the run that chose rows, if there is one."""
    return found.get("select") or found.get("iterate")


def find_runs(given: Iterable[str | Path]) -> dict[str, RunFile]:
    """Return command → what it wrote. A folder stands for every run in it.

    Raises UsageError for what is no run, and for two runs of one command.
    """
    found: dict[str, RunFile] = {}
    for path in map(Path, given):
        for one in _in_folder(path) if path.is_dir() else [_run(path)]:
            other = found.setdefault(one.command, one)
            if other.data.resolve() != one.data.resolve():
                raise UsageError(
                    f"{other.data} and {one.data} are both of `{one.command}`; a report shows one "
                    "of each, so name the files"
                )
    if {"select", "iterate"} <= found.keys():
        raise UsageError(
            f"{found['select'].data} and {found['iterate'].data} are two choices; a report shows "
            "one, so name the files"
        )
    if not found:
        raise UsageError("no run was given; name what select, fit, compare, … wrote")
    return found


def _in_folder(folder: Path) -> list[RunFile]:
    manifests = sorted(folder.glob(f"*{MANIFEST}"))
    found = [_by_manifest(path) for path in manifests if _command(path) in DATA]
    rules = (path for path in sorted(folder.glob("*.json")) if path not in manifests)
    found += [RunFile("fit", path, {}) for path in rules if _is_rule(path)]
    if not found:
        raise UsageError(f"{folder} holds no run; name what select, fit, compare, … wrote")
    return found


def _run(path: Path) -> RunFile:
    if not path.exists():
        raise UsageError(f"{path} does not exist; name what select, fit, compare, … wrote")
    if path.suffix == ".json" and not path.name.endswith(MANIFEST) and _is_rule(path):
        return RunFile("fit", path, {})
    manifest = path.with_name(_stem(path.name) + MANIFEST)
    if manifest.exists():
        return _by_manifest(manifest)
    command = _by_content(path)
    if command is None:
        raise UsageError(
            f"{path} is no run that a report can show; name what {', '.join(DATA)} or fit wrote"
        )
    return RunFile(command, path, {})


def _stem(name: str) -> str:
    """Return how the names of a run's files begin: gold for gold.decisions.parquet."""
    name = name.removesuffix(".gz").removesuffix(".zst")
    stem = name.rsplit(".", 1)[0] if "." in name else name
    head, _, kind = stem.rpartition(".")
    return head if head and kind in KINDS else stem


def _by_manifest(path: Path) -> RunFile:
    manifest = _read_json(path)
    command = manifest.get("command") if isinstance(manifest, dict) else None
    if command not in DATA:
        said = f"written by `{command}`" if command else "no manifest of instructmine"
        raise UsageError(f"{path} is {said}; a report shows {', '.join(DATA)} and fit")
    data = path.with_name(path.name.removesuffix(MANIFEST) + DATA[command])
    if not data.exists():
        raise InstructmineError(
            f"{data} is missing, which {path.name} is about; run `{command}` again or keep its "
            "files together"
        )
    return RunFile(command, data, manifest)


def _command(manifest: Path) -> str | None:
    found = _read_json(manifest)
    return found.get("command") if isinstance(found, dict) else None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InstructmineError(f"cannot read {path}: {error}") from error


def _is_rule(path: Path) -> bool:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and {"intercept", "coefficients"} <= found.keys()


def _by_content(path: Path) -> str | None:
    """Return the command that writes tables with these columns, None for anything else."""
    try:
        if path.suffix == ".parquet":
            columns = set(pq.read_schema(path).names)
        elif path.suffix == ".csv":
            columns = set(pa_csv.open_csv(path).schema.names)
        else:
            return None
    except (OSError, pa.ArrowException):
        return None
    return next((name for name, own in CONTENT.items() if own <= columns), None)


def read_table(path: Path) -> pa.Table:
    """Read a Parquet file. Raises InstructmineError in one line where it cannot be."""
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).split("\n")[0]
        raise InstructmineError(f"cannot read {path}: {reason}; run its command again") from error
