import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from instructmine.intervals import (
    Variance,
    bootstrap_difference,
    holm,
    mean_interval,
    pooled_variance,
    seed_variance,
    seeded_difference,
    seeded_mean,
)


def simulated(rng, *, seeds=3, prompts=80, gain=0.0, seed_sd=0.02, prompt_sd=0.5, noise_sd=0.1):
    """Losses of two ways of training on the same prompts; `gain` lowers the first."""
    difficulty = rng.normal(2, prompt_sd, prompts)
    taste = rng.normal(0, 0.05, (2, prompts))  # how each way suits each prompt

    def arm(k, shift):
        seed_effect = rng.normal(0, seed_sd, (seeds, 1))
        return (
            difficulty + taste[k] + seed_effect + rng.normal(0, noise_sd, (seeds, prompts)) + shift
        )

    return arm(0, -gain), arm(1, 0.0)


def test_bootstrap_difference_is_close_to_the_normal_interval():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 200), rng.normal(1.1, 1, 200)
    found = bootstrap_difference(a, b)
    half = 1.96 * (a - b).std(ddof=1) / np.sqrt(200)
    assert found.value == pytest.approx((a - b).mean())
    assert found.low == pytest.approx(found.value - half, abs=0.02)
    assert found.high == pytest.approx(found.value + half, abs=0.02)
    assert found.p == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=0.03)


def test_bootstrap_is_repeatable_and_a_model_equals_itself():
    a = np.random.default_rng(1).normal(2, 1, 50)
    assert bootstrap_difference(a, a + 0.1) == bootstrap_difference(a, a + 0.1)
    same = bootstrap_difference(a, a)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_two_ways_that_are_alike_are_told_apart_in_no_more_than_five_of_a_hundred():
    rng = np.random.default_rng(2)
    told = [seeded_difference(*simulated(rng)).p < 0.05 for _ in range(1000)]
    assert np.mean(told) <= 0.05


def test_a_planted_gain_is_found_and_covered():
    rng = np.random.default_rng(3)
    found = [seeded_difference(*simulated(rng, gain=0.1)) for _ in range(300)]
    assert np.mean([one.p < 0.05 and one.value < 0 for one in found]) > 0.8
    assert np.mean([one.low <= -0.1 <= one.high for one in found]) >= 0.94


def test_prompts_alone_cannot_stand_for_seeds():
    """With noise between seeds a bootstrap over prompts of one training is too sure."""
    rng = np.random.default_rng(4)
    sure = []
    for _ in range(200):
        a, b = simulated(rng, seeds=1, seed_sd=0.05)
        sure.append(bootstrap_difference(a[0], b[0], resamples=1000).p < 0.05)
    assert np.mean(sure) > 0.2


def test_one_seed_borrows_the_others_variance():
    rng = np.random.default_rng(5)
    a, b = simulated(rng)
    assert seeded_difference(a[:1], b).p > 0
    with pytest.raises(ValueError, match="one seed each"):
        seeded_difference(a[:1], b[:1])


def test_no_variance_at_all():
    ones = np.ones((2, 3))
    assert seeded_difference(ones, ones).p == 1
    assert seeded_difference(ones, 2 * ones).p == 0


def test_holm_is_statsmodels_holm():
    p = [0.01, 0.04, 0.03, 0.005, 0.9]
    assert holm(p) == pytest.approx(list(multipletests(p, method="holm")[1]))
    assert holm([]) == []


def test_mean_interval_is_students():
    values = [1.0, 2.0, 4.0]
    found = mean_interval(values)
    want = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(want)
    assert found.value == pytest.approx(np.mean(values))
    assert np.isnan(mean_interval([1.0]).low)


def test_a_mean_over_seeds_and_prompts_is_covered():
    rng = np.random.default_rng(6)
    found = [seeded_mean(simulated(rng, prompt_sd=0.1)[0]) for _ in range(300)]
    assert np.mean([one.low <= 2.0 <= one.high for one in found]) >= 0.94


def test_noise_pooled_over_many_ways_sharpens_the_verdict():
    rng = np.random.default_rng(7)
    apart, pooled = [], []
    for _ in range(200):
        arms = [simulated(rng, gain=0.05) for _ in range(8)]
        noise = pooled_variance(seed_variance(first) for first, _ in arms)
        first, second = arms[0]
        apart.append(seeded_difference(first, second).p < 0.05)
        pooled.append(seeded_difference(first, second, noise).p < 0.05)
    assert np.mean(pooled) > np.mean(apart)


def test_pooling_is_the_weighted_mean():
    both = pooled_variance([Variance(1.0, 2), None, Variance(4.0, 1)])
    assert both == Variance(2.0, 3)
    assert pooled_variance([None]) is None
