"""Which model stands behind a name, and what identifies it, without loading anything.

A name is `starter:NAME` (shipped in the package), a local folder, or a hub id. Identity is the
digest of a local folder's files or the resolved hub revision, never the path.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instructmine.errors import ModelError
from instructmine.identity import digest, file_digest

STARTER = Path(__file__).parent / "assets" / "starter"
# What a model computes depends on these; a README or a training log beside them does not.
IDENTITY_SUFFIXES = (".safetensors", ".json", ".txt", ".model", ".jinja")


@dataclass(frozen=True)
class ModelRef:
    """A model by name: `starter:reward`, a folder, or a hub id with an optional revision."""

    name: str
    revision: str | None = None

    def __post_init__(self) -> None:
        """Split `name@revision` for hub ids."""
        if self.revision is None and "@" in self.name and not os.path.exists(self.name):
            name, _, revision = self.name.rpartition("@")
            object.__setattr__(self, "name", name)
            object.__setattr__(self, "revision", revision)

    def __str__(self) -> str:
        """The name as the user gave it."""
        return self.name if self.revision is None else f"{self.name}@{self.revision}"

    def folder(self, *, weights: bool = True) -> Path:
        """Return the local folder that holds the model, fetching a hub model if needed.

        weights: False fetches the small files only, for what needs no more than a tokenizer.

        Raises ModelError when there is no such folder or the hub cannot be reached.
        """
        if self.name.startswith("starter:"):
            return self._existing(STARTER / self.name.removeprefix("starter:"), "starter model")
        path = Path(self.name).expanduser()
        if path.exists() or self.name.startswith(("/", ".", "~")) or self.name.count("/") > 1:
            return self._existing(path, "model folder")
        return Path(_hub_snapshot(self.name, self.revision, weights))

    def _existing(self, path: Path, what: str) -> Path:
        if not path.is_dir():
            raise ModelError(f"{what} '{self.name}' does not exist; give a folder or a hub id")
        marks = ("config.json", "modules.json", "tokenizer.json")
        if not any((path / mark).is_file() for mark in marks):
            raise ModelError(f"{what} '{self.name}' has no config.json; give a model's own folder")
        return path

    def identity(self, only: str | None = None) -> dict[str, Any]:
        """Return what the model's numbers depend on: hub revision or digest of its files.

        only: the one file that counts, where it is there ("tokenizer.json" for lengths).
        """
        folder = self.folder(weights=only is None)
        if folder.parent.name == "snapshots" and len(folder.name) == 40:  # a hub cache folder
            return {"hub": self.name, "revision": folder.name}
        if only is not None and (folder / only).is_file():
            return {"digest": file_digest(folder / only)}
        return {"digest": folder_digest(folder)}


def folder_digest(folder: Path) -> str:
    """Return the digest of a model folder: its files' names and contents, not its path."""
    files = sorted(
        path for path in folder.rglob("*") if path.is_file() and path.suffix in IDENTITY_SUFFIXES
    )
    return digest({str(p.relative_to(folder).as_posix()): _cached_file_digest(p) for p in files})


def _cached_file_digest(path: Path) -> str:
    stat = path.stat()
    return _file_digest(str(path), stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _file_digest(path: str, _size: int, _mtime_ns: int) -> str:
    return file_digest(Path(path))


@functools.lru_cache(maxsize=64)
def _hub_snapshot(name: str, revision: str | None, weights: bool) -> str:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = [f"*{suffix}" for suffix in IDENTITY_SUFFIXES]
    if not weights:
        patterns.remove("*.safetensors")
    try:
        return snapshot_download(
            name, revision=revision, allow_patterns=patterns, ignore_patterns=["onnx/*"]
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise ModelError(
            f"hub model '{name}' cannot be fetched ({type(error).__name__}); check the name and "
            "the network, or give a local folder"
        ) from error
