import numpy as np
import pytest
import statsmodels.api as sm
from simulated import mixtures, trials

from instructmine.regression.search import Folds
from instructmine.regression.sources import leave_sources_out, source_control
from instructmine.regression.verdict import SOURCE_LIMIT

QUICK = Folds(folds=10, repeats=1)
FIRST = np.array([True, False, False])


def control(data, chosen=FIRST):
    return source_control(data.x, data.y, data.proportions, chosen, QUICK, 99)


def test_partial_r2_and_its_f_test_are_those_of_statsmodels():
    data = mixtures(0, within=0.3)
    found = control(data)
    alone = sm.OLS(data.y, sm.add_constant(data.proportions[:, :-1])).fit()
    z = np.column_stack([sm.add_constant(data.proportions[:, :-1]), data.x[:, FIRST]])
    both = sm.OLS(data.y, z).fit()
    assert found.r2_sources == pytest.approx(alone.rsquared)
    assert found.partial_r2 == pytest.approx(1 - both.ssr / alone.ssr)
    assert found.partial_f_p == pytest.approx(both.compare_f_test(alone)[1])


def test_indicators_that_only_mark_the_source_are_told_from_those_that_say_more():
    only, more = [], []
    for seed in range(60):
        only.append(control(mixtures(seed)).permutation_p)
        more.append(control(mixtures(seed, within=0.5)).permutation_p)
    assert np.mean(np.array(only) > SOURCE_LIMIT) >= 0.88  # 95 % expected, of 60
    assert np.mean(np.array(more) <= SOURCE_LIMIT) == 1


def test_indicators_that_are_the_source_leave_nothing():
    data = mixtures(1)
    found = source_control(
        data.proportions[:, :2], data.y, data.proportions, np.array([True, False]), QUICK, 99
    )
    assert found.permutation_p is None
    assert found.partial_r2 == pytest.approx(0, abs=1e-9)
    assert found.partial_f_p == 1


def test_a_source_is_left_out_by_its_share():
    data = mixtures(2, n=100, within=0.5)
    found = leave_sources_out(data.x, data.y, data.proportions, data.sources, QUICK, 10)
    assert [one.source for one in found] == list("wxyz")
    assert [(one.train, one.test) for one in found] == [(50, 25)] * 4
    assert all(-1 <= one.spearman <= 1 and one.r2 <= 1 for one in found)


def test_trials_of_one_source_each_are_left_out_whole():
    data = trials(0, n=80, slopes=(-0.5, 0.2, 0.0))
    shares = np.eye(4)[np.arange(80) % 4]
    found = leave_sources_out(data.x, data.y, shares, tuple("wxyz"), QUICK, 10)
    assert [(one.train, one.test) for one in found] == [(60, 20)] * 4
    assert min(one.spearman for one in found) > 0.5


def test_too_few_trials_are_not_tested_and_say_so():
    data = mixtures(3, n=16)
    found = leave_sources_out(data.x, data.y, data.proportions, data.sources, QUICK, 10)
    assert all(one.r2 is None and "too few" in one.why for one in found)
