import numpy as np
import pytest

from instructmine.comparison import Arm, Curve, Multiplier, contrasts, in_one_sentence

PROMPTS = 60


def losses(rng, gain=0.0, seeds=3, seed_sd=0.02):
    """A way of training with a gain over random, on prompts that differ in difficulty."""
    difficulty = np.random.default_rng(99).normal(2, 0.5, PROMPTS)
    return (
        difficulty
        - gain
        + rng.normal(0, seed_sd, (seeds, 1))
        + rng.normal(0, 0.1, (seeds, PROMPTS))
    )


def arms_of(rng, gains, budget=100, sets=("e",)):
    """Random, and one arm per gain."""
    made = {"random": 0.0, **gains}
    return [
        Arm(name, budget, {one: losses(rng, gain) for one in sets}, draws=name == "random")
        for name, gain in made.items()
    ]


def test_strategies_that_are_random_are_called_no_better_in_95_of_100_runs():
    rng = np.random.default_rng(0)
    quiet = 0
    for _ in range(100):
        found = contrasts(arms_of(rng, {"rule": 0.0, "longest": 0.0, "ifd": 0.0}))
        quiet += all(one.verdict in ("reference", "no better than random") for one in found)
    assert quiet >= 95


def test_a_planted_gain_is_found_and_a_planted_harm_too():
    rng = np.random.default_rng(1)
    better, worse = 0, 0
    for _ in range(50):
        arms = arms_of(rng, {"rule": 0.15, "longest": -0.15, "other": 0.0})
        found = {one.strategy: one.verdict for one in contrasts(arms)}
        better += found["rule"] == "better than random"
        worse += found["longest"] == "worse than random"
    assert better >= 40 and worse >= 40


def test_more_comparisons_ask_for_more():
    rng = np.random.default_rng(2)
    arms = arms_of(rng, {"rule": 0.05, **{f"other{n}": 0.0 for n in range(20)}})
    (found,) = [one for one in contrasts(arms) if one.strategy == "rule"]
    assert found.difference is not None and found.p is not None
    assert found.p > 2 * found.difference.p
    (alone,) = [one for one in contrasts(arms[:2]) if one.strategy == "rule"]
    assert alone.difference is not None and alone.p == alone.difference.p


def test_base_and_full_stand_in_the_table_of_every_budget():
    rng = np.random.default_rng(3)
    arms = [
        *arms_of(rng, {}, budget=100),
        *arms_of(rng, {}, budget=400),
        Arm("base", None, {"e": losses(rng, -1.0, seeds=1)}),
        Arm("full", None, {"e": losses(rng, 0.5)}),
    ]
    found = contrasts(arms, whole=1600)
    assert [(one.strategy, one.budget) for one in found] == [
        ("random", 100), ("base", 100), ("full", 100),
        ("random", 400), ("base", 400), ("full", 400),
    ]  # fmt: skip
    assert found[1].verdict == "worse than random" and found[1].multiplier is None


def test_the_multiplier_is_read_off_randoms_curve():
    curve = Curve((100.0, 400.0, 1600.0), (3.0, 2.0, 1.0))
    assert curve.multiplier(2.0, 100) == Multiplier(4.0)
    assert curve.multiplier(2.5, 100).times == pytest.approx(2.0)
    assert curve.multiplier(0.5, 100) == Multiplier(16.0, ">")
    assert curve.multiplier(3.5, 100) == Multiplier(1.0, "<")
    assert str(Multiplier(16.0, ">")) == "> 16×" and str(Multiplier(3.14)) == "3.1×"


def test_a_curve_that_rises_and_falls_gives_the_first_crossing():
    curve = Curve((1.0, 2.0, 4.0, 8.0), (3.0, 2.0, 2.5, 1.0))
    assert curve.multiplier(2.0, 1.0).times == pytest.approx(2.0)
    assert curve.multiplier(1.0, 1.0).times == pytest.approx(8.0)


def test_a_budget_of_random_alone_is_only_a_point_of_its_curve():
    rng = np.random.default_rng(8)
    larger = Arm("random", 400, {"e": losses(rng, 0.6)}, draws=True)
    arms = [*arms_of(rng, {"rule": 0.5}, budget=100), larger]
    found = contrasts(arms)
    assert {one.budget for one in found} == {100}
    (rule,) = [one for one in found if one.strategy == "rule"]
    assert rule.multiplier is not None and rule.multiplier.bound == ""
    assert 2 < rule.multiplier.times < 4


def test_the_full_pool_ends_the_curve():
    rng = np.random.default_rng(4)
    arms = [
        *arms_of(rng, {"rule": 0.5}, budget=100),
        Arm("full", None, {"e": losses(rng, 1.0)}),
    ]
    (rule,) = [one for one in contrasts(arms, whole=1600) if one.strategy == "rule"]
    assert rule.multiplier is not None and rule.multiplier.times == pytest.approx(4, rel=0.3)
    assert rule.multiplier_low.times <= rule.multiplier.times <= rule.multiplier_high.times


def test_the_sentence_says_it():
    rng = np.random.default_rng(5)
    found = contrasts(arms_of(rng, {"rule": 0.5, "ifd": 0.0}, sets=("a", "b")))
    assert in_one_sentence(found, "rule") == "rule: at 100 better than random on 2 of 2 eval sets"
    assert (
        in_one_sentence(found, "ifd") == "ifd: at 100 no better than random on any of 2 eval sets"
    )
