import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructmine import ids as module
from instructmine.identity import ids_digest
from instructmine.ids import (
    Lookup,
    digest_in_order,
    first_of_each,
    id_array,
    id_column,
    order_by,
    sort_ties,
    words,
)

IDS = st.lists(st.sampled_from(["0" * 32, "0" * 31 + "1", "f" * 32, "a" * 16 + "0" * 16]))
FLOATS = st.sampled_from([0.0, -0.0, 1.5, -2.0, float("nan"), float("inf")])


def array(texts):
    return np.array([text.encode() for text in texts], dtype="S32")


def digest_of(ids):
    return digest_in_order(ids, order_by(*words(ids))[0])


def random_ids(count, seed=0):
    raw = np.random.default_rng(seed).integers(0, 256, (count, 16), dtype=np.uint8)
    return np.array([row.tobytes().hex().encode() for row in raw], dtype="S32")


@given(IDS)
def test_the_order_of_ids_is_that_of_their_bytes(texts):
    ids = array(texts)
    order, new = order_by(*words(ids))
    np.testing.assert_array_equal(order, np.argsort(ids, kind="stable"))
    np.testing.assert_array_equal(np.cumsum(new) - 1, np.unique(ids, return_inverse=True)[1][order])


@given(st.lists(st.tuples(FLOATS, st.sampled_from(["a", "b", "c" * 32]))))
def test_ties_of_a_number_are_broken_by_id_as_lexsort_does(rows):
    numbers = np.array([number for number, _ in rows], dtype=np.float64)
    ids = array([text for _, text in rows])
    order, _ = order_by(numbers, *words(ids))
    np.testing.assert_array_equal(order, np.lexsort((ids, numbers)))
    by_id, new = order_by(*words(ids))
    turned, _ = sort_ties(by_id, new, numbers)
    np.testing.assert_array_equal(turned, np.lexsort((numbers, ids)))


@given(IDS)
def test_the_digest_is_that_of_the_sorted_ids(texts):
    assert digest_of(array(texts)) == ids_digest(text.encode() for text in texts)


def test_the_digest_does_not_depend_on_how_many_are_hashed_at_once(monkeypatch):
    ids = random_ids(1000)
    whole = digest_of(ids)
    monkeypatch.setattr(module, "_BLOCK", 7)
    assert digest_of(ids[::-1]) == whole == ids_digest(ids.tolist())


def test_the_first_row_of_every_id():
    ids = random_ids(500)
    ids = np.concatenate([ids, ids[:100], ids[::3]])
    expected = np.zeros(len(ids), dtype=bool)
    expected[np.unique(ids, return_index=True)[1]] = True
    np.testing.assert_array_equal(first_of_each(ids), expected)


@settings(max_examples=60)
@given(IDS, IDS)
def test_every_pair_of_equal_ids_is_found(held, asked):
    position, row = Lookup(array(held)).find(array(asked))
    expected = {(p, r) for p, one in enumerate(asked) for r, other in enumerate(held)
                if one == other}  # fmt: skip
    assert sorted(zip(position.tolist(), row.tolist(), strict=True)) == sorted(expected)
    assert (np.diff(position) >= 0).all()


@pytest.mark.parametrize("distinct_hashes", [1, 3])
def test_ids_that_share_a_hash_are_told_apart(monkeypatch, distinct_hashes):
    ids = random_ids(40)
    monkeypatch.setattr(
        module, "keys", lambda some: some.view(np.uint8).reshape(-1, 32)[:, 0] % distinct_hashes
    )
    position, row = Lookup(ids[:20]).find(ids)
    assert position.tolist() == row.tolist() == list(range(20))


@pytest.mark.parametrize("chunk", [3, 1000])
def test_a_column_of_ids_and_back(monkeypatch, chunk):
    monkeypatch.setattr(module, "_CHUNK", chunk)
    ids = random_ids(10)
    column = id_column(ids)
    assert column.to_pylist() == [one.decode() for one in ids.tolist()]
    np.testing.assert_array_equal(id_array(column), ids)
    np.testing.assert_array_equal(id_array(column.slice(2, 5)), ids[2:7])
    np.testing.assert_array_equal(id_array(pa.array(["a", "bc"])), array(["a", "bc"]))
    assert len(id_array(id_column(ids[:0]))) == 0
