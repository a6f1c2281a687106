"""The score table: one row per pool row, one column per indicator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from instructmine.errors import InstructmineError, UsageError
from instructmine.ids import id_array

KEYS = ("source", "row", "id")


@dataclass(frozen=True)
class ScoreTable:
    """Scores of a pool: `source, row, id, <indicators…>, errors`, in the order of the pool.

    `errors` says why values are missing ("reward: empty response"), or is null.
    """

    table: pa.Table

    def __len__(self) -> int:
        """Number of pool rows."""
        return int(self.table.num_rows)

    @property
    def indicators(self) -> tuple[str, ...]:
        """Names of the indicator columns."""
        return tuple(n for n in self.table.column_names if n not in (*KEYS, "errors"))

    @property
    def ids(self) -> npt.NDArray[np.bytes_]:
        """(n,) S32 ids."""
        return id_array(self.table.column("id"))

    def column(self, name: str) -> npt.NDArray[np.float64]:
        """Return one indicator as (n,) float64, NaN where it is missing."""
        if name not in self.indicators:
            have = ", ".join(self.indicators) or "none"
            raise UsageError(f"the scores have no column '{name}' (they have: {have}); score it")
        values = self.table.column(name).cast(pa.float64())
        return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)

    def matrix(self, names: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return several indicators as (n, len(names)) float64."""
        if not names:
            return np.empty((len(self), 0))
        return np.column_stack([self.column(name) for name in names])

    def take(self, rows: npt.NDArray[np.int64]) -> ScoreTable:
        """Return the given rows, in the given order."""
        return ScoreTable(self.table.take(pa.array(rows)))

    def without(self, *names: str) -> ScoreTable:
        """Return the table without some columns; nothing is copied."""
        return ScoreTable(
            self.table.drop_columns([n for n in names if n in self.table.schema.names])
        )

    def to_pandas(self) -> object:
        """Return a pandas DataFrame, for notebooks (needs pandas)."""
        return self.table.to_pandas()

    @classmethod
    def read(cls, path: str | Path) -> ScoreTable:
        """Read a table that `score` wrote. Raises InstructmineError if it is not one."""
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise InstructmineError(f"cannot read scores from {path}: {error}") from error
        missing = [name for name in KEYS if name not in table.column_names]
        if missing:
            raise InstructmineError(f"{path} is no score table: it lacks {', '.join(missing)}")
        return cls(table)
