"""Finds plug-ins by file name or entry point, without importing the ones not asked for.

A built-in is a module of its group's package that does not start with an underscore; a third
party's is an entry point of the group `instructmine.GROUP`. Both enter through the same door.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from instructmine.errors import MissingExtraError, UsageError

Plugin = TypeVar("Plugin")


def spelling(group: str, name: str) -> str:
    """Return a name as its group writes it: indicators are columns (`a_b`), the rest `a-b`."""
    return name.replace("-", "_") if group == "indicators" else name.replace("_", "-")


@functools.cache
def names(group: str) -> dict[str, str]:
    """Return plug-in name → origin for a group; imports none of them.

    Raises UsageError naming both origins when two plug-ins share a name.
    """
    package = importlib.import_module(f"instructmine.{group}")
    found = {
        spelling(group, info.name): f"{package.__name__}.{info.name}"
        for info in pkgutil.iter_modules(package.__path__)
        if not info.name.startswith("_")
    }
    for point in _entry_points(group):
        if point.name in found:
            raise UsageError(
                f"two {group} are called '{point.name}': {found[point.name]} and {point.value}; "
                "uninstall or rename one"
            )
        found[point.name] = point.value
    return dict(sorted(found.items()))


def _entry_points(group: str) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=f"instructmine.{group}"))


def load(group: str, name: str, base: type[Plugin]) -> type[Plugin]:
    """Import one plug-in and return its class, the one subclass of `base` it defines.

    Raises UsageError for an unknown name, with the nearest known ones.
    """
    origins = names(group)
    name = spelling(group, name)
    if name not in origins:
        raise UsageError(unknown(group.removesuffix("s"), name, origins))
    module_name, _, attribute = origins[name].partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        if (error.name or "").startswith("instructmine"):
            raise
        raise MissingExtraError(error.name or "a package", "all", f"'{name}'") from error
    if attribute:
        found = getattr(module, attribute)
        if not (inspect.isclass(found) and issubclass(found, base)):
            raise UsageError(f"{origins[name]} is no {base.__name__}; fix the entry point")
        return found
    own = [
        item
        for item in vars(module).values()
        if inspect.isclass(item)
        and issubclass(item, base)
        and item.__module__ == module.__name__
        and not item.__name__.startswith("_")
    ]
    if len(own) != 1:
        raise UsageError(f"{module_name} must define exactly one {base.__name__}, not {len(own)}")
    return own[0]


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the message for an unknown name, with suggestions."""
    options = list(known)
    near = difflib.get_close_matches(name, options, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(options)}"
    return f"no {kind} is called '{name}'; {hint}"
