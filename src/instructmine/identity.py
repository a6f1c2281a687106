"""What makes two things the same: canonical JSON, digests, example ids.

Identity is separate from execution. A digest is taken over a canonical form that refuses what
it cannot make stable (NaN, sets, arbitrary objects), so a key never changes with the process,
the machine or the order of a dict.
"""

from __future__ import annotations

import hashlib
import json
import math
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

DIGEST_BYTES = 16  # 128 bits: no collision to expect below 10^17 examples


def canonical_json(value: Any) -> str:
    """Return the one JSON text for `value`: keys sorted, no spaces, Unicode as it is.

    Tuples count as lists. Raises TypeError for anything without one stable form.
    """
    return json.dumps(_stable(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _stable(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{value} has no canonical form")
        return value
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("mapping keys must be strings to have a canonical form")
        return {key: _stable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_stable(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no canonical form")


def digest(value: Any) -> str:
    """Return the 128-bit digest (32 hex digits) of a JSON-like value."""
    return hashlib.blake2b(canonical_json(value).encode(), digest_size=DIGEST_BYTES).hexdigest()


def example_id(messages: Iterable[tuple[str, str]]) -> str:
    """Return the id of an example: 32 hex digits over its (role, content) pairs in NFC.

    Equal conversations share an id across files, formats and runs; nothing else enters it.
    Raises UnicodeEncodeError for lone surrogates, which no file can hold.
    """
    hasher = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for role, content in messages:
        for part in (role, content):
            data = unicodedata.normalize("NFC", part).encode()
            hasher.update(len(data).to_bytes(8, "little"))  # lengths keep ("a","bc") off ("ab","c")
            hasher.update(data)
    return hasher.hexdigest()


def file_digest(path: Path) -> str:
    """Return the 128-bit digest of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(
            handle, lambda: hashlib.blake2b(digest_size=DIGEST_BYTES)
        ).hexdigest()


def ids_digest(ids: Iterable[bytes]) -> str:
    """Return the digest of a multiset of ids: order does not matter, repetition does."""
    hasher = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for one in sorted(ids):
        hasher.update(one)
    return hasher.hexdigest()
