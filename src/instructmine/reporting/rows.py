"""The rows that `score` or `select` wrote, as arrays that sections count over."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from instructmine.errors import InstructmineError
from instructmine.reporting.runs import RunFile, read_table
from instructmine.rules.linear import LinearRule
from instructmine.scores import KEYS, ScoreTable

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
DECIDED = (
    "quality", "rank", "selected", "reason", "errors", "round", "label", "label_source",
    "label_problem",
)  # fmt: skip


@dataclass(frozen=True)
class PoolRows:
    """Every readable row of a pool, with its scores and, after `select`, what was decided.

    rejected: rows that could not be read, as `.rejected.jsonl` has them.
    """

    table: pa.Table
    manifest: Mapping[str, Any]
    rejected: tuple[Mapping[str, Any], ...]
    origin: tuple[str, ...]

    @classmethod
    def read(cls, run: RunFile) -> PoolRows:
        """Read the table of `score` or `select`. Raises InstructmineError where it is none."""
        table = read_table(run.data)
        missing = [name for name in KEYS if name not in table.column_names]
        if missing:
            raise InstructmineError(f"{run.data} lacks {', '.join(missing)}; run it again")
        rejected = run.beside(".rejected.jsonl")
        return cls(table, run.manifest, _read_lines(rejected), run.origin)

    def __len__(self) -> int:
        """Number of readable rows."""
        return int(self.table.num_rows)

    @property
    def decided(self) -> bool:
        """Whether something was chosen."""
        return "selected" in self.table.column_names

    @cached_property
    def scores(self) -> ScoreTable:
        """The indicators alone."""
        names = [name for name in self.table.column_names if name not in (*KEYS, *DECIDED)]
        return ScoreTable(self.table.select([*KEYS, *names]))

    @cached_property
    def indicators(self) -> tuple[str, ...]:
        """Names of the indicator columns that hold numbers."""
        schema = self.table.schema
        return tuple(
            name
            for name in self.scores.indicators
            if pa.types.is_floating(schema.field(name).type)
            or pa.types.is_integer(schema.field(name).type)
        )

    @cached_property
    def columns(self) -> Mapping[str, FloatArray]:
        """Indicator → (n,) values, NaN where missing."""
        return {name: self.scores.column(name) for name in self.indicators}

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The files, in the order of the pool."""
        return tuple(str(name) for name in self.table.column("source").unique().to_pylist())

    @cached_property
    def source(self) -> IntArray:
        """(n,) position in `sources`."""
        codes = self.table.column("source").combine_chunks().dictionary_encode()
        order = {str(name): place for place, name in enumerate(self.sources)}
        own = np.array([order[str(name)] for name in codes.dictionary.to_pylist()], dtype=np.int64)
        return np.asarray(own[np.asarray(codes.indices)])

    @cached_property
    def row(self) -> IntArray:
        """(n,) 0-based row in its file."""
        return np.asarray(self.table.column("row").to_numpy(), dtype=np.int64)

    @cached_property
    def ids(self) -> npt.NDArray[np.bytes_]:
        """(n,) S32 ids."""
        return self.scores.ids

    @cached_property
    def selected(self) -> BoolArray:
        """(n,) chosen; nothing is, after `score`."""
        if not self.decided:
            return np.zeros(len(self), dtype=bool)
        return np.asarray(self.table.column("selected").to_numpy(zero_copy_only=False), dtype=bool)

    @cached_property
    def rank(self) -> IntArray:
        """(n,) 1 for the best, 0 for rows that could not be chosen."""
        if not self.decided:
            return np.zeros(len(self), dtype=np.int64)
        ranks = self.table.column("rank").fill_null(0).to_numpy(zero_copy_only=False)
        return np.asarray(ranks, dtype=np.int64)

    @cached_property
    def quality(self) -> FloatArray:
        """(n,) lower is better, NaN where there is none."""
        if not self.decided:
            return np.full(len(self), np.nan)
        column = self.table.column("quality").cast(pa.float64())
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)

    @cached_property
    def reason(self) -> tuple[str, ...]:
        """Why each row was chosen or not, or what could not be scored."""
        name = "reason" if self.decided else "errors"
        if name not in self.table.column_names:
            return ("",) * len(self)
        return tuple(str(text or "") for text in self.table.column(name).to_pylist())

    @cached_property
    def ranked(self) -> IntArray:
        """Positions of the rows that could be chosen, best first."""
        places = np.flatnonzero(self.rank)
        return places[np.argsort(self.rank[places], kind="stable")]

    @cached_property
    def rule(self) -> LinearRule | None:
        """The rule they were ranked by, if the manifest has one."""
        try:
            return LinearRule.from_json(self.manifest["rule"])
        except (KeyError, TypeError, ValueError, AttributeError):
            return None

    def place(self, position: int) -> str:
        """Return where a row stands, as FILE:ROW."""
        return f"{self.sources[self.source[position]]}:{self.row[position]}"

    def head(self, position: int) -> str:
        """Return the kind of a row's reason: what stands before "of", "by" or ":"."""
        return head(self.reason[position])


def head(reason: str) -> str:
    """Return the kind of a reason: `near-duplicate` for `near-duplicate of pool.jsonl:3`."""
    return reason.split(" of ")[0].split(" by ")[0].split(":")[0]


def _read_lines(path: Path) -> tuple[Mapping[str, Any], ...]:
    if not path.exists():
        return ()
    try:
        with path.open(encoding="utf-8", newline="\n") as lines:
            return tuple(json.loads(line) for line in lines)
    except (OSError, ValueError) as error:
        raise InstructmineError(f"cannot read {path}: {error}; run its command again") from error
