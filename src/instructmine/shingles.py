"""Words of a text and hashes of their n-grams: what copies are recognised by.

Hashes are of content alone, so they are the same in every process and on every machine.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

import numpy as np
import numpy.typing as npt

HashArray = npt.NDArray[np.uint64]

# Scripts without spaces between words: one character counts as one word.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(f"[{_UNSPACED}]|[^\\W{_UNSPACED}]+")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, so multiplication loses nothing
_REMEMBERED = 1_000_000  # words whose hash is kept: about 120 MB


def words(text: str) -> list[str]:
    """Return the words of a text: NFKC, casefolded, without punctuation and underscores.

    An apostrophe joins ("don't" is "dont"), every other sign parts.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).replace("\u2019", "")
    return _WORD.findall(text.casefold().replace("'", "").replace("_", " "))


class WordHasher(dict[str, int]):
    """Maps words to 64-bit hashes, remembering the frequent ones in bounded memory."""

    def __missing__(self, word: str) -> int:
        """Hash a word that is not remembered."""
        if len(self) >= _REMEMBERED:
            self.clear()
        data = word.encode("utf-8", "surrogatepass")
        value = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
        self[word] = value
        return value

    def hashes(self, tokens: list[str]) -> HashArray:
        """Return (len(tokens),) hashes."""
        return np.fromiter(map(self.__getitem__, tokens), dtype=np.uint64, count=len(tokens))


def ngrams(hashes: HashArray, size: int) -> HashArray:
    """Return the hash of every run of `size` words, (max(0, n − size + 1),)."""
    count = len(hashes) - size + 1
    if count <= 0:
        return np.empty(0, dtype=np.uint64)
    mixed = hashes[:count].copy()
    for offset in range(1, size):
        mixed *= _MULTIPLIER  # a polynomial in the words: their order counts
        mixed += hashes[offset : offset + count]
    return _scramble(mixed)


def _scramble(values: HashArray) -> HashArray:
    """Spread the bits, so that any part of a hash is as good as the whole (splitmix64)."""
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values
