"""Publishes files last: written beside, fsynced, renamed, so that what exists is complete."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from instructmine.errors import InstructmineError

TEMPORARY_SUFFIX = ".tmp"

_CAUSES = {
    errno.ENOSPC: ("disk full", "free space and run again"),
    errno.EDQUOT: ("disk quota reached", "free space and run again"),
    errno.EFBIG: ("file size limit reached", "raise the limit (ulimit -f) and run again"),
    errno.EROFS: ("read-only file system", "choose another place"),
    errno.EACCES: ("permission denied", "choose another place or change its permissions"),
    errno.EPERM: ("operation not permitted", "choose another place or change its permissions"),
    errno.EIO: ("input/output error", "check the disk and run again"),
    errno.EISDIR: ("there is a folder of this name", "choose another name"),
    errno.ENOTDIR: ("a part of the path is a file", "choose another place"),
    errno.EEXIST: ("a part of the path is a file", "choose another place"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter one"),
    errno.ENOENT: ("the folder does not exist", "choose another place"),
}


def write_error(path: str | os.PathLike[str], error: OSError) -> InstructmineError:
    """Return the one-line error for a failure while writing `path`."""
    cause, advice = _CAUSES.get(
        error.errno or 0, (error.strerror or type(error).__name__, "check the place and run again")
    )
    return InstructmineError(f"{cause} while writing {os.fspath(path)}; {advice}")


@contextmanager
def publish(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`; what was written there becomes `path` at the end.

    The file is flushed to disk and renamed only when the block ends well: a reader sees the old
    file or the whole new one, never a part, and after an exception the old file is untouched.
    Missing parent folders are made. A symbolic link is followed.

    Raises InstructmineError in one line when the place cannot be written (disk full, read-only,
    no permission); errors of the block that are about other files pass through.
    """
    shown = Path(path)
    target = shown.resolve() if shown.is_symlink() else shown
    if target.exists() and not target.is_file():
        kind = "a folder" if target.is_dir() else "no regular file"
        raise InstructmineError(f"cannot write {shown}: it is {kind}; choose another name")
    # The random part lets two processes publish the same file: the last rename wins, whole.
    name = f".{target.name[:40]}.{secrets.token_hex(6)}{TEMPORARY_SUFFIX}"
    temporary = target.with_name(name)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync(temporary)
        os.replace(temporary, target)
        _sync(target.parent)
    except OSError as error:
        if error.errno is None or not _about(error, temporary, target):
            raise
        raise write_error(shown, error) from error
    finally:
        # After the rename there is nothing left to remove; before it, nothing may stay behind.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_place(path: str | os.PathLike[str]) -> None:
    """Raise InstructmineError where a file could not be published now, before the work for it."""
    place = Path(path).absolute()
    if place.is_dir():
        raise write_error(path, OSError(errno.EISDIR, ""))
    above = next(one for one in place.parents if one.exists())
    if not above.is_dir():
        raise write_error(path, OSError(errno.ENOTDIR, ""))
    if not os.access(above, os.W_OK | os.X_OK):
        raise write_error(path, OSError(errno.EACCES, ""))


@contextmanager
def publish_text(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    r"""Publish a UTF-8 text file through an open handle; `\n` is written as it is."""
    with (
        publish(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="", errors="strict") as handle,
    ):
        yield handle


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Publish `text` as the UTF-8 file `path`."""
    with publish_text(path) as handle:
        handle.write(text)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Publish `data` as the file `path`."""
    with publish(path) as temporary:
        temporary.write_bytes(data)


def _about(error: OSError, temporary: Path, target: Path) -> bool:
    """Tell whether an error is about the file being written; one without a name is."""
    if error.filename is None:
        return True
    named = Path(os.fsdecode(error.filename))
    return named in (temporary, target) or named in target.parents


def _sync(path: Path) -> None:
    """Flush a file or folder to disk; a folder that cannot be synced is left to the system."""
    descriptor = None
    try:
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():
            raise
    finally:
        if descriptor is not None:
            os.close(descriptor)


@contextmanager
def publish_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary folder beside `path`; what was written there becomes `path` at the end.

    An older folder of that name is replaced; after an exception it is untouched.
    Raises InstructmineError in one line when the place cannot be written.
    """
    target = Path(path)
    token = secrets.token_hex(6)
    temporary = target.with_name(f".{target.name[:40]}.{token}{TEMPORARY_SUFFIX}")
    old = target.with_name(f".{target.name[:40]}.{token}.old{TEMPORARY_SUFFIX}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        readable = temporary.stat().st_mode & 0o666  # as the umask has it; safetensors writes 600
        for file in temporary.rglob("*"):
            if file.is_file():
                file.chmod(readable)
                _sync(file)
        if target.exists():
            os.replace(target, old)
        os.replace(temporary, target)
        _sync(target.parent)
    except OSError as error:
        if error.errno is None or not _about(error, temporary, target):
            raise
        raise write_error(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
