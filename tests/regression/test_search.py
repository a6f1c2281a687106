import numpy as np
import pytest
from simulated import trials

from instructmine.regression.search import Folds, best_scores, search
from instructmine.regression.subsets import Subsets


def slow_cv(x, y, weights, folds):
    """Mean squared held-out error of every subset and of the mean, one fit at a time."""
    numbers = folds.draw(weights)
    subsets = Subsets.of(x.shape[1])
    errors = np.zeros((len(subsets) + 1, len(y)))
    for fold_of in numbers:
        for fold in range(folds.folds):
            test = fold_of == fold
            train = (weights > 0) & ~test
            root = np.sqrt(weights[train])[:, None]
            for place, mask in enumerate([*subsets.masks, np.zeros(x.shape[1], bool)]):
                z = np.column_stack([np.ones(len(y)), x[:, mask]])
                slopes = np.linalg.lstsq(z[train] * root, y[train] * root[:, 0])[0]
                errors[place, test] += (y[test] - z[test] @ slopes) ** 2 / len(numbers)
    return errors @ weights


@pytest.mark.parametrize("kind", ["all", "part", "resample"])
def test_cv_r2_is_what_one_fit_at_a_time_gives(kind):
    data = trials(1, n=33, slopes=(-0.4, 0.3, 0.0))
    rng = np.random.default_rng(2)
    weights = {
        "all": np.ones(33),
        "part": (np.arange(33) % 4 > 0).astype(float),
        "resample": rng.multinomial(33, np.full(33, 1 / 33)).astype(float),
    }[kind]
    folds = Folds(folds=5, repeats=3, seed=4)
    found = list(search(data.x, data.y, np.stack([weights] * 2), Subsets.of(3), folds))
    slow = slow_cv(data.x, data.y, weights, folds)
    for one in found:
        np.testing.assert_allclose(one.cv_r2, 1 - slow[:-1] / slow[-1], atol=1e-7)


def test_the_number_of_tables_searched_at_once_changes_nothing():
    data = trials(3, n=40)
    weights = (np.random.default_rng(0).random((30, 40)) > 0.2).astype(float)
    together = list(search(data.x, data.y, weights, Subsets.of(4), Folds()))
    alone = [next(search(data.x, data.y, one[None], Subsets.of(4), Folds())) for one in weights]
    assert [one.chosen for one in together] == [one.chosen for one in alone]
    np.testing.assert_allclose([o.cv_r2 for o in together], [o.cv_r2 for o in alone], rtol=1e-9)


def test_copies_of_a_trial_are_never_trained_on_and_tested_at_once():
    weights = np.array([3.0, 0, 1, 2, 1, 1, 0, 1, 1])
    numbers = Folds(folds=3, repeats=2).draw(weights)
    assert (numbers[:, weights == 0] == -1).all()
    assert (numbers[:, weights > 0] >= 0).all()
    for row in numbers:
        assert np.ptp(np.bincount(row[row >= 0])) <= 1


def test_the_choice_is_the_smallest_within_one_standard_error():
    data = trials(5, n=200, slopes=(-1.0, 0.0, 0.0), noise=0.2)
    subsets = Subsets.of(3)
    found = next(search(data.x, data.y, np.ones((1, 200)), subsets, Folds()))
    assert subsets.masks[found.chosen].tolist() == [True, False, False]
    assert found.cv_r2[found.best] >= found.cv_r2[found.chosen]


def test_each_response_is_searched_like_a_table_of_its_own():
    data = trials(6, n=30)
    rng = np.random.default_rng(9)
    ys = np.column_stack([data.y, *(rng.permutation(data.y) for _ in range(150))])
    scores = best_scores(data.x, ys, Subsets.of(4), Folds(seed=3))
    assert scores.shape == (151,)
    for column in (0, 1, 99, 100, 150):
        own = next(search(data.x, ys[:, column], np.ones((1, 30)), Subsets.of(4), Folds(seed=3)))
        assert scores[column] == pytest.approx(own.cv_r2[own.best], abs=1e-9)
    assert scores[1:].max() < scores[0]
