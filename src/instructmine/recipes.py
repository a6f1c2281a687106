"""Recipes: everything a score depends on besides the example itself, and its key.

Two runs share a score exactly when their recipes are equal. `difference` is what `explain` and
rules print when they are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from instructmine.identity import canonical_json, digest


@dataclass(frozen=True)
class Recipe:
    """The recipe of one indicator: its name and identity fields (plus the pool, for pool scope)."""

    indicator: str
    canonical: str  # canonical JSON of the identity fields; a string keeps the recipe hashable

    @classmethod
    def of(
        cls,
        indicator: str,
        identity: Mapping[str, Any],
        *,
        pool: str | Mapping[str, Any] | None = None,
    ) -> Recipe:
        """Build a recipe.

        pool: of pool-scope indicators, the digest of the pool, or that and how it is searched.
        """
        fields = dict(identity) if pool is None else {**identity, "pool": pool}
        return cls(indicator, canonical_json(fields))

    @property
    def fields(self) -> dict[str, Any]:
        """The identity fields."""
        import json

        found = json.loads(self.canonical)
        assert isinstance(found, dict)
        return found

    @property
    def key(self) -> str:
        """Name of the recipe in the store: `indicator-<16 hex digits>`."""
        return f"{self.indicator}-{digest([self.indicator, self.canonical])[:16]}"


def flatten(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, value) for nested fields."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def difference(
    wanted: Mapping[str, Any], found: Mapping[str, Any], *, subset: bool = False
) -> list[str]:
    """Return `field: wanted → found` for every field that differs.

    subset: only the fields that `wanted` names must agree.
    """
    left, right = dict(flatten(wanted)), dict(flatten(found))
    names = left if subset else left | right
    return [
        f"{name}: {left.get(name, 'absent')} → {right.get(name, 'absent')}"
        for name in sorted(names)
        if left.get(name) != right.get(name)
    ]
