import numpy as np
import pytest
import statsmodels.api as sm
from simulated import trials
from statsmodels.tools.eval_measures import aicc

from instructmine.regression.criteria import criteria
from instructmine.regression.ols import ols, univariate
from instructmine.regression.subsets import Subsets


def test_the_fit_is_that_of_statsmodels_with_hc3():
    data = trials(0)
    fit = ols(data.x, data.y, data.names)
    oracle = sm.OLS(data.y, sm.add_constant(data.x)).fit(cov_type="HC3", use_t=True)
    low, high = oracle.conf_int(alpha=0.05).T
    for name, wanted in {
        "value": oracle.params, "standard_error": oracle.bse, "p": oracle.pvalues, "low": low,
        "high": high,
    }.items():  # fmt: skip
        np.testing.assert_allclose([getattr(c, name) for c in fit.coefficients], wanted)
    np.testing.assert_allclose(fit.covariance, oracle.cov_params())
    assert fit.dof == 55
    assert fit.residual_sd == pytest.approx(np.sqrt(oracle.mse_resid))
    assert [c.name for c in fit.coefficients] == ["intercept", *"abcd"]


def test_columns_of_any_scale_are_fitted_alike():
    data = trials(0)
    scale = np.array([1e12, 1.0, 1e-9, 3.0])
    plain, scaled = (ols(x, data.y, data.names) for x in (data.x, data.x * scale))
    values = np.array([[c.value, c.standard_error] for c in plain.coefficients[1:]])
    again = np.array([[c.value, c.standard_error] for c in scaled.coefficients[1:]])
    np.testing.assert_allclose(again * scale[:, None], values)
    np.testing.assert_allclose(
        [c.p for c in scaled.coefficients], [c.p for c in plain.coefficients]
    )


def test_hc3_by_its_formula():
    data = trials(0)
    z = sm.add_constant(data.x)
    bread = np.linalg.inv(z.T @ z)
    residual = data.y - z @ (bread @ z.T @ data.y)
    leverage = np.einsum("ij,jk,ik->i", z, bread, z)
    meat = z.T @ (z * ((residual / (1 - leverage)) ** 2)[:, None])
    np.testing.assert_allclose(ols(data.x, data.y, data.names).covariance, bread @ meat @ bread)


def test_the_criteria_of_every_subset_are_those_of_statsmodels():
    data = trials(2, n=40)
    subsets = Subsets.of(4)
    found = criteria(data.x, data.y, subsets)
    for place, mask in enumerate(subsets.masks):
        oracle = sm.OLS(data.y, sm.add_constant(data.x[:, mask])).fit()
        wanted = {
            "r2": oracle.rsquared,
            "adjusted_r2": oracle.rsquared_adj,
            "aic": oracle.aic,
            "aicc": aicc(oracle.llf, 40, mask.sum() + 1),
            "bic": oracle.bic,
            "largest_p": oracle.pvalues[1:].max(),
        }
        for name, value in wanted.items():
            assert getattr(found, name)[place] == pytest.approx(value, rel=1e-6, abs=1e-9), name


def test_the_papers_criterion_takes_the_highest_r2_among_significant_subsets():
    data = trials(3, n=80, slopes=(-1.0, 0.5, 0.0, 0.0))
    subsets = Subsets.of(4)
    found = criteria(data.x, data.y, subsets)
    significant = found.largest_p <= 0.05
    assert found.r2[found.paper] == found.r2[significant].max()
    assert significant[found.paper]


def test_univariate_signs_and_ranks():
    data = trials(4, n=200, slopes=(-1.0, 1.0, 0.0), correlation=0.0)
    signs = {
        one.coefficient.name: one.coefficient.sign for one in univariate(data.x, data.y, data.names)
    }
    assert signs["a"] == -1
    assert signs["b"] == 1


@pytest.mark.parametrize("spread", ["equal", "unequal"])
def test_intervals_hold_the_truth_at_their_rate(spread):
    hits = []
    truth = (-0.4, 0.3, 0.0, 0.0)
    for seed in range(100):
        data = trials(seed, n=60, slopes=truth, noise=0.0)
        noise = 0.3 * np.random.default_rng([13, seed]).normal(size=60)
        scale = 1.0 if spread == "equal" else 0.5 + np.abs(data.x[:, 0])
        fit = ols(data.x, data.y + noise * scale, data.names)
        hits += [c.low <= b <= c.high for c, b in zip(fit.coefficients, (0.5, *truth), strict=True)]
    assert 0.92 <= np.mean(hits) <= 0.98  # 95 % of 500 correlated intervals
