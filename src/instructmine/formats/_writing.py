"""Writes records into a container, chosen by the ending of the output's name."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from instructmine.errors import InstructmineError, UsageError
from instructmine.files import publish
from instructmine.formats._rows import kind, to_json

Records = Sequence[dict[str, Any]]


def output_ending(out: Path) -> str:
    """Return the ending that says how an output is written, `.jsonl.gz` for example."""
    suffixes = [suffix.lower() for suffix in out.suffixes]
    if len(suffixes) > 1 and suffixes[-1] in (".gz", ".zst"):
        return suffixes[-2] + suffixes[-1]
    return suffixes[-1] if suffixes else ""


def check_ending(out: Path, endings: Sequence[str], name: str) -> None:
    """Raise UsageError unless a format can write a file of this name."""
    if output_ending(out) not in endings:
        raise UsageError(f"cannot write {out} as {name}: its name must end in {', '.join(endings)}")


def write_records(records: Records, out: Path, schema: Any = None) -> None:
    """Write records to `out` in order, whole or not at all.

    Args:
        records: the rows; their columns may differ.
        out: its ending decides: JSON lines, a JSON array, Parquet, CSV, TSV.
        schema: the Arrow schema to keep in Parquet where the rows come from Parquet.

    Raises:
        InstructmineError: the place cannot be written, or Parquet cannot hold the values.
    """
    write = WRITERS[output_ending(out)]
    try:
        with publish(out) as temporary:
            write(records, temporary, output_ending(out), schema)
    except RecursionError as error:
        raise InstructmineError(f"cannot write {out}: a row is nested too deeply") from error
    except UnicodeEncodeError as error:
        raise InstructmineError(
            f"cannot write {out}: a text holds a lone surrogate; write .jsonl instead"
        ) from error


@contextlib.contextmanager
def _text(path: Path, ending: str) -> Iterator[TextIO]:
    """Open a UTF-8 text file for writing, compressed if its final name says so."""
    with contextlib.ExitStack() as stack:
        handle: BinaryIO = stack.enter_context(path.open("wb"))
        if ending.endswith(".gz"):
            # No name and time in the header: equal selections give equal files.
            handle = stack.enter_context(gzip.GzipFile("", "wb", 6, handle, mtime=0))  # type: ignore[assignment]
        elif ending.endswith(".zst"):
            import zstandard

            handle = stack.enter_context(
                zstandard.ZstdCompressor(write_checksum=True).stream_writer(handle)
            )
        yield stack.enter_context(io.TextIOWrapper(handle, "utf-8", newline=""))


def _jsonl(records: Records, path: Path, ending: str, schema: Any) -> None:
    with _text(path, ending) as handle:
        for record in records:
            handle.write(to_json(record) + "\n")


def _json_array(records: Records, path: Path, ending: str, schema: Any) -> None:
    with _text(path, ending) as handle:
        handle.write("[")
        for position, record in enumerate(records):
            handle.write((",\n" if position else "\n") + to_json(record))
        handle.write("\n]\n")


def _delimited(records: Records, path: Path, ending: str, schema: Any) -> None:
    names = column_names(records)
    with _text(path, ending) as handle:
        writer = csv.writer(
            handle, "excel-tab" if ".tsv" in ending else "excel", lineterminator="\n"
        )
        writer.writerow(names)
        for record in records:
            writer.writerow([_cell(record.get(name)) for name in names])


def _cell(value: Any) -> str:
    """Return a value as the text of a CSV field: text as it is, the rest as JSON, null as ""."""
    if value is None:
        return ""
    return value if isinstance(value, str) else to_json(value)


def _parquet(records: Records, path: Path, ending: str, schema: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = column_names(records)
    columns = []
    for name in names:
        values = [record.get(name) for record in records]
        known = schema.field(name).type if schema is not None and name in schema.names else None
        try:
            columns.append(pa.array(values, type=known))
        except UnicodeEncodeError:
            raise
        except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
            kinds = " and ".join(sorted({kind(value) for value in values if value is not None}))
            raise InstructmineError(
                f"Parquet needs one type per column, and {name} holds {kinds} that do not "
                "go together; write .jsonl instead"
            ) from error
    pq.write_table(pa.table(columns, names=names), path)


def column_names(records: Records) -> list[str]:
    """Return the columns of all records, in order of appearance."""
    return list(dict.fromkeys(name for record in records for name in record))


WRITERS: dict[str, Callable[[Records, Path, str, Any], None]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".json": _json_array,
    ".parquet": _parquet,
    ".csv": _delimited,
    ".tsv": _delimited,
    ".jsonl.gz": _jsonl,
    ".jsonl.zst": _jsonl,
    ".json.gz": _json_array,
    ".json.zst": _json_array,
    ".csv.gz": _delimited,
    ".tsv.gz": _delimited,
}
