"""The loop of a search and its stopping rules, on known curves; and replays."""

import math

import numpy as np
import pytest

from instructmine.contracts import SizeRange
from instructmine.curves import Point, SizeCurve
from instructmine.replay import interpolated, replay
from instructmine.searchers.blend import Blend
from instructmine.searchers.grid import Grid
from instructmine.searchers.halving import Halving
from instructmine.searchers.random import RandomSizes
from instructmine.searching import Limits, Outcome, explore

WIDE = SizeRange(512, 10_000, 3)
NONE = Limits(patience=None)
EVERY = [Blend(), Grid(), Halving(), RandomSizes()]


def measure(best=2500, seed_sd=0.002, lost=(), calls=None):
    def one(size, seed):
        if size in lost:
            return Outcome(None, size, error="diverged")
        rng = np.random.default_rng([size, seed])
        prompts = np.linspace(1, 3, 20) + rng.normal(0, seed_sd) + rng.normal(0, 0.01, 20)
        return Outcome(prompts + 0.05 * math.log(size / best) ** 2, size, size / 100, 200 * size)

    def many(jobs):
        if calls is not None:
            calls.append(list(jobs))
        return [one(*job) for job in jobs]

    return many


def facts(found):
    return found.steps, found.stopped, {s: len(o) for s, o in found.outcomes.items()}


@pytest.mark.parametrize("searcher", EVERY, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("limits", [Limits(), Limits(trials=20), Limits(seconds=300)], ids=str)
def test_asking_ahead_has_no_influence(searcher, limits):
    alone = explore(searcher, WIDE, measure(), seed=0, limits=limits)
    calls = []
    ahead = explore(searcher, WIDE, measure(calls=calls), seed=0, limits=limits, ahead=8)
    assert facts(ahead) == facts(alone)
    if not isinstance(searcher, Blend):
        assert max(map(len, calls)) > 3


def test_a_plan_that_no_budget_can_cut_short_is_measured_at_once():
    calls = []
    whole = explore(Grid(), WIDE, measure(calls=calls), seed=0, limits=Limits())
    assert list(map(len, calls)) == [24]
    calls.clear()
    alone = explore(Grid(), WIDE, measure(calls=calls), seed=0, limits=Limits(seconds=1e9))
    assert list(map(len, calls)) == [3] * 8
    assert facts(whole) == facts(alone)


def test_every_size_gets_its_seeds_and_halving_gives_fewer():
    found = explore(Grid(number=5), WIDE, measure(), seed=0, limits=NONE)
    assert {size: len(one) for size, one in found.outcomes.items()} == dict.fromkeys(
        [512, 1076, 2263, 4757, 10_000], 3
    )
    assert found.stopped == "nothing left to propose" and found.trials == 15
    rungs = explore(Halving(number=8), WIDE, measure(), seed=0, limits=NONE)
    assert sorted(map(len, rungs.outcomes.values())) == [1] * 4 + [2] * 2 + [3] * 2
    assert 1500 < rungs.curve().best.size < 4000


def test_a_budget_of_trainings_is_kept_and_others_are_finished():
    for searcher in EVERY:
        assert explore(searcher, WIDE, measure(), seed=0, limits=Limits(trials=10)).trials <= 10
    found = explore(Grid(), WIDE, measure(), seed=0, limits=Limits(trials=10))
    assert found.trials == 9 and found.stopped == "--max-trials 10"
    found = explore(Grid(), WIDE, measure(), seed=0, limits=Limits(seconds=60))
    assert found.spent("seconds") >= 60 > sum(3 * s.size / 100 for s in found.steps[:-1])
    assert found.stopped == "--max-minutes 1"
    found = explore(Grid(), WIDE, measure(), seed=0, limits=Limits(tokens=1))
    assert found.trials == 3 and found.stopped == "--max-tokens 1"


def test_blend_stops_where_more_search_cannot_pay():
    found = explore(Blend(), WIDE, measure(), seed=0, limits=Limits())
    assert "sizes in a row brought nothing beyond noise" in found.stopped
    assert 5 <= len(found.outcomes) <= 15
    best = found.curve().best.size
    assert any(best < size <= 1.5 * best for size in found.outcomes)
    assert any(best / 1.5 <= size < best for size in found.outcomes)
    longer = explore(Blend(), WIDE, measure(), seed=0, limits=Limits(patience=None, trials=60))
    assert longer.steps[: len(found.steps)] == found.steps and longer.trials > found.trials


def test_noise_alone_is_no_improvement():
    flat = explore(Blend(), WIDE, measure(best=1, seed_sd=0.0), seed=0, limits=Limits())
    assert flat.steps[-1].best == 512

    def noise(jobs):
        return [Outcome(np.random.default_rng([*job]).normal(2, 0.01, 20), job[0]) for job in jobs]

    found = explore(Blend(), WIDE, noise, seed=0, limits=Limits())
    assert len(found.outcomes) <= 20


def test_sizes_that_diverge_are_kept_with_their_reason_and_never_best():
    sizes = [512, 1076, 2263, 4757, 10_000]
    found = explore(Grid(number=5), WIDE, measure(lost={2263}), seed=0, limits=NONE)
    assert found.outcomes[2263][0].error == "diverged"
    assert 2263 not in found.curve().sizes
    none = explore(Grid(number=5), WIDE, measure(lost=sizes), seed=0, limits=NONE)
    assert none.curve() is None and none.trials == 15
    for searcher in EVERY:
        assert explore(searcher, WIDE, measure(lost={512, 10_000}), seed=0, limits=Limits()).curve()


def test_a_searcher_that_repeats_itself_is_stopped():
    class Stubborn(Grid):
        def open(self, sizes, *, seed):
            class Always:
                def ask(self):
                    return 700

                def tell(self, size, loss, cost):
                    pass

            return Always()

    found = explore(Stubborn(), WIDE, measure(), seed=0, limits=NONE)
    assert found.trials == 3 and "were known" in found.stopped


def known():
    sizes = [512, 1076, 2263, 4757, 10_000]
    losses = measure()
    return SizeCurve(
        [Point(s, np.stack([losses([(s, k)])[0].losses for k in range(3)])) for s in sizes]
    )


def test_interpolation_is_exact_at_the_points_and_straight_between():
    curve, (low, high) = known(), known().points[1:3]
    at = interpolated(curve)
    for point in curve.points:
        for k in range(3):
            assert np.allclose(at([(point.size, k)])[0].losses, point.losses[k])
    middle = round(math.sqrt(low.size * high.size))
    between = at([(middle, 1)])[0].losses
    assert np.allclose(between, (low.losses[1] + high.losses[1]) / 2, atol=1e-3)
    assert np.allclose(at([(1, 0)])[0].losses, curve.points[0].losses[0])  # flat beyond the ends
    assert interpolated(SizeCurve(curve.points[:1]))([(99, 0)])[0].rows == 99


@pytest.mark.parametrize("searcher", EVERY, ids=lambda one: type(one).__name__)
def test_a_replay_counts_what_it_took(searcher):
    found = replay(searcher, WIDE, known(), seed=0, limits=Limits())
    assert found.excess < 0.01
    assert 0 < found.trials_to <= found.trials and 0 < found.rows_to <= found.rows
    assert found == replay(searcher, WIDE, known(), seed=0, limits=Limits())
