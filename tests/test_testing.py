"""The contract suite finds indicators that break the contract, law by law."""

import os
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest

from instructmine import testing
from instructmine.contracts import Column, Indicator, Scored, execution


@dataclass(frozen=True, kw_only=True)
class _Words(Indicator):
    """Keeps every law: words of the response, at least `least`."""

    version: ClassVar[int] = 1
    columns = (Column("words", "unknown", "words"), Column("letters", "unknown", "letters"))
    least: int = 0
    speed: int = execution(1)

    def open(self, context, columns):
        return _WordsScorer(self, columns)


@dataclass
class _WordsScorer:
    config: _Words
    columns: list

    def values(self, batch):
        words = [float(len(e.response.split())) for e in batch.examples]
        letters = [float(len(e.response)) for e in batch.examples]
        return {"words": np.array(words), "letters": np.array(letters)}

    def score(self, batch):
        values = self.values(batch)
        empty = [i for i, e in enumerate(batch.examples) if not e.response.strip()]
        for column in values.values():
            column[empty] = np.nan
        chosen = {name: values[name] for name in self.columns}
        return Scored(chosen, dict.fromkeys(empty, "empty response"))


def broken(score=None, **attributes):
    """The indicator above with one law broken."""

    def opener(self, context, columns):
        scorer = _WordsScorer(self, columns)
        return (
            scorer
            if score is None
            else type("Scorer", (), {"score": lambda _, b: score(scorer, b)})()
        )

    body = {"open": opener, "__module__": __name__, "version": 1, **attributes}
    return dataclass(frozen=True, kw_only=True)(type("_Broken", (_Words,), body))()


def test_a_lawful_indicator_passes():
    testing.check_indicator(_Words())


def _all_columns(scorer, batch):
    scorer.columns = ["words", "letters"]
    return scorer.score(batch)


def _no_reasons(scorer, batch):
    return Scored(scorer.score(batch).values)


def _neighbours(scorer, batch):
    found = scorer.score(batch)
    return Scored({k: v - np.nanmean(v) for k, v in found.values.items()}, found.reasons)


def _order(scorer, batch):
    found = scorer.score(batch)
    rows = np.arange(len(batch.examples))
    return Scored({k: v + rows for k, v in found.values.items()}, found.reasons)


def _infinite(scorer, batch):
    found = scorer.score(batch)
    found.values["words"][0] = np.inf
    return found


def _integers(scorer, batch):
    return Scored({k: np.nan_to_num(v).astype(int) for k, v in scorer.score(batch).values.items()})


@pytest.mark.parametrize(
    ("check", "score", "message"),
    [
        (testing.check_values, _no_reasons, "without a reason"),
        (testing.check_values, _infinite, "infinite"),
        (testing.check_values, _integers, "float64"),
        (testing.check_columns_alone, _all_columns, "asked for words"),
        (testing.check_batch_split, _neighbours, "in batches of 1"),
        (testing.check_row_order, _order, "in another row order"),
    ],
)
def test_broken_scores_are_found(check, score, message):
    with pytest.raises(AssertionError, match=message):
        check(broken(score))


def test_broken_declarations_are_found():
    with pytest.raises(AssertionError, match="version counts from 1"):
        testing.check_declaration(broken(version=0))
    twice = (Column("a", "higher", "x"), Column("a", "higher", "x"))
    with pytest.raises(AssertionError, match="share a name"):
        testing.check_declaration(broken(columns=twice))
    with pytest.raises(AssertionError, match="no unit"):
        testing.check_declaration(broken(columns=(Column("a", "higher", ""),)))
    with pytest.raises(AssertionError, match="input 'embedding' needs a field"):
        testing.check_declaration(broken(inputs=("embedding",)))


@dataclass(frozen=True, kw_only=True)
class _Unstable(_Words):
    def identity(self):
        return {**super().identity(), "process": os.getpid()}


@dataclass(frozen=True, kw_only=True)
class _Impatient(_Words):
    def identity(self):
        import torch

        return {**super().identity(), "torch": torch.__version__}


@dataclass(frozen=True, kw_only=True)
class _Mixed(_Words):
    def identity(self):
        return {**super().identity(), "speed": self.speed}


@dataclass(frozen=True, kw_only=True)
class _Unhashable(_Words):
    words: list = field(default_factory=list)


def test_broken_identities_are_found():
    with pytest.raises(AssertionError, match="differs between processes"):
        testing.check_identity(_Unstable())
    with pytest.raises(AssertionError, match=r"imports \['torch'"):
        testing.check_identity(_Impatient())
    with pytest.raises(AssertionError, match="speed is declared as execution"):
        testing.check_config(_Mixed())
    with pytest.raises(AssertionError, match="cannot be hashed"):
        testing.check_config(_Unhashable())
