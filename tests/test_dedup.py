import hashlib
import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructmine import dedup
from instructmine.dedup import exact_duplicates, near_duplicates, text_of
from instructmine.errors import UsageError
from instructmine.pool import Example
from instructmine.shingles import words

VOCABULARY = [a + b for a in "bcdfgklm" for b in ("ala", "eri", "ono", "uke", "ita")]


def ids_of(n):
    return np.array([hashlib.md5(str(i).encode()).hexdigest() for i in range(n)], dtype="S32")


def shingle_set(text):
    found = words(text) or [text.strip()]
    return {tuple(found[i : i + 2]) for i in range(max(1, len(found) - 1))}


def jaccard(a, b):
    a, b = shingle_set(a), shingle_set(b)
    return len(a & b) / len(a | b)


def brute(texts, ids, quality, threshold):
    order = sorted(range(len(texts)), key=lambda row: (quality[row], ids[row], row))
    kept, of = [], [-1] * len(texts)
    for row in order:
        alike = [(jaccard(texts[row], texts[other]), other) for other in kept]
        best = max((value for value, _ in alike), default=0)
        if alike and best >= threshold:
            of[row] = next(other for value, other in alike if value == best)
        else:
            kept.append(row)
    return of


def pool_with_copies(n=150, seed=0):
    rng = np.random.default_rng(seed)
    texts = []
    for _ in range(n):
        if texts and rng.random() < 0.5:
            tokens = texts[rng.integers(len(texts))].split()
            for _ in range(rng.integers(0, 5)):
                tokens[rng.integers(len(tokens))] = VOCABULARY[rng.integers(len(VOCABULARY))]
        else:
            tokens = rng.choice(VOCABULARY, rng.integers(1, 60)).tolist()
        texts.append(" ".join(tokens))
    return texts


# ── exact ───────────────────────────────────────────────────────────────────────────────────


def test_of_exact_copies_the_best_is_kept():
    ids = np.array([b"a", b"b", b"a", b"c", b"a", b"b"], dtype="S32")
    quality = np.array([2.0, 1, 0, 5, 3, 1])
    found = exact_duplicates(ids, quality)
    assert found.of.tolist() == [2, -1, -1, -1, 2, 1]  # of equals the first
    assert len(found) == 3
    assert found.kept.tolist() == [False, True, True, True, False, False]


def test_without_quality_the_first_copy_is_kept():
    ids = np.array([b"b", b"a", b"b", b"a"], dtype="S32")
    assert exact_duplicates(ids).of.tolist() == [-1, -1, 0, 1]


def test_a_copy_that_cannot_be_scored_goes():
    ids = np.array([b"a", b"a"], dtype="S32")
    assert exact_duplicates(ids, np.array([np.nan, 9.0])).of.tolist() == [1, -1]


def test_no_rows():
    assert len(exact_duplicates(np.empty(0, "S32"))) == 0
    assert len(near_duplicates([], np.empty(0, "S32"))) == 0


# ── near ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_finds_exactly_what_comparing_all_pairs_finds(threshold, seed):
    texts = pool_with_copies(seed=seed)
    ids = ids_of(len(texts))
    quality = np.random.default_rng(seed).integers(0, 5, len(texts)).astype(float)
    found = near_duplicates(texts, ids, quality, threshold=threshold)
    assert found.of.tolist() == brute(texts, ids, quality, threshold)
    for row in np.flatnonzero(found.of >= 0):
        assert found.similarity[row] == jaccard(texts[row], texts[found.of[row]])


@given(
    st.lists(
        st.lists(st.sampled_from(VOCABULARY[:6]), max_size=8).map(" ".join), min_size=1, max_size=25
    ),
    st.sampled_from([0.4, 0.8]),
)
@settings(max_examples=60, deadline=None)
def test_finds_all_pairs_on_any_texts(texts, threshold):
    ids = ids_of(len(texts))
    found = near_duplicates(texts, ids, threshold=threshold)
    assert found.of.tolist() == brute(texts, ids, np.zeros(len(texts)), threshold)


def test_sharing_slots_of_the_frequency_table_changes_nothing(monkeypatch):
    texts = pool_with_copies()
    ids = ids_of(len(texts))
    expected = near_duplicates(texts, ids).of.tolist()
    monkeypatch.setattr(dedup, "_SMALLEST_TABLE", 3)
    monkeypatch.setattr(dedup, "_LARGEST_TABLE", 3)
    monkeypatch.setattr(dedup, "_COUNTED", 10)
    assert near_duplicates(texts, ids).of.tolist() == expected


def test_row_order_does_not_matter():
    texts = pool_with_copies()
    ids = ids_of(len(texts))
    quality = np.random.default_rng(0).integers(0, 3, len(texts)).astype(float)
    straight = near_duplicates(texts, ids, quality)
    shuffle = np.random.default_rng(1).permutation(len(texts))
    other = near_duplicates([texts[i] for i in shuffle], ids[shuffle], quality[shuffle])
    assert sorted(ids[straight.kept]) == sorted(ids[shuffle][other.kept])
    pairs = {(ids[row], ids[of]) for row, of in enumerate(straight.of) if of >= 0}
    assert pairs == {
        (ids[shuffle][row], ids[shuffle][of]) for row, of in enumerate(other.of) if of >= 0
    }


def test_case_punctuation_and_width_make_no_difference():
    base = "Explain, briefly, how rain forms: warm air rises and cools."
    texts = [
        base,
        base.upper(),
        base.translate(str.maketrans("", "", string.punctuation)),
        base.replace(" ", "\n\n"),
        "Ｅxplain briefly how rain forms — warm air rises and cools",
        "Explain briefly how snow melts: cold air sinks and warms.",
    ]
    found = near_duplicates(texts, ids_of(6), np.arange(6.0))
    assert found.of.tolist() == [-1, 0, 0, 0, 0, -1]


def test_scripts_without_spaces():
    texts = [
        "请用三句话解释雨是怎样形成的，并举一个例子。",
        "请用三句话解释雨是怎样形成的，并举两个例子。",
    ]
    texts += ["写一首关于春天的短诗，不超过四行。"]
    found = near_duplicates(texts, ids_of(3), np.arange(3.0), threshold=0.7)
    assert found.of.tolist() == [-1, 0, -1]


def test_texts_without_words():
    texts = ["", "   ", "🙂🙂", "🙂🙂", "?!", "..."]
    found = near_duplicates(texts, ids_of(6), np.arange(6.0))
    assert found.of.tolist() == [-1, 0, -1, 2, -1, -1]


def test_texts_may_be_a_stream_and_must_fit_the_ids():
    assert near_duplicates(iter(["a b", "a b"]), ids_of(2), np.arange(2.0)).of.tolist() == [-1, 0]
    with pytest.raises(ValueError, match="2 texts for 3 ids"):
        near_duplicates(iter(["a", "b"]), ids_of(3))


@pytest.mark.parametrize("threshold", [0, -1, 1.01])
def test_an_impossible_threshold_is_refused(threshold):
    with pytest.raises(UsageError, match="threshold"):
        near_duplicates(["a"], ids_of(1), threshold=threshold)


def test_an_examples_text_is_all_it_says():
    assert text_of(Example.single("ask", "answer", "be kind")) == "be kind\nask\nanswer"
