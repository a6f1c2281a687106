"""What an output format is: chosen rows in, files out.

A new format is one public module of this package (its name is the format's name) that defines
one subclass of `Format`, mostly of `RecordFormat`, or an entry point of `instructmine.formats`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from instructmine.errors import InstructmineError
from instructmine.formats._rows import Unfit
from instructmine.formats._shapes import recognise
from instructmine.formats._writing import WRITERS, write_records
from instructmine.pool import Example, PoolRow

if TYPE_CHECKING:
    from instructmine.formats._pool import Pool


class Written(Mapping[str, Path]):
    """The files a format wrote, by what they are for; `notes` says what their reader must know."""

    def __init__(self, files: Mapping[str, Path], notes: Sequence[str] = ()) -> None:
        self._files = dict(files)
        self.notes = tuple(notes)

    def __getitem__(self, what: str) -> Path:
        return self._files[what]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


@dataclass(frozen=True)
class Chosen:
    """The rows to write, best first, each with an example, and the pool they come from."""

    rows: Sequence[PoolRow]
    pool: Pool | None = field(default=None, repr=False)

    def others(self, row: PoolRow, taken: Sequence[str]) -> dict[str, Any]:
        """Return the columns of a row that its messages do not carry.

        A column whose name the new record needs (`taken`) is kept as `original_NAME`.
        """
        record = row.record or {}
        shape = self.pool.shape_of(row) if self.pool is not None else recognise(record)
        read = shape.columns if shape is not None else frozenset()
        return {
            (f"original_{name}" if name in taken else name): value
            for name, value in record.items()
            if name not in read
        }


class Format(ABC):
    """One way to write a selection.

    endings: the file name endings that `write` can write.
    """

    endings: ClassVar[tuple[str, ...]] = tuple(WRITERS)

    @abstractmethod
    def write(self, chosen: Chosen, out: Path) -> Written:
        """Write the rows to `out`, and beside it what else the format consists of.

        Raises InstructmineError when a row cannot be written in this format.
        """


class RecordFormat(Format):
    """A format that is one file with one new record per row."""

    taken: ClassVar[tuple[str, ...]]  # columns the record has

    @abstractmethod
    def record(self, example: Example, row: PoolRow) -> dict[str, Any]:
        """Return the record of an example. Raises Unfit where the format cannot carry it."""

    def write(self, chosen: Chosen, out: Path) -> Written:
        """Write one record per row, the row's other columns kept behind it."""
        records = []
        unfit: list[str] = []
        for row in chosen.rows:
            assert row.example is not None, "only rows with an example can be chosen"
            try:
                record = self.record(row.example, row)
            except Unfit as error:
                unfit.append(f"{row.source}:{row.row}, {error}")
            else:
                records.append(record | chosen.others(row, self.taken))
        if unfit:
            raise cannot_carry(type(self).__name__.lower(), unfit, len(chosen.rows))
        write_records(records, out)
        return Written({"selection": out})


def cannot_carry(name: str, unfit: list[str], total: int) -> Exception:
    """Return the error for conversations that a format has no place for."""
    return InstructmineError(
        f"{len(unfit)} of {total} chosen conversations cannot be written as {name} "
        f"(the first: {unfit[0]}); use --format messages"
    )


def chat(example: Example) -> list[dict[str, str]]:
    """Return an example as a list of {role, content}."""
    return [{"role": message.role, "content": message.content} for message in example.messages]
