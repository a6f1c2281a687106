import numpy as np
import pytest
from simulated import trials

from instructmine.regression import models
from instructmine.regression.search import Folds, search
from instructmine.regression.stability import bootstrap, permutation_test
from instructmine.regression.subsets import Subsets
from instructmine.regression.validation import (
    LEARNING_DRAWS,
    chosen_predictions,
    held_out_r2,
    learning_curve,
    nested,
    outer,
    predict,
)
from instructmine.regression.verdict import PERMUTATION_LIMIT

QUICK = Folds(folds=5, repeats=1)


def test_nested_validation_never_shows_the_search_the_tested_trials():
    data = trials(0, n=50)
    tests = np.zeros((1, 50), dtype=bool)
    tests[0, :10] = True
    ((guess, mean),) = chosen_predictions(data.x, data.y, ~tests, tests, QUICK)
    changed = data.y + np.where(tests[0], 100.0, 0.0)
    ((again, mean_again),) = chosen_predictions(data.x, changed, ~tests, tests, QUICK)
    np.testing.assert_array_equal(guess, again)
    np.testing.assert_array_equal(mean, mean_again)


def test_nested_validation_is_honest_where_the_score_of_the_winner_is_not():
    """On noise the winner's CV-R2 is above 0, nested CV-R2 and the truth are below."""
    nesteds, winners = [], []
    for seed in range(25):
        data = trials(seed, n=40, slopes=(0.0,) * 5)
        nesteds.append(nested(data.x, data.y, QUICK).cv_r2)
        one = next(search(data.x, data.y, np.ones((1, 40)), Subsets.of(5), QUICK))
        winners.append(one.cv_r2[one.best])
    assert np.mean(winners) > 0 > np.mean(nesteds)


def test_nested_validation_estimates_what_new_trials_show():
    estimates, truths = [], []
    for seed in range(30):
        data, new = trials(seed, n=60), trials(1000 + seed, n=2000)
        estimates.append(nested(data.x, data.y, QUICK).cv_r2)
        both = np.concatenate([data.x, new.x]), np.concatenate([data.y, new.y])
        train = np.arange(2060) < 60
        guesses = chosen_predictions(*both, train[None], ~train[None], QUICK)
        truths.append(held_out_r2(both[1], ~train[None], guesses))
    assert np.mean(estimates) == pytest.approx(np.mean(truths), abs=0.05)


def test_shuffled_losses_are_rejected_at_the_stated_rate_and_a_rule_is_not():
    accepted = found = 0
    for seed in range(100):
        noise = trials(seed, n=40, slopes=(0.0,) * 4)
        accepted += usable(noise)
        found += usable(trials(seed, n=40)) if seed < 25 else 0
    assert accepted <= 5
    assert found == 25


def usable(data):
    folds = Folds(folds=10, repeats=1)
    p = permutation_test(data.x, data.y, folds, 99).p
    return p <= PERMUTATION_LIMIT and nested(data.x, data.y, folds).cv_r2 > 0


def test_the_permutation_p_is_never_zero():
    data = trials(0, noise=0.01)
    assert permutation_test(data.x, data.y, QUICK, 19).p == 1 / 20


def test_resampling_keeps_true_columns_and_signs():
    data = trials(2, n=100, slopes=(-1.0, 0.5, 0.0, 0.0))
    chosen = np.array([True, True, False, False])
    found = bootstrap(data.x, data.y, data.names, chosen, QUICK, 50)
    assert found.selected["a"] == found.selected["b"] == 1
    assert max(found.selected["c"], found.selected["d"]) < 0.5
    assert found.sign == {"a": 1.0, "b": 1.0}
    assert set(found.full_sign) == set("abcd")
    assert 0 < found.same_choice <= 1


def test_the_learning_curve_rises_to_the_nested_score():
    data = trials(3, n=120, noise=0.5)
    curve = learning_curve(data.x, data.y, QUICK, 12)
    assert curve.trials[0] == 12
    assert curve.trials[-1] == 108
    assert curve.cv_r2[0] < curve.cv_r2[-1]
    assert curve.cv_r2[-1] == pytest.approx(nested(data.x, data.y, QUICK).cv_r2, abs=0.15)
    assert LEARNING_DRAWS * 12 >= 100  # trials behind the last point


def test_ridge_shrinks_and_boosting_bends():
    data = trials(4, n=100, correlation=0.95)
    found = models.ridge(data.x, data.y, data.names, QUICK)
    weak, strong = np.abs(found.path).sum(axis=1)[[0, -1]]
    assert strong < weak
    assert set(found.coefficients) == set(data.names)
    bent = data.x[:, 0] ** 2
    assert models.boosting(data.x, bent, QUICK) > 0.5 > models.linear(data.x, bent, QUICK)


def test_models_are_compared_on_the_same_folds():
    from sklearn.linear_model import LinearRegression

    data = trials(5)
    own = models.linear(data.x, data.y, QUICK)
    assert own == pytest.approx(models.cross_validate(LinearRegression, data.x, data.y, QUICK))
    assert outer(QUICK).seed != QUICK.seed


def test_dependent_columns_are_predicted_all_the_same():
    data = trials(6)
    twice = np.column_stack([data.x, data.x[:, 0]])
    train = np.arange(60) < 40
    np.testing.assert_allclose(
        predict(twice, data.y, train, ~train), predict(data.x, data.y, train, ~train)
    )
