"""The trials table: one row per subset that was trained on, with its indicators and its loss."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq

from instructmine.errors import InstructmineError, UsageError
from instructmine.files import publish

RECORD = (
    "trial", "subset", "seed", "design", "stratum", "size", "epochs", "steps", "loss", "log_loss",
    "loss_se", "tokens", "seconds", "checkpoint", "error",
)  # fmt: skip
"""Columns that say what was run and what came out; every other number is an indicator."""
SOURCE, OTHER_LOSS = "source:", "loss:"
"""Prefixes of the proportion of a named source, and of the loss on a further eval set."""
_METADATA = b"instructmine"


@dataclass(frozen=True)
class Trials:
    """Trials of one base model and one training recipe.

    table: `trial, subset (digest), seed, design, stratum (in words), size, epochs, steps, loss,
    log_loss, loss_se, loss:NAME…, tokens, seconds, source:NAME… (proportions), INDICATOR… (means
    over the subset), checkpoint, error`. A trial that diverged has a null loss; `error` says why.
    recipes: indicator column → the recipe it was measured by; empty for a table from elsewhere.
    about: base model, trainer, pool and eval sets, as JSON-like values.
    """

    table: pa.Table
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of trials, failed ones counted."""
        return int(self.table.num_rows)

    @property
    def indicators(self) -> tuple[str, ...]:
        """Names of the indicator columns: every number that is no record, source or loss."""
        return tuple(
            item.name
            for item in self.table.schema
            if item.name not in RECORD
            and not item.name.startswith((SOURCE, OTHER_LOSS))
            and (pa.types.is_floating(item.type) or pa.types.is_integer(item.type))
        )

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources whose proportions are recorded."""
        names = self.table.column_names
        return tuple(name.removeprefix(SOURCE) for name in names if name.startswith(SOURCE))

    def column(self, name: str) -> npt.NDArray[np.float64]:
        """Return a numeric column as (n,) float64, NaN where it is null."""
        if name not in self.table.column_names:
            have = ", ".join(self.table.column_names)
            raise UsageError(f"the trials have no column '{name}' (they have: {have})")
        try:
            # whole numbers above 2^53 lose digits that no regression needs
            values = self.table.column(name).cast(pa.float64(), safe=False)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise UsageError(f"column '{name}' of the trials holds no numbers: {error}") from error
        return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)

    def matrix(self, names: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return several numeric columns as (n, len(names)) float64."""
        if not names:
            return np.empty((len(self), 0))
        return np.column_stack([self.column(name) for name in names])

    def proportions(self) -> npt.NDArray[np.float64]:
        """Return the sources' proportions, (n, sources); each row sums to 1."""
        return self.matrix([SOURCE + name for name in self.sources])

    def seed_noise(self) -> float | None:
        """Return the sd of log loss between trainings that differ in the seed alone, pooled.

        None without a subset that was trained more than once.
        """
        if "subset" not in self.table.column_names:
            return None
        subsets = np.asarray(self.table.column("subset").to_pylist(), dtype=object)
        losses = self.column("log_loss")
        squares, freedom = 0.0, 0
        for subset in np.unique(subsets.astype(str)):
            own = losses[(subsets == subset) & np.isfinite(losses)]
            if len(own) > 1:
                squares += float(((own - own.mean()) ** 2).sum())
                freedom += len(own) - 1
        return float(np.sqrt(squares / freedom)) if freedom else None

    def write(self, path: str | Path) -> None:
        """Publish the table as Parquet, recipes and facts in its metadata."""
        extra = json.dumps({"recipes": self.recipes, "about": self.about}, ensure_ascii=False)
        table = self.table.replace_schema_metadata({_METADATA: extra.encode()})
        with publish(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")

    @classmethod
    def read(cls, path: str | Path) -> Trials:
        """Read a table of trials from Parquet, CSV or JSONL, whoever wrote it.

        Raises InstructmineError where the file cannot be read as a table.
        """
        path = Path(path)
        readers = {".csv": pa_csv.read_csv, ".jsonl": pa_json.read_json}
        try:
            table = readers.get(path.suffix, pq.read_table)(path)
            table.column_names  # noqa: B018 - names that are no UTF-8 show here
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            reason = str(error).split("\n")[0]
            raise InstructmineError(
                f"cannot read trials from {path}: {reason}; give Parquet, CSV or JSONL"
            ) from error
        extra = json.loads((table.schema.metadata or {}).get(_METADATA, b"{}"))
        return cls(table, extra.get("recipes", {}), extra.get("about", {}))
