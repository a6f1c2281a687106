"""What kept results took, and what was spent without one, so that limits hold over all runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from instructmine.identity import digest
from instructmine.journal import Journal
from instructmine.spending import Meter
from instructmine.verdicts import Usage


class Ledger:
    """Charges a meter with what the results of a journal took in earlier runs, each once.

    What was sent and gave no result (a server that failed) stands in the journal too, beside
    the key that it was for.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._charged: set[str] = set()

    def recall(self, keys: Iterable[str], meter: Meter) -> None:
        """Count what is known of keys, before anything is asked."""
        for key in keys:
            if key not in self._charged:
                for usage in self._known(key):
                    meter.recall(usage)
                    self._charged.add(key)

    def paid(self, key: str) -> None:
        """Note that the meter saw what a key's result took."""
        self._charged.add(key)

    def lost(self, key: str, usage: Usage) -> None:
        """Keep what was sent for a key in vain. The meter saw it."""
        self._charged.add(key)
        if usage.requests:
            count = sum(1 for _ in self._in_vain(key))
            self.journal.append(_vain_key(key, count), {"usage": dict(vars(usage))})

    def _known(self, key: str) -> Iterator[Usage]:
        yield from self._in_vain(key)
        if (record := self.journal.get(key)) is not None:
            yield Usage(**record.get("usage", {}))

    def _in_vain(self, key: str) -> Iterator[Usage]:
        number = 0
        while (record := self.journal.get(_vain_key(key, number))) is not None:
            yield Usage(**record["usage"])
            number += 1


def _vain_key(key: str, number: int) -> str:
    return digest(["in vain", key, number])
