"""Parquet files, read in batches."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

from instructmine.formats._containers._bytes import File
from instructmine.formats._rows import BrokenFile, Item

BATCH_ROWS = 512


def read(path: File, keep: Container[int] | None = None) -> Iterator[Item]:
    """Yield one item per row; batches without a row in `keep` are not converted."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = 0
    try:
        with path.open("rb") as handle, pq.ParquetFile(handle) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                rows = range(row, row + batch.num_rows)
                row += batch.num_rows
                if keep is None:
                    yield from _items(batch, rows)
                elif any(one in keep for one in rows):
                    yield from (item for item in _items(batch, rows) if item.row in keep)
    except pa.ArrowException as error:
        raise BrokenFile(f"broken Parquet data ({_line(error)})") from error
    except OSError as error:
        if error.errno is None:  # how Arrow reports broken data, as opposed to the system's errors
            raise BrokenFile(f"broken Parquet data ({_line(error)})") from error
        raise


def schema(path: File) -> Any:
    """Return the Arrow schema of a file, or None where it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as handle:
            return pq.read_schema(handle)
    except (OSError, pa.ArrowException):
        return None


def _items(batch: Any, rows: range) -> Iterator[Item]:
    try:
        for row, record in zip(rows, batch.to_pylist(), strict=True):
            yield Item(row, record)
    except UnicodeDecodeError:
        # One bad text spoils the whole batch: convert row by row to find it.
        for position, row in enumerate(rows):
            try:
                (record,) = batch.slice(position, 1).to_pylist()
            except UnicodeDecodeError:
                yield Item(row, None, 0, "invalid UTF-8")
            else:
                yield Item(row, record)


def _line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:200]
