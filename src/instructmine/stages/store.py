"""`store info|prune|compact`: looks after stored scores."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from instructmine import plugins
from instructmine.errors import UsageError
from instructmine.store import Store, StoredRecipe
from instructmine.workdirs import default_workdir


def store_info(*, workdir: str | Path | None = None) -> dict[str, Any]:
    """Return what is stored: one entry per recipe, with rows, parts and bytes."""
    store = Store(workdir or default_workdir())
    recipes = [
        {
            "key": stored.key,
            "indicator": stored.recipe.indicator,
            "rows": stored.rows,
            "parts": stored.parts,
            "bytes": stored.bytes,
            "used": datetime.fromtimestamp(stored.used, UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "recipe": stored.recipe.fields,
        }
        for stored in store.recipes()
    ]
    return {
        "workdir": store.mirror.url if store.mirror else str(store.root.parent),
        "bytes": sum(recipe["bytes"] for recipe in recipes),
        "recipes": recipes,
    }


def store_prune(
    keys: Sequence[str] = (),
    *,
    older_than: float | None = None,
    everything: bool = False,
    workdir: str | Path | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Delete recipes by key or indicator, by age in days, or all; returns keys and bytes freed."""
    if not (keys or everything or older_than is not None):
        raise UsageError("say what to prune: keys, --older-than DAYS, or --all")
    store = Store(workdir or default_workdir())
    chosen = _matching(store, keys) if keys else list(store.recipes())
    if older_than is not None:
        limit = time.time() - older_than * 86400
        chosen = [stored for stored in chosen if stored.used < limit]
    names = [stored.key for stored in chosen]
    freed = sum(stored.bytes for stored in chosen) if dry_run else store.prune(names)
    return {"keys": names, "bytes": freed, "dry_run": dry_run}


def store_compact(keys: Sequence[str] = (), *, workdir: str | Path | None = None) -> dict[str, Any]:
    """Merge the parts of the named recipes (default: all); returns parts before and after."""
    store = Store(workdir or default_workdir())
    chosen = _matching(store, keys) if keys else list(store.recipes())
    return {"parts": {stored.key: store.compact(stored.key) for stored in chosen}}


def _matching(store: Store, keys: Iterable[str]) -> list[StoredRecipe]:
    stored = list(store.recipes())
    chosen = []
    for key in keys:
        hits = [s for s in stored if s.key.startswith(key) or s.recipe.indicator == key]
        if not hits:
            raise UsageError(plugins.unknown("stored recipe", key, [s.key for s in stored]))
        chosen += [hit for hit in hits if hit not in chosen]
    return chosen
