"""`list`: what there is to choose from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from instructmine import formats, plugins
from instructmine.comparison import BASE, FULL
from instructmine.config import load_profile, profile_names
from instructmine.contracts import Selector
from instructmine.rules import load_rule, preset_names
from instructmine.stages._strategies import NAMED

Listing = tuple[Sequence[str], list[Sequence[Any]]]


def listing(kind: str, *, profile: str = "starter") -> Listing:
    """Return a header and one row per choice. Raises UsageError for an unknown kind."""
    kinds: dict[str, Callable[[], Listing]] = {
        "indicators": lambda: _indicators(profile),
        "rules": _rules,
        "profiles": _profiles,
        "selectors": lambda: _plugins("selectors"),
        "strategies": _strategies,
        "trainers": lambda: _plugins("trainers"),
        "evaluators": lambda: _plugins("evaluators"),
        "searchers": lambda: _plugins("searchers"),
        "judges": lambda: _plugins("judges"),
        "engines": lambda: _plugins("engines"),
        "formats": _formats,
    }
    if kind not in kinds:
        from instructmine.errors import UsageError

        raise UsageError(plugins.unknown("list", kind, kinds))
    return kinds[kind]()


def _indicators(profile: str) -> Listing:
    chosen = load_profile(profile)
    rows: list[Sequence[Any]] = []
    for name, origin in plugins.names("indicators").items():
        indicator = chosen.indicator(name)
        for column in indicator.columns:
            rows.append((column.name, name, column.direction, column.unit, indicator.scope, origin))
    return ("column", "indicator", "better", "unit", "scope", "origin"), rows


def _rules() -> Listing:
    rows = []
    for name in preset_names():
        rule = load_rule(name, {})
        rows.append((name, ", ".join(rule.columns), rule.scope))
    return ("rule", "columns", "scope"), rows


def _profiles() -> Listing:
    profiles = [load_profile(name) for name in profile_names()]
    return ("profile", "rule", "summary"), [(p.name, p.rule, p.summary) for p in profiles]


def _strategies() -> Listing:
    rows: list[Sequence[Any]] = [
        (BASE, "", "", "the untouched base model"),
        (FULL, "", "", "the whole pool"),
    ]
    for name, one in NAMED.items():
        reads = plugins.load("selectors", one.selector, Selector).uses_quality
        rule = one.rule or ("--rule" if reads else "")
        how = f"the better {one.within:.0%} by the rule" if one.within else one.stratify or ""
        rows.append((name, one.selector, rule, how))
    return ("strategy", "selector", "rule", "within"), rows


def _plugins(group: str) -> Listing:
    return ("name", "origin"), list(plugins.names(group).items())


def _formats() -> Listing:
    return ("format",), [(name,) for name in formats.FORMATS]
