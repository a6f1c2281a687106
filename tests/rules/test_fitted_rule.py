import json

import numpy as np
import pytest
import statsmodels.api as sm

from instructmine.errors import InstructmineError
from instructmine.regression.ols import ols
from instructmine.rules import load_rule
from instructmine.rules.design import Design, SetPrediction, as_rows
from instructmine.rules.linear import LinearRule

NAMES = ("reward", "mtld", "knn6")


@pytest.fixture
def trials():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3)) * [1, 20, 0.1] + [0, 60, 0.8]
    y = 0.5 + x @ [-0.1, 0.001, 0.2] + 0.05 * rng.normal(size=40)
    return x, y


@pytest.fixture
def rule(trials):
    x, y = trials
    fit = ols(x, y, NAMES)
    intercept, *slopes = (one.value for one in fit.coefficients)
    return LinearRule(
        name="mine",
        intercept=intercept,
        coefficients=dict(zip(NAMES, slopes, strict=True)),
        recipes={"reward": {"version": 1}},
        about={"base_model": "tiny"},
        covariance=as_rows(fit.covariance),
        residual_sd=fit.residual_sd,
        dof=fit.dof,
        design=Design.of(x, NAMES),
    )


def means(*values):
    return dict(zip(NAMES, map(float, values), strict=True))


@pytest.mark.parametrize("point", [(0.1, 61.0, 0.8), (3.0, 160.0, 1.5)])
def test_intervals_are_those_of_statsmodels(trials, rule, point):
    x, y = trials
    oracle = sm.OLS(y, sm.add_constant(x)).fit(cov_type="HC3", use_t=True)
    frame = oracle.get_prediction([1.0, *point]).summary_frame(alpha=0.05)
    found = rule.predict_set(means(*point))
    assert found.log_loss == pytest.approx(frame["mean"].iloc[0])
    for field, column in {
        "mean_low": "mean_ci_lower", "mean_high": "mean_ci_upper",
        "low": "obs_ci_lower", "high": "obs_ci_upper",
    }.items():  # fmt: skip
        assert getattr(found, field) == pytest.approx(frame[column].iloc[0]), field


def test_leverage_and_distance_are_those_of_the_hat_matrix(trials, rule):
    x, _ = trials
    z = sm.add_constant(x)
    hat = np.diag(z @ np.linalg.inv(z.T @ z) @ z.T)
    found = [rule.predict_set(means(*row)) for row in x]
    np.testing.assert_allclose([one.leverage for one in found], hat)
    assert max(one.distance for one in found) == pytest.approx(rule.design.farthest)
    assert not any(one.outside for one in found)


def test_a_set_beyond_the_trials_is_called_an_extrapolation(trials, rule):
    x, _ = trials
    inside = rule.predict_set(means(*x.mean(axis=0)))
    assert not inside.extrapolates
    assert inside.distance == pytest.approx(0, abs=1e-9)
    assert inside.leverage == pytest.approx(1 / 40)
    far = rule.predict_set(means(9.0, 60.0, 0.8))
    assert far.extrapolates
    assert list(far.outside) == ["reward"]
    assert far.high - far.low > inside.high - inside.low
    assert "OUTSIDE" in far.explain()[1]
    assert (
        far.explain()[2]
        == f"  reward 9 is outside the trials' {x[:, 0].min():.4g} to {x[:, 0].max():.4g}"
    )


def test_an_unusual_combination_inside_every_range_is_an_extrapolation_too():
    rng = np.random.default_rng(1)
    a = rng.uniform(-1, 1, size=50)
    design = Design.of(np.column_stack([a, a + 0.01 * rng.normal(size=50)]), ("a", "b"))
    point = {"a": 0.8, "b": -0.8}
    assert not design.outside(point)
    assert design.distance(point) > design.farthest


def test_a_fitted_rule_and_a_prediction_survive_json(rule):
    assert LinearRule.from_json(json.loads(json.dumps(rule.to_json()))) == rule
    found = rule.predict_set(means(9.0, 60.0, 0.8))
    assert SetPrediction.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_rules_that_were_not_fitted_predict_no_interval():
    assert load_rule("instructmining-v2", {}).predict_set({}) is None
    assert load_rule("reward", {"reward": "higher"}).predict_set({}) is None
    assert "design" not in load_rule("instructmining-v1", {}).to_json()
    assert load_rule("reward", {"reward": "higher"}).unchecked() == []


def test_columns_without_a_recipe_are_named(rule):
    assert rule.unchecked() == ["mtld", "knn6"]


@pytest.mark.parametrize(
    "change",
    [
        {"covariance": [[1.0, 0.0], [0.0, 1.0]]},
        {"covariance": "wide"},
        {"design": {"n": 3}},
        {"design": {"n": 3, "mean": {"other": 1}, "min": {}, "max": {}, "inverse_covariance": [[1]],
                    "farthest": 1}},
    ],
)  # fmt: skip
def test_a_broken_rule_file_is_one_line(rule, change, tmp_path):
    path = tmp_path / "rule.json"
    path.write_text(json.dumps({**rule.to_json(), **change}))
    with pytest.raises(InstructmineError, match="is no rule"):
        load_rule(str(path), {})
