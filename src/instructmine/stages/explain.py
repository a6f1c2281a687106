"""`explain`: why an example was chosen or not, and why a score was computed anew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from instructmine import plugins
from instructmine.errors import InstructmineError, UsageError
from instructmine.recipes import difference
from instructmine.rules.linear import LinearRule
from instructmine.scores import KEYS, ScoreTable
from instructmine.store import Store, StoredRecipe
from instructmine.workdirs import default_workdir

DECIDED = ("quality", "rank", "selected", "reason")
LABELS = ("round", "label", "label_source", "label_problem")  # of `iterate`


@dataclass(frozen=True)
class Explanation:
    """An answer twice: lines for a person, data for a program."""

    lines: tuple[str, ...]
    data: Mapping[str, Any]


def explain(
    what: str, *, decisions: str | Path | None = None, workdir: str | Path | None = None
) -> Explanation:
    """Explain an example (by the beginning of its id), a recipe key or an indicator.

    With `decisions` an example's place in that selection is explained; without, what the store
    holds about it. Raises UsageError when nothing of that name is known.
    """
    if decisions is not None:
        return _decision(what, Path(decisions))
    store = Store(workdir or default_workdir())
    recipes = sorted(store.recipes(), key=lambda stored: stored.used)
    chosen = [s for s in recipes if s.key.startswith(what) or s.recipe.indicator == what]
    if chosen:
        return _recipes(chosen, recipes)
    stored = store.ids_beginning(what) if len(what) >= 4 else {}
    if not stored:
        keys = {*(s.key for s in recipes), *(s.recipe.indicator for s in recipes)}
        raise UsageError(plugins.unknown("stored example, recipe or indicator", what, keys))
    lines = []
    for identifier, scores in stored.items():
        lines.append(identifier)
        for key, row in scores.items():
            values = ", ".join(f"{k} {_short(v)}" for k, v in row.items() if v not in (None, False))
            lines.append(f"  {key}: {values}")
    return Explanation(tuple(lines), {"scores": stored})


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"vector of {len(value)}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _recipes(chosen: list[StoredRecipe], recipes: list[StoredRecipe]) -> Explanation:
    lines: list[str] = []
    data: list[dict[str, Any]] = []
    for stored in chosen:
        others = [s for s in recipes if s.recipe.indicator == stored.recipe.indicator]
        earlier = others[: others.index(stored)]
        lines.append(f"{stored.key}: {stored.rows:,} rows in {stored.parts} parts")
        lines += [f"  {name} = {value}" for name, value in stored.recipe.fields.items()]
        changes: list[str] = []
        if earlier:
            before = earlier[-1]
            changes = difference(before.recipe.fields, stored.recipe.fields)
            lines.append(f"  computed anew because it differs from {before.key}:")
            lines += [f"    {change}" for change in changes]
        data.append({"key": stored.key, "recipe": stored.recipe.fields, "changes": changes})
    return Explanation(tuple(lines), {"recipes": data})


def _decision(what: str, path: Path) -> Explanation:
    try:
        table = pq.read_table(path)
        rows = [
            position
            for position, identifier in enumerate(table.column("id").to_pylist())
            if identifier.startswith(what)
        ]
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise InstructmineError(f"cannot read decisions {path}: {error}") from error
    if not rows:
        raise UsageError(f"no row of {path} has an id beginning with '{what}'")
    rule = _rule_beside(path)
    labels = [name for name in LABELS if name in table.column_names]
    known = {*KEYS, *DECIDED, *labels, "errors"}
    indicators = [name for name in table.column_names if name not in known]
    scores = ScoreTable(table.select([*KEYS, *indicators]))
    shares = rule.contributions(scores) if rule is not None else {}
    lines: list[str] = []
    data: list[dict[str, Any]] = []
    for position in rows[:20]:
        row = table.slice(position, 1).to_pylist()[0]
        lines.append(f"{row['source']}:{row['row']}  {row['id']}")
        lines.append(f"  {row['reason']}; rank {row['rank']}, quality {_short(row['quality'])}")
        lines += [f"  {name}: {row[name]}" for name in labels if row[name] is not None]
        for name in indicators:
            column = scores.column(name)
            if row[name] is None:
                lines.append(f"  {name}: no value")
                continue
            percentile = 100 * float(np.mean(column[~np.isnan(column)] <= row[name]))
            share = f", adds {shares[name][position]:+.4g} to quality" if name in shares else ""
            lines.append(f"  {name} {_short(row[name])} (percentile {percentile:.0f}{share})")
        contributions = {name: float(share[position]) for name, share in shares.items()}
        data.append({**row, "contributions": contributions})
    if len(rows) > 20:
        lines.append(f"{len(rows) - 20} more rows begin with {what}; give more of the id")
    if rule is not None:
        lines.append(rule.explain())
    return Explanation(tuple(lines), {"rows": data})


def _rule_beside(decisions: Path) -> LinearRule | None:
    manifest = decisions.with_name(decisions.name.replace(".decisions.parquet", ".manifest.json"))
    try:
        return LinearRule.from_json(json.loads(manifest.read_text(encoding="utf-8"))["rule"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # the manifest was moved away: explain without contributions
