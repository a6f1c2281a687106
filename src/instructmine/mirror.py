"""Keeps a folder of this machine like a place that an fsspec URL names, file by file.

For stores on S3, GCS and their like. Files are written once and never changed, so a copy is as good
as the original: what is written counts here once it is there, and before reading what is new there
is fetched.
"""

from __future__ import annotations

import fnmatch
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from instructmine.errors import StoreError
from instructmine.files import TEMPORARY_SUFFIX, publish


def is_url(place: str | Path) -> bool:
    """Tell whether a place is named by a URL."""
    return isinstance(place, str) and "://" in place


@dataclass
class Mirror:
    """A place named by a URL; opened when it is first needed, so that it travels between processes.

    Every method raises StoreError in one line when the place cannot be reached or written.
    """

    url: str
    _opened: tuple[Any, str] | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Travel as the URL alone."""
        return {"url": self.url, "_opened": None}

    def put(self, file: Path, name: str) -> None:
        """Put a finished file there under `name`: whole, or not at all."""
        with self._reaching() as (system, root):
            target = f"{root}/{name}"
            parent, _, leaf = target.rpartition("/")
            temporary = f"{parent}/.{leaf}.{secrets.token_hex(6)}{TEMPORARY_SUFFIX}"
            system.makedirs(parent, exist_ok=True)
            system.put_file(str(file), temporary)
            system.mv(temporary, target)

    def fetch(self, folder: Path, name: str, pattern: str) -> None:
        """Make the files in `folder` those under `name`: get what is new, remove what is gone.

        pattern: of the file names that this is about.

        Raises FileNotFoundError where a file goes while it is fetched.
        """
        # First what is here: a file that comes while we look is put there before it comes here.
        here = {path.name for path in folder.glob(pattern)}
        listed = [one for one, kind in self._listed(name) if kind == "file"]
        there = set(fnmatch.filter(listed, pattern))
        for gone in here - there:
            (folder / gone).unlink(missing_ok=True)
        for new in sorted(there - here):
            with publish(folder / new) as temporary, self._reaching() as (system, root):
                system.get_file(f"{root}/{name}/{new}", str(temporary))

    def folders(self, name: str) -> list[str]:
        """Return the names of the folders under `name`."""
        return sorted(one for one, kind in self._listed(name) if kind == "directory")

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with what is in it; one that is gone is no error."""
        with self._reaching() as (system, root), suppress(FileNotFoundError):
            system.rm(f"{root}/{name}", recursive=True)

    def _listed(self, name: str) -> list[tuple[str, str]]:
        with self._reaching() as (system, root):
            system.invalidate_cache()  # another machine may have written since
            try:
                found = system.ls(f"{root}/{name}", detail=True)
            except FileNotFoundError:
                return []
            return [(str(one["name"]).rstrip("/").rpartition("/")[2], one["type"]) for one in found]

    @contextmanager
    def _reaching(self) -> Iterator[tuple[Any, str]]:
        """Give the file system and the path in it; say in one line why it cannot be used."""
        import fsspec

        try:
            if self._opened is None:
                system, root = fsspec.core.url_to_fs(self.url)
                self._opened = system, str(root).rstrip("/")
            yield self._opened
        except FileNotFoundError:
            raise
        except Exception as error:  # each file system raises errors of its own
            why = " ".join(str(error).split()) or type(error).__name__
            raise StoreError(
                f"cannot use the store {self.url}: {why}; install the fsspec package of that "
                "protocol, check name and access, or give --workdir a folder"
            ) from error
