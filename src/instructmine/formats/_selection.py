"""Writes a selection in a named format."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from instructmine import plugins
from instructmine.errors import UsageError
from instructmine.formats._format import Chosen, Format, Written
from instructmine.formats._pool import Pool
from instructmine.formats._writing import check_ending
from instructmine.pool import PoolRow


def check_format(name: str, out: str | os.PathLike[str] | None) -> Format:
    """Return a format, sure that it can write a file of this name; call it before long work.

    Raises UsageError for an unknown format or an ending it cannot write.
    """
    found: Format = plugins.load("formats", name, Format)()
    if out is not None:
        check_ending(Path(out), found.endings, name)
    return found


def write_selection(
    rows: Sequence[PoolRow],
    out: str | os.PathLike[str],
    *,
    format: str = "same",
    pool: Pool | None = None,
) -> Written:
    """Write chosen rows to `out`, in the order given.

    Args:
        rows: rows with an example, best first (`Pool.fetch` gives them).
        out: the output file; its ending chooses the container.
        format: same, messages, alpaca, sharegpt, llamafactory, axolotl, trl or a plug-in's.
        pool: the pool of the rows; it knows a mapping and the column types of Parquet files.

    Raises:
        UsageError: no such format, or an ending that it cannot write.
        InstructmineError: the format cannot carry a row, or the place cannot be written.
    """
    if any(row.example is None for row in rows):
        raise UsageError("a row that could not be read cannot be selected")
    return check_format(format, out).write(Chosen(rows, pool), Path(out))
