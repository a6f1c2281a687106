"""`same`: the chosen rows as they came, every column untouched."""

from __future__ import annotations

from pathlib import Path

from instructmine.formats._format import Chosen, Format, Written
from instructmine.formats._writing import write_records


class Same(Format):
    """Writes each row's own record. Rows of different columns share a file where it allows."""

    def write(self, chosen: Chosen, out: Path) -> Written:
        """Write the records; Parquet to Parquet keeps the column types."""
        schema = None
        if chosen.pool is not None and out.suffix.lower() == ".parquet":
            schema = chosen.pool.schema({row.source for row in chosen.rows})
        write_records([dict(row.record or {}) for row in chosen.rows], out, schema)
        return Written({"selection": out})
