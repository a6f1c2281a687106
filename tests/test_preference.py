"""Winning score, length control, agreement: laws, and an independent fit as the oracle."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructmine import preference
from instructmine.verdicts import PairVerdict, Question, Verdict
from judge_server import question

OUTCOMES = st.sampled_from(["first", "second", "tie"])
PAIRS = st.builds(lambda a, b: PairVerdict(Verdict(a), Verdict(b)), OUTCOMES, OUTCOMES)


def swapped(pair):
    """The same verdicts, told of the opponent: what stood first for one stood second."""
    return PairVerdict(pair.backward, pair.forward)


def test_both_orders_decide():
    def result(forward, backward):
        return PairVerdict(Verdict(forward), Verdict(backward)).result

    assert result("first", "second") == "win"
    assert result("first", "tie") == "win" and result("tie", "second") == "win"
    assert result("second", "first") == "loss" and result("tie", "first") == "loss"
    assert result("first", "first") == result("second", "second") == result("tie", "tie") == "tie"
    assert PairVerdict(Verdict("first")).result == "win"
    broken = Verdict(problem="malformed")
    assert PairVerdict(broken, Verdict("first")).result is None
    assert PairVerdict(Verdict("first"), broken).result is None


@settings(max_examples=40, deadline=None)
@given(st.lists(PAIRS, min_size=1, max_size=30), st.integers(0, 100))
def test_swapping_the_models_mirrors_everything(pairs, seed):
    lengths, others = np.random.default_rng(seed).integers(1, 900, (2, len(pairs)))
    one = preference.preference(pairs, lengths, others)
    other = preference.preference([swapped(p) for p in pairs], others, lengths)
    assert (one.wins, one.ties, one.losses) == (other.losses, other.ties, other.wins)
    assert one.wins + one.ties + one.losses == len(pairs)
    assert one.winning_score.value == pytest.approx(2 - other.winning_score.value)
    assert one.win_rate.value == pytest.approx(1 - other.win_rate.value)
    assert (one.agreement, one.first_place) == (other.agreement, other.first_place)
    if one.length_controlled is not None:
        assert one.length_controlled.value == pytest.approx(
            1 - other.length_controlled.value, abs=1e-6
        )
    for found in (one, other):
        score = found.winning_score
        assert 0 <= score.low <= score.value <= score.high <= 2
        assert score.value == pytest.approx(2 * found.win_rate.value)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_the_winning_score_lies_between_0_and_2(wins, ties, losses):
    found = preference.winning_score(wins, ties, losses)
    assert math.isnan(found) if wins + ties + losses == 0 else 0 <= found <= 2


def test_a_judge_that_always_takes_the_first_place_says_nothing():
    pairs = [PairVerdict(Verdict("first"), Verdict("first"))] * 20
    found = preference.preference(pairs, [10] * 20, [10] * 20)
    assert (found.wins, found.ties, found.losses) == (0, 20, 0)
    assert (found.agreement, found.first_place) == (0.0, 1.0)


def test_what_has_no_result_counts_for_nobody():
    pairs = [
        PairVerdict(Verdict("first"), Verdict("second")), None, None,
        PairVerdict(Verdict("first"), Verdict(problem="refused")),
    ]  # fmt: skip
    found = preference.preference(pairs, [1] * 4, [1] * 4, reasons={2: "no answer"})
    assert (found.wins, found.ties, found.losses) == (1, 0, 0)
    assert found.problems == {"not asked": 1, "no answer": 1, "refused": 1}


def test_length_control_is_a_logistic_fit_read_at_equal_length():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    gaps = rng.normal(120, 200, 400)
    truth = 1 / (1 + np.exp(-(-0.4 + 2.0 * np.tanh(gaps / gaps.std(ddof=1)))))
    won = rng.choice([0.0, 0.5, 1.0], size=400, p=[0.4, 0.2, 0.4])
    won = np.where(rng.random(400) < 0.8, (rng.random(400) < truth).astype(float), won)
    found = preference.length_controlled(won, gaps)
    features = np.tanh(gaps / gaps.std(ddof=1))[:, None]
    design = np.column_stack([np.ones(400), features])
    oracle = LogisticRegression(C=100, fit_intercept=False, tol=1e-10, max_iter=10_000)
    oracle.fit(
        np.vstack([design, design]), np.r_[np.ones(400), np.zeros(400)],
        sample_weight=np.r_[won, 1 - won],
    )  # fmt: skip
    expected = 1 / (1 + np.exp(-oracle.coef_[0][0]))
    assert found.value == pytest.approx(expected, abs=1e-4)
    assert found.low < found.value < found.high
    assert won.mean() > found.value + 0.05, "longer answers had been favoured"


def test_a_judge_that_only_counts_words_is_seen_through():
    rng = np.random.default_rng(1)
    gaps = rng.normal(200, 150, 300)
    found = preference.length_controlled((gaps > 0).astype(float), gaps)
    assert np.mean(gaps > 0) > 0.85
    assert found.value < 0.65


def test_length_control_is_silent_where_it_cannot_tell():
    assert preference.length_controlled(np.ones(9), np.arange(9.0)) is None
    assert preference.length_controlled(np.ones(20), np.full(20, 5.0)) is None
    equal = preference.length_controlled(np.array([1.0, 0.0] * 10), np.zeros(20))
    assert equal.value == pytest.approx(0.5)
    allwon = preference.length_controlled(np.ones(30), np.random.default_rng(0).normal(size=30))
    assert 0.95 < allwon.value < 1


def test_turns_of_a_prompt_are_drawn_together():
    pairs = [PairVerdict(Verdict(o), Verdict(b)) for o, b in
             [("first", "second"), ("second", "first")] * 20 for _ in range(4)]  # fmt: skip
    apart = preference.preference(pairs, [1] * 160, [1] * 160)
    together = preference.preference(
        pairs, [1] * 160, [1] * 160, prompts=np.repeat(np.arange(40), 4)
    )
    width = [x.win_rate.high - x.win_rate.low for x in (apart, together)]
    assert 1.6 < width[1] / width[0] < 2.4


def test_grades_are_averaged_over_those_that_there_are():
    verdicts = [Verdict(grade=8.0), Verdict(grade=4.0), Verdict(problem="malformed"), None]
    found = preference.grades(verdicts, [0, 0, 1, 1])
    assert (found.count, found.mean.value) == (2, 6.0)
    assert found.problems == {"malformed": 1, "not asked": 1}
    assert preference.grades([], []).to_json()["mean"]["value"] is None


@given(st.text(), st.text(), st.text())
def test_a_question_knows_its_order(a, b, reference):
    try:
        one = question(1, a, b, reference)
        key = one.key
    except UnicodeEncodeError:  # lone surrogates, which no file holds
        return
    assert one.swapped().swapped() == one
    assert (one.swapped().key == key) == (a == b)
    assert Question(one.first).key != key
