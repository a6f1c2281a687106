import json

import numpy as np
import pyarrow as pa
import pytest

from instructmine.config import load_profile
from instructmine.errors import InstructmineError, UsageError
from instructmine.identity import digest
from instructmine.modelref import ModelRef
from instructmine.rules import load_rule, preset_names
from instructmine.rules.linear import LinearRule
from instructmine.scores import ScoreTable

DIRECTIONS = {"reward": "higher", "perplexity": "unknown", "mtld": "lower"}


def table(**columns):
    n = len(next(iter(columns.values())))
    keys = {"source": ["a"] * n, "row": list(range(n)), "id": [f"{i:032x}" for i in range(n)]}
    return ScoreTable(pa.table({**keys, **columns, "errors": pa.nulls(n, pa.string())}))


def test_v2_is_the_published_formula():
    rule = load_rule("instructmining-v2", {})
    scores = table(reward=[1.5], understandability=[0.9], naturalness=[0.8], coherence=[0.7])
    expected = 0.0274 - 0.0078 * 1.5 + 0.4421 * 0.9 - 0.3212 * 0.8 - 0.1520 * 0.7
    assert rule.predict(scores)[0] == pytest.approx(expected, abs=1e-12)


def test_v1_is_the_published_formula():
    rule = load_rule("instructmining-v1", {})
    scores = table(reward=[0.3], output_length=[120.0], knn6=[0.8])
    expected = 1.0694 - 0.1498 * 0.3 + 8.257e-5 * 120 - 0.9350 * 0.8
    assert rule.predict(scores)[0] == pytest.approx(expected, abs=1e-12)


def test_the_shipped_rule_is_about_the_shipped_models():
    """Another model or another definition would leave its coefficients without a meaning."""
    rule, profile = load_rule("starter", {}), load_profile("starter")
    owners = profile.column_owners()
    recipes = {name: profile.indicator(owners[name]).identity() for name in rule.reads}
    assert rule.recipes.keys() == recipes.keys() and rule.check(recipes) == []
    assert rule.about["base_model"] == "starter:lm"
    own = digest(ModelRef("starter:lm").identity())
    assert digest(rule.about["trainer"]["base_model"]) == own


def test_a_single_indicator_puts_its_better_end_first():
    scores = table(reward=[1.0, 3.0, 2.0], mtld=[1.0, 3.0, 2.0], perplexity=[1.0, 3.0, 2.0])
    best = {
        name: int(np.argmin(load_rule(name, DIRECTIONS).predict(scores)))
        for name in ("reward", "mtld", "perplexity:higher", "perplexity:lower")
    }
    assert best == {"reward": 1, "mtld": 0, "perplexity:higher": 1, "perplexity:lower": 0}


def test_an_indicator_without_a_known_better_end_asks_for_one():
    with pytest.raises(UsageError, match="perplexity:higher or perplexity:lower"):
        load_rule("perplexity", DIRECTIONS)


def test_a_set_is_predicted_by_the_mean_of_its_members():
    rng = np.random.default_rng(0)
    columns = {c: rng.normal(size=50) for c in load_rule("instructmining-v2", {}).columns}
    rule = load_rule("instructmining-v2", {})
    whole = table(**{name: [values.mean()] for name, values in columns.items()})
    assert rule.predict(table(**columns)).mean() == pytest.approx(rule.predict(whole)[0])


def test_a_missing_value_is_missing_in_the_prediction():
    assert np.isnan(load_rule("reward", DIRECTIONS).predict(table(reward=[None, 1.0])))[0]


def test_contributions_add_up_to_the_prediction():
    rule = load_rule("instructmining-v1", {})
    scores = table(reward=[0.3, 2.0], output_length=[120.0, 3.0], knn6=[0.8, 0.0])
    total = rule.intercept + sum(rule.contributions(scores).values())
    np.testing.assert_allclose(total, rule.predict(scores))


@pytest.mark.parametrize("name", ["instructmining-v1", "instructmining-v2"])
def test_a_rule_survives_json_and_prints_its_scope(name):
    rule = load_rule(name, {})
    assert LinearRule.from_json(json.loads(json.dumps(rule.to_json()))) == rule
    assert "these indicator models" in rule.explain()
    assert name in preset_names()


def test_a_rule_refuses_other_recipes_field_by_field():
    rule = load_rule("instructmining-v2", {})
    mine = {"model": {"hub": "MingZhong/unieval-dialog", "revision": "f" * 40}, "dtype": "float32"}
    recipes = {c: mine for c in ("understandability", "naturalness", "coherence")}
    recipes["reward"] = {"model": {"digest": "ab"}}
    assert rule.check(recipes) == [
        "reward: model.hub: OpenAssistant/oasst-rm-2.1-pythia-1.4b-epoch-2.5 → absent"
    ]


def test_a_rule_file_is_read_and_a_wrong_one_is_one_line(tmp_path):
    path = tmp_path / "rule.json"
    rule = LinearRule(name="mine", intercept=0.5, coefficients={"reward": -1.0})
    path.write_text(json.dumps(rule.to_json()))
    assert load_rule(str(path), {}) == rule
    path.write_text('{"name": "x"}')
    with pytest.raises(InstructmineError, match="is no rule"):
        load_rule(str(path), {})
    path.write_text("{")
    with pytest.raises(InstructmineError, match="cannot read rule"):
        load_rule(str(path), {})
    path.write_text('{"name": "x", "intercept": 0, "coefficients": {"reward": 1e999}}')
    with pytest.raises(InstructmineError, match="is no rule"):
        load_rule(str(path), {})


def test_an_unknown_rule_gets_suggestions():
    with pytest.raises(UsageError, match="did you mean instructmining-v2"):
        load_rule("instructmining-v3", DIRECTIONS)
    with pytest.raises(UsageError, match="does not exist"):
        load_rule("gone.json", DIRECTIONS)
