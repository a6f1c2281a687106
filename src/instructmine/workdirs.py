"""Where work is kept on this machine: the folder that was named, or one in the cache folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from instructmine.identity import digest
from instructmine.mirror import is_url


def default_workdir() -> str | Path:
    """Return INSTRUCTMINE_WORKDIR, a folder or a URL, or `instructmine` in the cache folder."""
    return os.environ.get("INSTRUCTMINE_WORKDIR") or _cache()


def local_folder(workdir: str | Path) -> Path:
    """Return a folder as it is; for a URL, the folder that its files are copied to."""
    if is_url(workdir):
        return _cache() / "copies" / digest(str(workdir).rstrip("/"))
    return Path(workdir).expanduser()


def _cache() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or (
        "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    )
    return Path(cache).expanduser() / "instructmine"
