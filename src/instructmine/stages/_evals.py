"""Eval sets as a stage needs them: read from files, apart from each other and from the pool."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from instructmine.decontaminate import Decontaminator, EvalPrompt
from instructmine.errors import UsageError
from instructmine.evals import EvalSet
from instructmine.formats import read_examples
from instructmine.identity import digest
from instructmine.pool import Example
from instructmine.rules.linear import LinearRule
from instructmine.stages._index import PoolIndex

SHOWN = 3  # overlapping rows named in a message


def read_eval_set(file: str | Path) -> EvalSet:
    """Read an eval set; `NAME=FILE` names it, else it is called by the file's stem.

    Raises InstructmineError where the file cannot be read or a row holds no reference.
    """
    name, equals, path = str(file).partition("=")
    if equals and name and not Path(file).exists():
        file = path
    else:
        name = Path(file).stem
    examples = read_examples(file, "eval set")
    return EvalSet.of(name, examples, tuple(dict.fromkeys(one.source for one in examples)))


def read_eval_sets(files: Iterable[str | Path], option: str = "--report-eval") -> list[EvalSet]:
    """Read several sets. Raises UsageError where two have the same name."""
    sets = [read_eval_set(file) for file in files]
    names = [one.name for one in sets]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two eval sets are called '{name}'; write {option} NAME=FILE")
    return sets


def refuse_shared(first: EvalSet, others: Sequence[EvalSet], why: str) -> None:
    """Refuse sets that share prompts with another one. Raises UsageError naming them."""
    known = prompt_digests(first)
    for other in others:
        shared = [i for i, key in enumerate(prompt_digests(other)) if key in known]
        if shared:
            places = ", ".join(other.items[i].place for i in shared[:SHOWN])
            raise UsageError(
                f"eval sets '{first.name}' and '{other.name}' share {len(shared)} prompts "
                f"({places}{', …' if len(shared) > SHOWN else ''}); {why}"
            )


def refuse_fitted_on(rule: LinearRule | None, sets: Sequence[EvalSet]) -> None:
    """Refuse sets that hold prompts which a rule was fitted on. Raises UsageError naming them."""
    fitted = rule.about.get("eval") if rule else None
    if rule is None or not fitted:
        return
    known = frozenset(fitted["prompts"])
    for one in sets:
        shared = [i for i, key in enumerate(prompt_digests(one)) if key in known]
        if shared:
            places = ", ".join(one.items[i].place for i in shared[:SHOWN])
            raise UsageError(
                f"rule '{rule.name}' was fitted on {len(shared)} prompts of eval set '{one.name}' "
                f"({places}{', …' if len(shared) > SHOWN else ''}); what a rule was fitted on "
                "cannot show how good it is: give another set"
            )


def prompt_digests(one: EvalSet) -> list[str]:
    """Return one digest per prompt, whatever its references."""
    return [digest([[m.role, m.content] for m in item.history])[:16] for item in one.items]


def overlap_with_pool(index: PoolIndex, sets: Sequence[EvalSet], *, drop: bool) -> dict[int, str]:
    """Return the rows that occur in an eval set. Raises UsageError for them unless told to drop."""
    hits = _overlap(index, sets)
    if hits and not drop:
        places = [f"{index.place(p)} in {hit}" for p, hit in list(hits.items())[:3]]
        raise UsageError(
            f"{len(hits)} pool rows occur in an eval set ({', '.join(places)}"
            f"{', …' if len(hits) > 3 else ''}); pass --drop-overlap to leave them out"
        )
    return hits


def _overlap(index: PoolIndex, sets: Sequence[EvalSet]) -> dict[int, str]:
    """Return the pool rows whose prompt occurs in an eval set: position → eval row."""
    finder = Decontaminator(_prompts(sets))
    everything = np.ones(len(index), dtype=bool)
    found = {}
    for position, example in index.examples(everything):
        hit = finder.check(example)
        if hit is not None:
            found[position] = str(hit)
    return found


def refuse_overlap(examples: Iterable[Example], sets: Sequence[EvalSet], what: str) -> None:
    """Refuse examples whose prompts occur in an eval set. Raises UsageError naming them."""
    finder = Decontaminator(_prompts(sets))
    hits = [f"{one.source}:{one.row} in {hit}" for one in examples if (hit := finder.check(one))]
    if hits:
        more = ", …" if len(hits) > SHOWN else ""
        raise UsageError(
            f"{len(hits)} rows of {what} occur in the eval set ({', '.join(hits[:SHOWN])}{more}); "
            "what is measured on must be apart from what is chosen by"
        )


def _prompts(sets: Sequence[EvalSet]) -> Iterable[EvalPrompt]:
    for one in sets:
        for item in one.items:
            source, _, row = item.place.rpartition(":")
            asked = tuple(m.content for m in item.history if m.role == "user")
            yield EvalPrompt(source, int(row), asked)


def describe_set(one: EvalSet) -> Mapping[str, Any]:
    """Return what a table of trials keeps of an eval set, so that others can stay apart from it."""
    return {
        "name": one.name,
        "digest": one.digest,
        "prompts": prompt_digests(one),
        "files": list(one.files),
    }
