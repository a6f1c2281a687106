"""Opens pool files as byte streams, decompressed by what they are, not by what they are called."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from instructmine.formats._containers._remote import RemoteFile

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
File = Path | RemoteFile
CHUNK = 1 << 20
MAX_ROW_BYTES = 256 << 20  # a longer "row" is a broken file, and would not fit beside a model
UNREADABLE = (OSError, EOFError, zlib.error)  # what reading a broken or cut file may raise


def open_bytes(path: File) -> BinaryIO:
    """Open a file for reading, through gzip or Zstandard if its first bytes say so.

    Raises one of `UNREADABLE`, here or while reading, where the file cannot be read on.
    """
    handle = path.open("rb")
    magic = handle.read(4)
    handle.seek(0)
    if magic.startswith(GZIP_MAGIC):
        return gzip.open(handle, "rb")  # type: ignore[return-value]
    if magic == ZSTD_MAGIC:
        return io.BufferedReader(_ZstdStream(handle), CHUNK)
    return handle


class Chunks:
    """Reads a file in large pieces and gives out all there is before it raises an error."""

    def __init__(self, path: File) -> None:
        self._handle: Any = open_bytes(path)
        self._error: Exception | None = None

    def __enter__(self) -> Chunks:
        return self

    def __exit__(self, *exception: object) -> None:
        self._handle.close()

    def read(self, size: int = CHUNK) -> bytes:
        """Return `size` bytes, fewer at the end or before an error, which the next call raises."""
        parts = []
        while size > 0 and self._error is None:
            try:
                data = self._handle.read1(size)
            except UNREADABLE as error:
                self._error = error
                break
            if not data:
                break
            parts.append(data)
            size -= len(data)
        if not parts and self._error is not None:
            raise self._error
        return b"".join(parts)


class _ZstdStream(io.RawIOBase):
    """Reads Zstandard frames and, unlike the library's own reader, notices a cut last frame."""

    def __init__(self, handle: BinaryIO) -> None:
        import zstandard

        self._handle = handle
        self._library: Any = zstandard
        # Frames written with --long need a window beyond the default limit.
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 31)
        self._frame = self._decompressor.decompressobj()
        self._begun = False
        self._compressed = b""
        self._ready = b""

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._handle.close()
        super().close()

    def readinto(self, target: Any) -> int:
        while not self._ready:
            if not self._compressed:
                self._compressed = self._handle.read(CHUNK // 8)
                if not self._compressed:
                    if self._begun:
                        raise EOFError("the compressed data is cut short")
                    return 0
            self._decompress()
        size = min(len(target), len(self._ready))
        target[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _decompress(self) -> None:
        try:
            self._ready = self._frame.decompress(self._compressed)
        except self._library.ZstdError as error:
            raise OSError(f"broken Zstandard data ({error})") from error
        self._compressed = b""
        self._begun = True
        if self._frame.eof:  # further frames may follow: files are often concatenated
            self._compressed = self._frame.unused_data
            self._frame = self._decompressor.decompressobj()
            self._begun = False
