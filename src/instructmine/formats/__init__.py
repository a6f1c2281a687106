"""Reading pools and writing selections.

    open_pool(sources)  ─► Pool ─► PoolRow, PoolRow, …      files, folders, Hub datasets
    open_prompts(path)  ─► prompts of an evaluation set
    write_selection(rows, out, format="same")               one module per output format

Where things live: a container (how rows lie in a file) is one file in `_containers/`; a row
shape (which columns make an example) is an entry of the table in `_shapes.py`; an output format
is one public module here, or an entry point of the group `instructmine.formats`.
"""

from __future__ import annotations

from instructmine.formats._pool import Pool, open_pool

__all__ = ["Pool", "open_pool"]
