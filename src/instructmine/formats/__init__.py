"""Reading pools and writing selections.

    open_pool(sources)  ─► Pool ─► PoolRow, PoolRow, …      files, folders, Hub datasets
    open_prompts(path)  ─► prompts of an evaluation set
    write_selection(rows, out, format="same")               one module per output format

Where things live: a container (how rows lie in a file) is one file in `_containers/`; a row
shape (which columns make an example) is an entry of the table in `_shapes.py`; an output format
is one public module here, or an entry point of the group `instructmine.formats`.
"""

from __future__ import annotations

from instructmine import plugins
from instructmine.formats._examples import read_examples
from instructmine.formats._format import Chosen, Format, RecordFormat, Written
from instructmine.formats._pool import Pool, open_pool
from instructmine.formats._prompts import Prompt, Prompts, open_prompts
from instructmine.formats._questions import read_questions
from instructmine.formats._selection import check_format, write_selection

__all__ = [
    "Chosen",
    "Format",
    "Pool",
    "Prompt",
    "Prompts",
    "RecordFormat",
    "Written",
    "check_format",
    "open_pool",
    "open_prompts",
    "read_examples",
    "read_questions",
    "write_selection",
]


def __getattr__(name: str) -> list[str]:
    """Return `FORMATS`, the names of the output formats, found when they are asked for."""
    if name == "FORMATS":
        return list(plugins.names("formats"))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
