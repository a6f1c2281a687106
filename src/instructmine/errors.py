"""Errors that are shown to a user as one line: what happened, where, and what to do.

Everything the product raises on purpose derives from `InstructmineError`; anything else that
reaches a user is a bug. `exit_code` is what the command line exits with.
"""

from __future__ import annotations


class InstructmineError(Exception):
    """A failure the user can act on. The message is one line: what, where, what to do."""

    exit_code = 1


class UsageError(InstructmineError):
    """The command or call itself is wrong (unknown name, impossible option)."""

    exit_code = 2


class EvidenceError(InstructmineError):
    """The work ran, and the evidence says no (for example: no usable rule)."""

    exit_code = 3


class PoolError(InstructmineError):
    """A pool file cannot be read at all; single bad rows are rejected rows, not errors."""


class ModelError(InstructmineError):
    """A model cannot be found, loaded or used."""


class StoreError(InstructmineError):
    """The store of results cannot be read or written."""


class MissingExtraError(InstructmineError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {package}, which is not installed; "
            f"run: pip install 'instructmine[{extra}]'"
        )
        self._made_of = package, extra, purpose

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str, str]]:
        """Travel between processes, which an error of three arguments does not by itself."""
        return type(self), self._made_of
