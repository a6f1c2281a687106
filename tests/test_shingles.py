import subprocess
import sys

import numpy as np
import pytest

from instructmine import shingles
from instructmine.shingles import WordHasher, ngrams, words


@pytest.mark.parametrize(
    "text,expected",
    [
        ("Hello, World!", ["hello", "world"]),
        ("Don't — don’t", ["dont", "dont"]),
        ("snake_case and e-mail", ["snake", "case", "and", "e", "mail"]),
        ("ＦＵＬＬ ﬁne Straße", ["full", "fine", "strasse"]),
        ("雨は水です。", ["雨", "は", "水", "で", "す"]),
        ("Привет, мир 42", ["привет", "мир", "42"]),
        ("안녕 세상", ["안녕", "세상"]),
        ("... 🙂 —", []),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


def test_ngrams_tell_order_and_length_apart():
    hasher = WordHasher()
    seen = set()
    for tokens in (["a", "b", "c"], ["c", "b", "a"], ["a", "c", "b"], ["ab", "", "c"]):
        (gram,) = ngrams(hasher.hashes(tokens), 3).tolist()
        seen.add(gram)
    assert len(seen) == 4
    assert len(ngrams(hasher.hashes(["a", "b"]), 3)) == 0
    assert len(ngrams(hasher.hashes(["a"] * 10), 8)) == 3


def test_ngrams_do_not_touch_what_they_are_given():
    hashes = WordHasher().hashes(["a", "b", "c"])
    before = hashes.copy()
    ngrams(hashes, 1)
    ngrams(hashes, 2)
    np.testing.assert_array_equal(hashes, before)


def test_forgetting_words_changes_no_hash(monkeypatch):
    tokens = [f"w{i}" for i in range(50)] * 3
    expected = WordHasher().hashes(tokens)
    monkeypatch.setattr(shingles, "_REMEMBERED", 7)
    hasher = WordHasher()
    np.testing.assert_array_equal(hasher.hashes(tokens), expected)
    assert len(hasher) <= 7


def test_hashes_are_the_same_in_every_process():
    code = (
        "from instructmine.shingles import WordHasher, ngrams;"
        "print(ngrams(WordHasher().hashes(['one', 'two', 'three']), 2).tolist())"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == str(
        ngrams(WordHasher().hashes(["one", "two", "three"]), 2).tolist()
    )
