import math
from fractions import Fraction

import numpy as np
import pytest
from candidate_tables import candidates
from hypothesis import given
from hypothesis import strategies as st

from instructmine.errors import UsageError
from instructmine.selectors._compose import Stratified, Within, equal_turns, proportional_turns
from instructmine.selectors.kcenter import Kcenter
from instructmine.selectors.target import Target
from instructmine.selectors.top import Top


@given(st.lists(st.integers(0, 25), min_size=1, max_size=8))
def test_every_prefix_keeps_the_proportions(sizes):
    turns = proportional_turns(sizes)
    total = sum(sizes)
    assert np.bincount(turns, minlength=len(sizes)).tolist() == sizes
    for place in range(1, total + 1):
        count = np.bincount(turns[:place], minlength=len(sizes))
        for stratum, size in enumerate(sizes):
            share = Fraction(place * size, total)
            assert math.floor(share) <= count[stratum] <= math.ceil(share)


def test_stratified_keeps_the_order_within_each_source():
    sources = ["a"] * 120 + ["b"] * 60 + ["c"] * 20
    made = candidates(sources=sources)
    order = Stratified(selector=Top()).rank(made).order
    names = np.array(sources)[order]
    assert [(names[:50] == name).sum() for name in "abc"] == [30, 15, 5]
    for name in "abc":
        own = made.quality[order[names == name]]
        assert own.tolist() == sorted(own.tolist())


def test_equal_turns_give_each_stratum_as_many_while_they_last():
    assert equal_turns([3, 1, 2]).tolist() == [0, 1, 2, 0, 2, 0]
    sources = ["a"] * 120 + ["b"] * 60 + ["c"] * 20
    order = Stratified(selector=Top(), equal=True).rank(candidates(sources=sources), limit=90).order
    names = np.array(sources)[order]
    assert [(names[:90] == name).sum() for name in "abc"] == [35, 35, 20]


def test_within_lets_only_the_better_share_be_chosen():
    made = candidates(200)
    better = set(made.by_quality()[:60].tolist())
    ranking = Within(selector=Kcenter(), share=0.3).rank(made)
    assert set(ranking.order[:60].tolist()) == better
    rest = [row for row in made.by_quality().tolist() if row not in better]
    assert ranking.order[60:].tolist() == rest
    assert ranking.chosen == 60


def test_wrappers_nest_and_pass_on_what_they_need():
    selector = Stratified(selector=Within(selector=Target(), share=0.5))
    assert selector.needs == {"embeddings", "targets"}
    assert selector.uses_quality
    made = candidates(sources=["a", "b"] * 100)
    order = selector.rank(made, limit=50).order[:50]
    assert (order % 2).sum() == 25
    halves = [np.sort(made.quality[start::2])[49] for start in (0, 1)]
    assert all(made.quality[row] <= halves[row % 2] for row in order)


def test_a_share_that_is_none_is_refused():
    with pytest.raises(UsageError, match="share"):
        Within(selector=Top(), share=0)


def test_stratify_by_an_unknown_column_is_refused():
    with pytest.raises(UsageError, match="topic"):
        Stratified(selector=Top(), by="topic").rank(candidates(5))
