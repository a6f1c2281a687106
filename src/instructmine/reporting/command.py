"""Writes the command line that made a run, from the arguments in its manifest."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Mapping
from typing import Any

SPELLED = {"minimum": "min", "maximum": "max"}  # options whose names differ from the function's
POSITIONAL = ("pool", "model")  # arguments without an option
SKIPPED = {"out", "workdir", *POSITIONAL}


def command_line(function: Callable[..., Any], manifest: Mapping[str, Any]) -> str:
    """Return the command that repeats a run; what is as by default is left out.

    function: the stage's, whose parameters the command's options are.
    """
    arguments = manifest.get("arguments", {})
    known = inspect.signature(function).parameters
    words = ["instructmine", str(manifest["command"])]
    words += [word for name in POSITIONAL for word in _words(arguments.get(name))]
    for name, parameter in known.items():
        value = arguments.get(name, parameter.default)
        if name in SKIPPED or value == parameter.default or value in (None, [], {}, ()):
            continue
        option = "--" + SPELLED.get(name, name).replace("_", "-")
        if value is True:
            words.append(option)
        elif isinstance(value, Mapping):
            words += [option, ",".join(f"{key}={one}" for key, one in value.items())]
        else:
            for one in _words(value):
                words += [option, one]
    if arguments.get("out"):
        words += ["-o", str(arguments["out"])]
    return shlex.join(words)


def _words(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(one) for one in value] if isinstance(value, (list, tuple)) else [str(value)]
