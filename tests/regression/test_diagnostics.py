import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from simulated import trials
from statsmodels.stats.diagnostic import het_breuschpagan, lilliefors
from statsmodels.stats.outliers_influence import variance_inflation_factor

from instructmine.regression.diagnostics import collinearity, normality, residuals


def test_vif_and_condition_number():
    data = trials(0, correlation=0.7)
    found = collinearity(data.x, data.names)
    z = sm.add_constant(data.x)
    for place, name in enumerate(data.names):
        assert found.vif[name] == pytest.approx(variance_inflation_factor(z, place + 1))
        others = np.delete(z, place + 1, axis=1)
        r2 = sm.OLS(data.x[:, place], others).fit().rsquared
        assert found.vif[name] == pytest.approx(1 / (1 - r2))
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(data.x.T))
    assert found.condition_number == pytest.approx(np.sqrt(eigenvalues[-1] / eigenvalues[0]))
    assert not found.severe


@pytest.mark.parametrize("sign", [1, -1])
def test_a_planted_collinear_pair_is_named(sign):
    data = trials(1, n=80)
    x = data.x.copy()
    x[:, 2] = sign * (5 * x[:, 0] + 100) + 0.1 * np.random.default_rng(0).normal(size=80)
    found = collinearity(x, data.names)
    assert [pair[:2] for pair in found.pairs] == [("a", "c")]
    assert np.sign(found.pairs[0][2]) == sign
    assert found.severe
    assert found.vif["a"] > 10


def test_a_single_column_is_not_collinear():
    data = trials(1, slopes=(1.0,))
    assert collinearity(data.x, data.names).vif == pytest.approx({"a": 1.0})


def test_residual_tests_are_those_of_statsmodels_and_scipy():
    data = trials(2)
    found = residuals(data.x, data.y)
    z = sm.add_constant(data.x)
    fit = sm.OLS(data.y, z).fit()
    assert found.breusch_pagan_p == pytest.approx(het_breuschpagan(fit.resid, z)[1])
    assert found.lilliefors_p == pytest.approx(lilliefors(fit.resid)[1])
    assert found.shapiro_p == pytest.approx(stats.shapiro(fit.resid).pvalue)
    leverage = np.diag(z @ np.linalg.inv(z.T @ z) @ z.T)
    cook = fit.resid**2 * leverage / (5 * fit.mse_resid * (1 - leverage) ** 2)
    np.testing.assert_allclose(found.leverage, leverage)
    np.testing.assert_allclose(found.cooks_distance, cook)


def test_one_odd_trial_is_the_most_influential():
    data = trials(3)
    y = data.y.copy()
    far = int(np.argmax(np.abs(data.x).sum(axis=1)))
    assert residuals(data.x, y).outliers == ()
    y[far] += 5
    found = residuals(data.x, y)
    assert found.influential[0] == far
    assert found.outliers == (far,)
    rest = np.arange(60) != far
    without = sm.OLS(y[rest], sm.add_constant(data.x)[rest]).fit()
    error = y[far] - without.predict(sm.add_constant(data.x)[[far]])[0]
    scale = np.sqrt(without.mse_resid / (1 - found.leverage[far]))
    assert found.studentized[far] == pytest.approx(error / scale)


def test_unequal_spread_and_skew_are_seen():
    data = trials(4, n=300)
    rng = np.random.default_rng(0)
    unequal = data.x[:, 0] + rng.normal(size=300) * np.exp(data.x[:, 1])
    assert residuals(data.x, unequal).breusch_pagan_p < 1e-3
    skewed = data.x[:, 0] + rng.exponential(size=300)
    assert residuals(data.x, skewed).shapiro_p < 1e-3
    assert residuals(data.x, skewed).lilliefors_p < 1e-2


def test_normality_of_variables_as_in_the_paper():
    values = np.random.default_rng(0).normal(3, 2, size=(100, 2))
    values[:, 1] = np.exp(values[:, 1])
    even, skewed = normality(values, ["even", "skewed"])
    z = (values[:, 0] - values[:, 0].mean()) / values[:, 0].std(ddof=1)
    assert (even.statistic, even.p) == pytest.approx(tuple(stats.kstest(z, "norm"))[:2])
    assert even.p > 0.1 > skewed.p
