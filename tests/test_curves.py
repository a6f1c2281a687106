"""The size curve: choice, intervals, and the error rate and power of the tests of its shape."""

import numpy as np
import pytest

from instructmine.curves import Point, SizeCurve

SIZES = [512, 785, 1203, 1843, 2825, 4329, 6634, 10_000]


def curve(rng, losses, *, seeds=3, prompts=80, seed_sd=0.004, prompt_sd=0.6, taste_sd=0.03):
    """A curve with known mean losses: prompts of their own difficulty, noise between seeds."""
    difficulty = rng.normal(0, prompt_sd, prompts)
    difficulty -= difficulty.mean()  # so that `losses` are those of these prompts
    points = []
    for size, loss in zip(SIZES, losses, strict=False):
        taste = rng.normal(0, taste_sd, prompts)
        spread = seed_sd if np.isscalar(seed_sd) else seed_sd[len(points)]
        noise = rng.normal(0, spread, (seeds, 1)) + rng.normal(0, taste_sd, (seeds, prompts))
        points.append(Point(size, loss + difficulty + taste + noise))
    return SizeCurve(points)


FLAT = np.full(8, 2.0)
FALLING = 2 + 0.1 * np.linspace(1, 0, 8)
LEVEL = 2 + np.maximum(0, 0.06 - 0.03 * np.arange(8))
BUMP = np.array([2.0, 1.98, 2.0, 2.06, 2.06, 2.02, 1.97, 1.95])
VALLEY = np.array([2.06, 2.02, 1.98, 1.96, 1.97, 2.0, 2.03, 2.07])


def rates(losses, runs=100, **options):
    """How often a bump, and a minimum inside, are found."""
    rng = np.random.default_rng(0)
    shapes = [curve(rng, losses, **options).shape() for _ in range(runs)]
    return np.mean([[bool(one.bumps), bool(one.minimum)] for one in shapes], axis=0)


@pytest.mark.parametrize("losses", [FLAT, FALLING, LEVEL, FALLING[::-1]],
                         ids=["flat", "falling", "levels off", "rising"])  # fmt: skip
@pytest.mark.parametrize(
    "options", [{}, {"seeds": 2}, {"prompts": 15}, {"seed_sd": np.linspace(0.012, 0.002, 8)}],
    ids=["usual", "two seeds", "few prompts", "small sizes scatter more"],
)  # fmt: skip
def test_curves_that_only_fall_or_rise_seldom_turn(losses, options):
    assert max(rates(losses, runs=200, **options)) <= 0.05


def test_a_planted_bump_and_a_planted_valley_are_found():
    assert rates(BUMP)[0] >= 0.9 and rates(VALLEY)[1] >= 0.9
    found = curve(np.random.default_rng(1), BUMP).shape()
    assert {one.size for one in found.bumps} <= {1843, 2825, 4329}
    assert "rises and falls again" in found.explain()
    valley = curve(np.random.default_rng(1), VALLEY).shape()
    assert valley.minimum.size in (1203, 1843, 2825) and "inside the range" in valley.explain()


def test_a_slope_is_named():
    rng = np.random.default_rng(2)
    assert "still falls at the largest" in curve(rng, FALLING).shape().explain()
    assert "rises with the size" in curve(rng, FALLING[::-1]).shape().explain()
    assert "more than chance" in curve(rng, FLAT, seed_sd=0.02).shape().explain()


def test_the_smallest_size_within_one_standard_error_is_taken():
    rng = np.random.default_rng(3)
    sharp = curve(rng, [2.5, 2.2, 2.0, 1.999, 2.1, 2.2], seed_sd=0.01)
    assert sharp.chosen.size == 1203
    gap = sharp.chosen.loss - sharp.best.loss
    assert gap <= sharp.standard_error(sharp.chosen, sharp.best)
    steep = curve(rng, FALLING - np.arange(8) / 10)
    assert steep.chosen.size == steep.best.size == 10_000


def test_standard_errors_are_those_of_many_repetitions():
    rng = np.random.default_rng(4)
    gaps, errors = [], []
    for _ in range(400):
        one = curve(rng, [2.0, 2.0], seed_sd=0.02)
        gaps.append(one.points[0].loss - one.points[1].loss)
        errors.append(one.standard_error(*one.points))
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(gaps), rel=0.1)


def test_intervals_of_differences_hold_the_true_one():
    rng = np.random.default_rng(8)
    held = []
    for _ in range(400):
        one = curve(rng, [2.1, 2.0], seed_sd=0.02)
        gap = one.difference(*one.points)
        held.append(gap.low <= 0.1 <= gap.high)
    assert np.mean(held) == pytest.approx(0.95, abs=0.03)
    best = one.best
    assert one.difference(best, best).low == one.difference(best, best).high == 0


def test_a_lucky_single_training_is_not_taken():
    points = list(curve(np.random.default_rng(5), FLAT).points)
    points[0] = Point(512, points[0].losses[:1] - 1)
    found = SizeCurve(points)
    assert found.best.size > 512 and found.chosen.size > 512
    assert 512 not in found.winners()


def test_the_interval_of_the_best_size_holds_it():
    rng = np.random.default_rng(6)
    hits = []
    for _ in range(100):
        low, high = curve(rng, VALLEY, seed_sd=0.01).size_interval(resamples=500)
        hits.append(low <= 1843 <= high)
    assert np.mean(hits) >= 0.94
    sharp = curve(rng, [2.5, 2.0, 2.5]).size_interval()
    assert sharp == (785, 785)
    shares = curve(rng, FLAT).winners()
    assert sum(shares.values()) == pytest.approx(1) and max(shares.values()) < 0.9


def test_one_seed_one_prompt_one_size():
    rng = np.random.default_rng(7)
    single = curve(rng, FALLING, seeds=1)
    assert single.noise is None and single.chosen and single.size_interval()
    one_prompt = curve(rng, FALLING, seeds=2, prompts=1)
    assert one_prompt.chosen and one_prompt.shape()
    alone = curve(rng, [2.0], seeds=1, prompts=1)
    assert alone.chosen.size == 512 and "no curve" in alone.shape().explain()
    assert alone.size_interval() == (512, 512)
