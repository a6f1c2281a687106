"""Files named by a URL (`s3://…`, `gs://…`, `memory://…`), read through fsspec."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from instructmine.errors import PoolError

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_GLOB = re.compile(r"[*?\[]")
BLOCK = 8 << 20  # bytes fetched at once


@dataclass(frozen=True)
class RemoteFile:
    """A file behind a URL, with what the readers need of a path. Opened anew by every pass."""

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return PurePosixPath(self.url).name

    @property
    def suffixes(self) -> list[str]:
        """The endings of the name, as `Path.suffixes`."""
        return PurePosixPath(self.url).suffixes

    def open(self, mode: str = "rb") -> BinaryIO:
        """Open it for reading bytes. Raises OSError."""
        system, path = _system(self.url)
        try:
            return io.BufferedReader(system.open(path, mode, block_size=BLOCK), BLOCK)
        except OSError:
            raise
        except Exception as error:  # the clients of the stores raise errors of their own
            raise OSError(_line(error)) from error

    def state(self) -> str:
        """Return what changes when the file does. Raises OSError."""
        system, path = _system(self.url)
        system.invalidate_cache()
        try:
            return str(system.ukey(path))
        except OSError:
            raise
        except Exception as error:
            raise OSError(_line(error)) from error


def is_url(source: object) -> bool:
    """Tell whether a source is a URL; the Hub's `hf://` names a dataset instead."""
    return isinstance(source, str) and bool(_URL.match(source)) and not source.startswith("hf://")


def find(url: str) -> tuple[list[tuple[str, RemoteFile]], bool]:
    """Return (label, file) for what a URL means, and whether it is one of several.

    A folder stands for all that is in it and below, a pattern for what fits it; labels are the
    URL as given, or relative to the folder. Raises PoolError where there is nothing.
    """
    system, path = _system(url)
    try:
        if _GLOB.search(path):
            files = [one for one in sorted(system.glob(path)) if not system.isdir(one)]
            if not files:
                raise PoolError(f"nothing fits {url}")
            return [
                (name, RemoteFile(name)) for one in files for name in [_full(system, one)]
            ], True
        if not system.isdir(path):
            if not system.exists(path):
                raise PoolError(f"there is no file or folder {url}")
            return [(url, RemoteFile(url))], False
        top = _full(system, path).rstrip("/") + "/"
        names = [_full(system, one) for one in sorted(system.find(path))]
    except PoolError:
        raise
    except Exception as error:
        raise PoolError(f"cannot read {url}: {_line(error)}") from error
    return [(name.removeprefix(top), RemoteFile(name)) for name in names], True


def _system(url: str) -> tuple[Any, str]:
    """Return the file system of a URL and its path there. Raises PoolError for a protocol."""
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise PoolError(
            f"cannot read {url}: {_line(error)}; install the fsspec package of that protocol, "
            "s3fs for s3:// and gcsfs for gs://"
        ) from error
    except Exception as error:
        raise PoolError(f"cannot read {url}: {_line(error)}") from error
    return system, path


def _full(system: Any, path: str) -> str:
    return str(system.unstrip_protocol(path))


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
