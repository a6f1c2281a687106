"""Columns of text about every row of a pool, made a million rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

ROWS = 2**20  # of one chunk: a row group of a Parquet file


def spans(rows: int) -> Iterator[slice]:
    """Yield the chunks of a column, at least one."""
    for start in range(0, max(rows, 1), ROWS):
        yield slice(start, min(start + ROWS, rows))


def repeated(names: Sequence[str], codes: npt.NDArray[np.int32]) -> pa.ChunkedArray:
    """Return the column that has `names[codes[i]]` in row i."""
    known = pa.array(names, pa.string())
    return pa.chunked_array([known.take(pa.array(codes[span])) for span in spans(len(codes))])


def sparse(rows: int, texts: Mapping[int, str]) -> pa.ChunkedArray:
    """Return the column that has `texts[i]` in row i, null where there is none."""
    places = np.sort(np.fromiter(texts, np.int64, len(texts)))
    chunks = []
    for span in spans(rows):
        own = places[np.searchsorted(places, span.start) : np.searchsorted(places, span.stop)]
        values = pa.array([texts[place] for place in own.tolist()], pa.string())
        chunks.append(scattered(span, own, values))
    return pa.chunked_array(chunks)


def scattered(span: slice, places: npt.NDArray[np.int64], values: pa.Array) -> pa.Array:
    """Return one chunk with values at ascending places of the column, null elsewhere."""
    mask = np.zeros(span.stop - span.start, dtype=bool)
    mask[places - span.start] = True
    return pc.replace_with_mask(pa.nulls(len(mask), pa.string()), pa.array(mask), values)
