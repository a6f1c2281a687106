"""Greedy selectors past their exact size: near the exact choice, and the same laws hold."""

import numpy as np
import pytest
from candidate_tables import candidates, ranked_ids

from instructmine.errors import UsageError
from instructmine.selectors.facility_location import FacilityLocation, among_neighbours
from instructmine.selectors.kcenter import Kcenter

APPROXIMATE = [
    pytest.param(FacilityLocation(exact_rows=100, neighbours=32), id="facility-location"),
    pytest.param(Kcenter(exact_rows=100), id="kcenter"),
]
every = pytest.mark.parametrize("selector", APPROXIMATE)


def coverage(vectors, rows):
    return np.maximum((vectors @ vectors[rows].T).max(axis=1), 0).sum()


def radius(vectors, rows):
    return 1 - (vectors @ vectors[rows].T).max(axis=1).min()


@every
def test_row_order_and_limit_keep_their_laws(selector):
    made = candidates(400)
    full = selector.rank(made)
    expected = ranked_ids(made, full)
    other = made.subset(np.random.default_rng(1).permutation(400))
    assert ranked_ids(other, selector.rank(other)) == expected
    for limit in (0, 1, 7, 60):
        assert ranked_ids(made, selector.rank(made, limit=limit), limit) == expected[:limit]
    assert sorted(full.order.tolist()) == list(range(400))


@every
def test_what_was_given_up_is_said_and_only_then(selector):
    (note,) = selector.rank(candidates(400), limit=20).notes
    assert "400 candidates" in note
    assert selector.rank(candidates(100), limit=20).notes == ()


def test_the_exact_choice_up_to_the_limit_stands():
    made = candidates(100)
    for few, all_rows in ((Kcenter(exact_rows=100), Kcenter()),
                          (FacilityLocation(exact_rows=100), FacilityLocation())):  # fmt: skip
        assert few.rank(made).order.tolist() == all_rows.rank(made).order.tolist()


def test_neighbours_cover_nearly_as_much_as_all_pairs():
    made = candidates(1200, d=24)
    exact = FacilityLocation().rank(made, limit=60).order[:60]
    near = FacilityLocation(exact_rows=100).rank(made, limit=60).order[:60]
    drawn = np.random.default_rng(0).choice(1200, 60, replace=False)
    best = coverage(made.embeddings, exact)
    assert coverage(made.embeddings, near) > 0.97 * best
    assert coverage(made.embeddings, drawn) < coverage(made.embeddings, near)


def test_with_all_rows_as_neighbours_the_choice_is_the_exact_one():
    made = candidates(150)
    vectors = made.embeddings[made.by_quality()]
    chosen, search = among_neighbours(vectors, 40, 149, 1.0)
    assert search.recall == 1
    expected = FacilityLocation().rank(made, limit=40).order[:40]
    assert made.by_quality()[chosen].tolist() == expected.tolist()


def test_copies_add_nothing():
    vectors = np.repeat(np.eye(5), 8, axis=0)
    made = candidates(40, vectors=vectors)
    ranking = FacilityLocation(exact_rows=10, neighbours=7).rank(made)
    assert ranking.chosen == 5
    assert len({row // 8 for row in ranking.order[:5].tolist()}) == 5


def test_a_walk_over_a_draw_begins_with_the_best_and_covers_the_others():
    made = candidates(1000)
    ranking = Kcenter(exact_rows=400).rank(made, limit=40)
    assert ranking.order[0] == made.by_quality()[0]
    exact = Kcenter().rank(made, limit=40).order[:40]
    walked = radius(made.embeddings, ranking.order[:40])
    assert walked < 1.5 * radius(made.embeddings, exact)
    share = float(ranking.notes[0].split("; ")[1].split("%")[0]) / 100
    assert 0.9 <= share <= 1


def test_more_places_than_were_drawn_are_filled_by_quality():
    made = candidates(200)
    ranking = Kcenter(exact_rows=50).rank(made, limit=120)
    assert ranking.chosen <= 50
    rest = set(ranking.order[ranking.chosen :].tolist())
    assert ranking.order[ranking.chosen :].tolist() == [
        row for row in made.by_quality().tolist() if row in rest
    ]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Kcenter(exact_rows=0), "kcenter.exact_rows"),
        (lambda: FacilityLocation(neighbours=0), "facility-location.neighbours"),
        (lambda: FacilityLocation(recall=1.5), "facility-location.recall"),
    ],
)
def test_options_that_mean_nothing_are_refused(build, message):
    with pytest.raises(UsageError, match=message):
        build()
