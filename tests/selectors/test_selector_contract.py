"""What every selector must keep, built-in or not: it runs over all that are found."""

import pickle

import numpy as np
import pytest
from candidate_tables import candidates, ranked_ids

from instructmine import plugins
from instructmine.contracts import Selector
from instructmine.errors import UsageError
from instructmine.selectors._compose import Stratified, Within

NAMES = list(plugins.names("selectors"))
SOURCES = ["a", "b", "b", "c", "c", "c", "c", "d"] * 25


def build(name):
    return plugins.load("selectors", name, Selector)()


ALL = [pytest.param(build(name), id=name) for name in NAMES]
ALL += [pytest.param(Within(selector=build(name)), id=f"within-{name}") for name in NAMES]
ALL += [pytest.param(Stratified(selector=build(name)), id=f"stratified-{name}") for name in NAMES]
every_selector = pytest.mark.parametrize("selector", ALL)


def test_the_documented_selectors_are_found():
    assert set(NAMES) >= {
        "top",
        "random",
        "longest",
        "longest-in-quantile",
        "kcenter",
        "facility-location",
        "deita",
        "cluster-balanced",
        "target",
        "ifd",
        "middle",
    }


@every_selector
def test_ranks_every_candidate_once(selector):
    made = candidates(sources=SOURCES)
    ranking = selector.rank(made)
    assert sorted(ranking.order.tolist()) == list(range(len(made)))
    assert 0 < ranking.chosen <= len(made)


@every_selector
def test_is_deterministic_and_blind_to_row_order(selector):
    made = candidates(sources=SOURCES)
    expected = ranked_ids(made, selector.rank(made, seed=3))
    assert ranked_ids(made, selector.rank(made, seed=3)) == expected
    for shuffle in range(3):
        other = made.subset(np.random.default_rng(shuffle).permutation(len(made)))
        assert ranked_ids(other, selector.rank(other, seed=3)) == expected


@every_selector
@pytest.mark.parametrize("limit", [0, 1, 2, 17, 64, 199, 200, 999])
def test_a_limit_gives_a_prefix_of_the_full_ranking(selector, limit):
    made = candidates(sources=SOURCES)
    full = ranked_ids(made, selector.rank(made, seed=1), limit)
    assert ranked_ids(made, selector.rank(made, seed=1, limit=limit), limit) == full


@every_selector
def test_behind_what_it_chose_comes_the_best_quality(selector):
    made = candidates(sources=SOURCES)
    ranking = selector.rank(made, limit=40)
    if not isinstance(selector, Stratified):
        rest = ranking.order[ranking.chosen :]
        by_quality = made.by_quality()
        assert rest.tolist() == [row for row in by_quality.tolist() if row in set(rest.tolist())]


@every_selector
def test_what_looks_alike_in_all_but_id_comes_by_id(selector):
    inner = selector
    while hasattr(inner, "selector"):
        inner = inner.selector
    if type(inner).__name__ == "Random":
        pytest.skip("its order is made of ids")
    n = 40
    made = candidates(
        n, quality=np.zeros(n), lengths=np.full(n, 9.0), vectors=np.tile([1.0, 2, 3, 4], (n, 1))
    )
    made = type(made)(made.ids, made.quality, made.scores, made.embeddings, made.embeddings[:2])
    got = ranked_ids(made, selector.rank(made))
    if type(inner).__name__ == "LongestInQuantile":  # equal lengths are cut into quantiles by id
        n = len(got) // 2 if isinstance(selector, Within) else len(got)
        assert got[:10][0] == min(got[:n])
        return
    assert got == sorted(got)


@every_selector
@pytest.mark.parametrize("n", [1, 2, 3])
def test_tiny_pools(selector, n):
    made = candidates(n)
    assert len(selector.rank(made).order) == n


@every_selector
def test_an_empty_pool_has_an_empty_ranking(selector):
    made = candidates(3).subset(np.empty(0, dtype=np.int64))
    assert len(selector.rank(made, limit=5).order) == 0


@every_selector
def test_its_config_is_hashable_and_picklable(selector):
    assert pickle.loads(pickle.dumps(selector)) == selector
    assert hash(selector) == hash(pickle.loads(pickle.dumps(selector)))


@every_selector
def test_says_what_it_lacks(selector):
    made = candidates(20)
    bare = type(made)(made.ids, made.quality, made.scores)
    if not selector.needs:
        assert len(selector.rank(bare).order) == 20
        return
    with pytest.raises(UsageError, match="embedding|--target"):
        selector.rank(bare)
