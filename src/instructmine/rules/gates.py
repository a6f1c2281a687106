"""Quality gates: rows that do not pass a threshold on an indicator are not chosen."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from instructmine.errors import UsageError
from instructmine.scores import ScoreTable

_TESTS: dict[str, Callable[[npt.NDArray[np.float64], float], npt.NDArray[np.bool_]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_FORM = re.compile(r"\s*(\w+)\s*(>=|<=|>|<)\s*(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*")


@dataclass(frozen=True)
class Gate:
    """A condition on one column, such as `reward>0`."""

    column: str
    test: str
    bound: float

    def __str__(self) -> str:
        """As it was given."""
        return f"{self.column}{self.test}{self.bound:g}"

    def passed(self, scores: ScoreTable) -> npt.NDArray[np.bool_]:
        """Return (n,) bool; a row without a value does not pass."""
        values = scores.column(self.column)
        return np.asarray(_TESTS[self.test](values, self.bound) & ~np.isnan(values))


def read_gates(texts: Sequence[str]) -> tuple[Gate, ...]:
    """Read `COLUMN>NUMBER` conditions. Raises UsageError for anything else."""
    found = []
    for text in texts:
        match = _FORM.fullmatch(text)
        if match is None:
            raise UsageError(f"cannot read the gate {text}; write COLUMN>NUMBER, >=, < or <=")
        found.append(Gate(match[1], match[2], float(match[3])))
    return tuple(found)
