import dataclasses
import json

import numpy as np
import pytest
from simulated import mixtures, observations, trials

from instructmine.errors import InstructmineError, UsageError
from instructmine.regression.analysis import STEPS, Effort, analyse
from instructmine.regression.checks import fewest_searchable, fewest_trials
from instructmine.regression.evidence import evidence
from instructmine.regression.search import Folds
from instructmine.regression.verdict import judge

QUICK = Effort(Folds(folds=10, repeats=1), permutations=99, bootstraps=20)


@pytest.fixture(scope="module")
def good():
    return analyse(trials(0, slopes=(-0.4, 0.3, 0.0), sources=3), QUICK)


def test_a_true_rule_is_found_and_usable(good):
    verdict = judge(good)
    assert good.columns == ("a", "b")
    assert verdict.usable
    assert verdict.source_only is False
    assert [c.name for c in good.rule.coefficients] == ["intercept", "a", "b"]


def test_the_evidence_is_plain_json_without_infinities(good):
    found = evidence(good, judge(good))
    assert json.loads(json.dumps(found, allow_nan=False)) == json.loads(json.dumps(found))
    assert found["trials"] == 60
    assert found["permutation"]["p"] == 0.01


def test_the_same_seed_gives_the_same_numbers(good):
    again = analyse(trials(0, slopes=(-0.4, 0.3, 0.0), sources=3), QUICK)
    assert evidence(again, judge(again)) == evidence(good, judge(good))
    other = analyse(
        trials(0, slopes=(-0.4, 0.3, 0.0), sources=3),
        dataclasses.replace(QUICK, folds=Folds(10, 1, seed=1)),
    )
    assert other.nested.cv_r2 != good.nested.cv_r2


def test_the_scale_of_an_indicator_changes_only_its_coefficient(good):
    data = trials(0, slopes=(-0.4, 0.3, 0.0), sources=3)
    scaled = dataclasses.replace(data, x=data.x * [1e4, 1.0, 1e-5] + [0, 1e3, 0])
    again = analyse(scaled, QUICK)
    assert again.columns == good.columns
    assert again.nested.cv_r2 == pytest.approx(good.nested.cv_r2, abs=1e-6)
    first, scaled_first = good.rule.coefficients[1].value, again.rule.coefficients[1].value
    assert scaled_first == pytest.approx(first / 1e4)


def test_noise_gives_no_usable_rule():
    verdict = judge(analyse(trials(1, slopes=(0.0, 0.0, 0.0)), QUICK))
    assert not verdict.usable
    assert "shuffled losses" in verdict.reasons[0]
    assert verdict.source_only is None


def test_a_rule_that_only_knows_the_source_is_called_that():
    verdict = judge(analyse(mixtures(1, between=3.0), QUICK))
    assert verdict.source_only
    assert any("only knows the source" in caution for caution in verdict.cautions)


def test_collinear_pairs_and_signs_that_turn_are_cautions():
    data = trials(2, n=80, slopes=(-1.0, 0.6, 0.0), correlation=0.97, noise=0.05)
    verdict = judge(analyse(data, QUICK))
    text = " ".join(verdict.cautions)
    assert "'a' and 'b' are collinear" in text
    assert "'b' alone lowers the loss, in the rule it does the opposite" in text


def test_one_odd_trial_is_named():
    data = trials(5, slopes=(-0.4, 0.3))
    y = data.y.copy()
    y[int(np.argmax(np.abs(data.x[:, 0])))] += 4
    verdict = judge(analyse(dataclasses.replace(data, y=y), QUICK))
    named = [caution for caution in verdict.cautions if "is an outlier" in caution]
    assert [int(caution.split()[1]) for caution in named] == [np.argmax(np.abs(data.x[:, 0]))]


def test_progress_counts_to_its_end():
    seen = []
    analyse(trials(3, slopes=(-0.4, 0.3)), QUICK, lambda done, of: seen.append((done, of)))
    assert seen == [(step, STEPS) for step in range(1, STEPS + 1)]


def refusal(x, y=None, **changes):
    n = len(x)
    y = np.random.default_rng(0).normal(size=n) if y is None else y
    with pytest.raises(InstructmineError) as caught:
        analyse(dataclasses.replace(observations(x, y), **changes), QUICK)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_columns_that_cannot_be_fitted_are_named():
    x = np.random.default_rng(1).normal(size=(40, 3))
    assert "'b' is constant (2 in every trial)" in refusal(
        np.column_stack([x[:, 0], x[:, 1] * 0 + 2])
    )
    holes = x.copy()
    holes[[7, 9], 1] = np.nan
    assert "'b' is missing or infinite in 2 of 40" in refusal(holes)
    assert "first: trial 7" in refusal(holes)
    assert "--indicators a,c" in refusal(holes)
    same = np.column_stack([x, x[:, 0] * -3 + 1])
    assert "'a' and 'd' are the same up to scale and offset" in refusal(same)
    total = np.column_stack([x, x.sum(axis=1)])
    assert "a, b, c, d depend on each other exactly" in refusal(total)
    lone = np.column_stack([x[:, 0], np.arange(40) == 3]).astype(float)
    assert "trial 3 alone decides a coefficient" in refusal(lone)
    assert "is 'b' computed from the loss?" in refusal(x, 2 * x[:, 1] + 1e-7 * x[:, 0])
    assert "log_loss is constant" in refusal(x, np.full(40, 0.7))


def test_too_few_trials_or_too_many_columns_are_refused():
    rng = np.random.default_rng(2)
    assert "5 usable trials are too few for 5 coefficients" in refusal(rng.normal(size=(5, 4)))
    assert "too few for nested cross-validation" in refusal(rng.normal(size=(10, 4)))
    wide = dataclasses.replace(
        observations(rng.normal(size=(90, 3)), rng.normal(size=90)),
        x=rng.normal(size=(90, 15)),
        names=tuple("abcdefghijklmno"),
    )
    with pytest.raises(UsageError, match="32,767 subsets"):
        analyse(wide, QUICK)
    with pytest.raises(UsageError, match="at least 2 folds"):
        analyse(trials(0), dataclasses.replace(QUICK, folds=Folds(folds=1)))


@pytest.mark.parametrize("p", [1, 4])
def test_the_fewest_trials_are_enough(p):
    n = fewest_trials(p, QUICK.folds)
    data = trials(4, n=n, slopes=(-0.5, *[0.0] * (p - 1)))
    assert analyse(data, QUICK).nested.rmse > 0
    assert fewest_searchable(p, QUICK.folds) < n
