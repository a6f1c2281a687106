import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from candidate_tables import candidates, ranked_ids

from instructmine.errors import UsageError
from instructmine.scores import ScoreTable
from instructmine.selectors.ifd import Ifd
from instructmine.selectors.longest import Longest
from instructmine.selectors.longest_in_quantile import LongestInQuantile
from instructmine.selectors.middle import Middle
from instructmine.selectors.random import Random
from instructmine.selectors.top import Top


def test_top_sorts_by_quality_then_id():
    made = candidates(100)
    expected = sorted(range(100), key=lambda row: (made.quality[row], made.ids[row]))
    assert Top().rank(made).order.tolist() == expected


def test_longest_sorts_by_length_then_id_and_puts_missing_lengths_last():
    lengths = [3.0, math.nan, 8.0, 8.0, 1.0]
    made = candidates(5, lengths=lengths)
    order = Longest().rank(made).order.tolist()
    first = sorted([2, 3], key=lambda row: made.ids[row])
    assert order == [*first, 0, 4, 1]


def test_random_depends_on_the_seed_and_on_nothing_else():
    made = candidates(300)
    worse = type(made)(made.ids, -made.quality, made.scores)
    assert ranked_ids(made, Random().rank(made, seed=1)) == ranked_ids(
        made, Random().rank(worse, seed=1)
    )
    assert ranked_ids(made, Random().rank(made, seed=1)) != ranked_ids(
        made, Random().rank(made, seed=2)
    )


def test_random_keeps_its_order_when_the_pool_grows():
    made = candidates(300)
    part = made.subset(np.arange(250))
    inside = set(part.ids.tolist())
    whole = [one for one in ranked_ids(made, Random().rank(made)) if one in inside]
    assert whole == ranked_ids(part, Random().rank(part))


def test_random_is_fair():
    made = candidates(400)
    first = [ranked_ids(made, Random().rank(made, seed=seed), 40) for seed in range(100)]
    count = np.unique(np.concatenate(first), return_counts=True)[1]
    assert len(count) == 400 and count.max() < 30  # mean 10, standard deviation 3


def test_longest_in_quantile_takes_the_longest_of_each_quantile_in_turn():
    made = candidates(20, lengths=np.arange(20.0))
    order = LongestInQuantile(quantiles=4).rank(made).order
    lengths = made.scores.column("output_length")[order].tolist()
    assert lengths[:8] == [19, 14, 9, 4, 18, 13, 8, 3]


def test_longest_in_quantile_costs_far_fewer_tokens_than_longest():
    made = candidates(2000, lengths=np.random.default_rng(0).lognormal(4, 1, 2000))
    lengths = made.scores.column("output_length")
    picked = lengths[LongestInQuantile().rank(made).order[:500]].mean()
    assert picked < 0.6 * lengths[Longest().rank(made).order[:500]].mean()
    assert picked < 1.5 * lengths.mean()


def test_longest_in_quantile_puts_missing_lengths_last():
    lengths = np.arange(12.0)
    lengths[5] = math.nan
    assert LongestInQuantile().rank(candidates(12, lengths=lengths)).order[-1] == 5


def test_longest_needs_the_length():
    made = candidates(4)
    bare = type(made.scores)(made.scores.table.drop(["output_length"]))
    with pytest.raises(UsageError, match="output_length"):
        Longest().rank(type(made)(made.ids, made.quality, bare))


def test_quantiles_below_one_are_refused():
    with pytest.raises(UsageError, match="quantiles"):
        LongestInQuantile(quantiles=0)


def test_ifd_takes_the_highest_below_one_and_puts_missing_ones_last():
    made = candidates(5)
    table = made.scores.table.drop_columns(["ifd"]).append_column(
        "ifd", pa.array([0.5, 1.2, None, 0.9, 1.0], pa.float64())
    )
    made = replace(made, scores=ScoreTable(table))
    assert Ifd().rank(made).order.tolist() == [3, 0, 4, 1, 2]


def test_middle_begins_at_the_median_and_goes_outwards():
    made = candidates(5, quality=[5.0, 1.0, 3.0, 2.0, 4.0])
    assert Middle().rank(made).order.tolist() == [2, 3, 4, 1, 0]
