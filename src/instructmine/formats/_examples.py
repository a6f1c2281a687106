"""Reading a file of examples that stands beside the pool: a target, an eval set, a ranking."""

from __future__ import annotations

import os

from instructmine.errors import PoolError
from instructmine.formats._pool import open_pool
from instructmine.pool import Example


def read_examples(file: str | os.PathLike[str], what: str) -> list[Example]:
    """Read a file whose every row counts; the pool's mapping is not for it.

    what: what the file is, for messages. Raises PoolError where the file or a row cannot be read.
    """
    examples = []
    for row in open_pool([file], mappable=False):
        if row.example is None:
            raise PoolError(
                f"{row.source}:{row.row} of the {what} cannot be read ({row.rejection}); "
                "mend or drop the row: every row of it counts"
            )
        examples.append(row.example)
    return examples
