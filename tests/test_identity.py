import math
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instructmine.identity import canonical_json, digest, example_id, ids_digest

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
pairs = st.lists(st.tuples(st.sampled_from(["user", "assistant", "system"]), text), max_size=4)


@given(st.dictionaries(text, st.integers() | text | st.none() | st.booleans(), max_size=5))
def test_canonical_json_ignores_the_order_of_a_dict(value):
    assert canonical_json(value) == canonical_json(dict(reversed(value.items())))


@pytest.mark.parametrize("value", [math.nan, math.inf, {1: 2}, {1, 2}, object(), b"x"])
def test_what_has_no_stable_form_is_refused(value):
    with pytest.raises(TypeError, match="canonical form"):
        canonical_json({"x": [value]} if not isinstance(value, dict) else value)


def test_tuples_and_lists_are_the_same():
    assert digest((1, (2, "a"))) == digest([1, [2, "a"]])


@given(pairs)
def test_equal_texts_in_any_normal_form_share_an_id(messages):
    composed = [(role, unicodedata.normalize("NFC", content)) for role, content in messages]
    decomposed = [(role, unicodedata.normalize("NFD", content)) for role, content in messages]
    assert example_id(composed) == example_id(decomposed)


def test_boundaries_between_parts_count():
    one = example_id([("user", "ab"), ("user", "c")])
    assert one != example_id([("user", "a"), ("user", "bc")])
    assert one != example_id([("user", "abuserc")])


def test_an_id_is_the_same_in_every_process_and_for_ever():
    code = (
        "from instructmine.identity import example_id\n"
        "print(example_id([('user', 'é'), ('a', 'b')]))"
    )
    ids = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("0", "1")
    }
    assert ids == {example_id([("user", "é"), ("a", "b")])}
    assert ids == {GOLDEN}


GOLDEN = "ab9acbd0adef38f9a163d79ced004eaa"


def test_a_lone_surrogate_has_no_id():
    with pytest.raises(UnicodeEncodeError):
        example_id([("user", "\ud800")])


@given(st.lists(st.binary(min_size=4, max_size=4), max_size=6))
def test_a_pools_digest_ignores_order_but_not_repetition(ids):
    assert ids_digest(ids) == ids_digest(reversed(ids))
    if ids:
        assert ids_digest(ids) != ids_digest([*ids, ids[0]])
