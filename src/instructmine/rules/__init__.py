"""Rules: from an example's indicators to one quality, predicted log loss, lower is better.

A rule is named by a shipped preset (`instructmining-v2`), an indicator column (`reward`, or
`perplexity:lower` where no better end is known), or the path of a `rule.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from instructmine import plugins
from instructmine.contracts import Direction
from instructmine.errors import InstructmineError, UsageError
from instructmine.rules.linear import LinearRule

PRESETS = Path(__file__).parent.parent / "assets" / "rules"


def preset_names() -> list[str]:
    """Return the names of the shipped rules."""
    return sorted(path.stem for path in PRESETS.glob("*.json"))


def load_rule(name: str, directions: Mapping[str, Direction]) -> LinearRule:
    """Load a rule by preset name, indicator column or file.

    directions: column → which end is better, of every column the profile can give.
    Raises UsageError for an unknown name or a column without a known better end.
    """
    if name in preset_names():
        return _read(PRESETS / f"{name}.json")
    column, _, end = name.partition(":")
    if column in directions:
        return _single(column, end or directions[column])
    if Path(name).is_file():
        return _read(Path(name))
    if name.endswith(".json"):
        raise UsageError(f"rule file {name} does not exist; run `instructmine fit` or name a rule")
    raise UsageError(plugins.unknown("rule", name, [*preset_names(), *directions]))


def _single(column: str, end: str) -> LinearRule:
    if end not in ("higher", "lower"):
        raise UsageError(
            f"which end of '{column}' is better is not known; write {column}:higher or "
            f"{column}:lower"
        )
    return LinearRule(
        name=column if end == "higher" else f"{column}:{end}",
        intercept=0.0,
        coefficients={column: -1.0 if end == "higher" else 1.0},
        scope=f"One indicator, {end} is better. Not fitted: it ranks, it predicts no loss.",
    )


def _read(path: Path) -> LinearRule:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InstructmineError(f"cannot read rule {path}: {error}") from error
    try:
        return LinearRule.from_json(data)
    except UsageError as error:  # a gate
        raise InstructmineError(f"{path} is no rule: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InstructmineError(
            f"{path} is no rule: {error!r}; it needs name, intercept and coefficients"
        ) from error
