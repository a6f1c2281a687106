import json

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

import instructmine as im
from instructmine.config import load_profile
from instructmine.errors import EvidenceError, InstructmineError, UsageError
from instructmine.rules import load_rule
from instructmine.trial_table import Trials
from pools import rows, write

QUICK = {"folds": 5, "repeats": 1, "permutations": 99, "bootstraps": 10}
N = 50


def columns(n=N, seed=0, effect=1.0):
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet([1, 1], size=n)
    reward, length = rng.normal(size=n), rng.normal(120, 20, size=n)
    log_loss = 0.4 + effect * (0.002 * length - 0.1 * reward) + 0.03 * rng.normal(size=n)
    return {
        "trial": np.arange(n),
        "log_loss": log_loss,
        "source:a": shares[:, 0],
        "source:b": shares[:, 1],
        "reward": reward,
        "output_length": length,
    }


def fit(table, **options):
    table = table if isinstance(table, Trials) else Trials(pa.table(table))
    return im.fit(table, **{**QUICK, **options})


@pytest.fixture(scope="module")
def found():
    recipes = {
        "reward": {"type": "Reward", "version": 1, "pool": "abc"},
        "output_length": {"type": "Length", "version": 1},
    }
    about = {"base_model": "tiny", "eval": {"name": "fit", "digest": "d"}}
    return fit(Trials(pa.table(columns()), recipes, about))


def test_the_rule_carries_what_it_was_fitted_on(found):
    rule = found.rule
    assert rule.columns == ("reward", "output_length")
    assert rule.recipes["reward"] == {"type": "Reward", "version": 1}  # the pool is not the rule's
    assert rule.about["eval"]["digest"] == "d"
    assert rule.design.n == N
    assert rule.dof == N - 3
    assert rule.evidence["nested_cv_r2"] == found.analysis.nested.cv_r2
    assert "of tiny" in rule.scope
    assert rule.coefficients["reward"] == pytest.approx(-0.1, abs=0.03)


def test_tables_of_the_fit_are_readable_in_a_notebook(found):
    assert found.coefficients().column("name").to_pylist() == [
        "intercept",
        "reward",
        "output_length",
    ]
    assert found.subsets().num_rows == 3
    assert found.subsets().column("cv_r2")[0].as_py() == found.analysis.search.cv_r2.max()
    observations = found.observations()
    assert observations.num_rows == N
    np.testing.assert_allclose(
        observations["log_loss"].to_numpy() - observations["predicted"].to_numpy(),
        observations["residual"].to_numpy(),
    )
    for section in ("# Fit `fitted`: usable", "## Quality or source", "Kolmogorov", "## Settings"):
        assert section in found.summary()


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_a_table_from_anywhere_gives_the_same_rule(ending, found, tmp_path):
    table, path = pa.table(columns()), tmp_path / f"t.{ending}"
    if ending == "parquet":
        pq.write_table(table, path)
    elif ending == "csv":
        pa_csv.write_csv(table, path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    out = tmp_path / "deep" / "mine.json"
    again = im.fit(path, out=out, **QUICK)
    rule = load_rule(str(out), {})
    assert rule == again.rule
    assert rule.name == "mine"
    assert rule.coefficients == pytest.approx(found.rule.coefficients)
    assert "no recipe of reward, output_length" in again.warnings[0]
    assert (tmp_path / "deep" / "mine.md").read_text() == again.summary()


def test_only_log_loss_and_indicators_are_needed():
    bare = {name: column for name, column in columns().items() if name in ("log_loss", "reward")}
    result = fit(bare)
    assert result.usable
    assert result.verdict.source_only is None
    assert "Not tested" in result.summary()


def test_noise_publishes_the_evidence_and_no_rule(tmp_path):
    out = tmp_path / "rule.json"
    result = fit(columns(effect=0.0), out=out)
    assert not result.usable
    assert not out.exists()
    assert "no usable rule" in (tmp_path / "rule.md").read_text()
    assert result.to_json()["rule"] is None
    with pytest.raises(EvidenceError, match="no usable rule"):
        _ = result.rule
    out.write_text("{}")
    again = fit(columns(effect=0.0), out=out)
    assert out.read_text() == "{}"
    assert "from an earlier fit" in again.warnings[-1]


def test_failed_trials_are_left_out_counted_and_named():
    table = columns()
    table["log_loss"][[1, 2, 3]] = [np.nan, np.inf, 9.0]
    table["error"] = ["", None, None, "diverged\nat step 3", *[None] * (N - 4)]
    result = fit(table)
    assert result.excluded == {
        "the loss is missing or not finite": ("1", "2"),
        "failed: diverged at step 3": ("3",),
    }
    assert len(result.analysis.observations.y) == N - 3
    assert "failed: diverged at step 3 (3)" in result.summary()


@pytest.mark.parametrize("none", [0, 0.0, float("nan"), False, "", None])
def test_an_error_column_may_say_no_error_in_many_ways(none):
    assert fit(changed(error=[none] * N)).excluded == {}


def test_a_loss_is_fitted_by_its_logarithm_when_asked():
    table = columns()
    table["loss"] = np.exp(table.pop("log_loss"))
    with pytest.raises(UsageError, match="it has 'loss': pass --loss loss"):
        fit(table)
    table["loss"][4] = -1.0
    result = fit(table, loss="loss")
    assert result.excluded == {"the loss is missing or not finite": ("4",)}
    assert result.usable


def test_seeds_of_one_subset_are_averaged_and_give_the_noise_ceiling():
    table = {name: np.repeat(column, 2) for name, column in columns().items()}
    table["subset"] = np.repeat([f"s{i}" for i in range(N)], 2)
    table["log_loss"] = table["log_loss"] + 0.02 * np.tile([1, -1], N)
    result = fit(table)
    assert len(result.analysis.observations.y) == N
    assert result.rule.coefficients == pytest.approx(fit(columns()).rule.coefficients)
    assert "100 trials are 50 subsets" in result.warnings[0]
    spread = columns()["log_loss"].var(ddof=1)
    # two values 0.04 apart: variance 0.0008, of their mean half of it
    assert result.evidence["noise_ceiling_r2"] == pytest.approx(1 - 0.0004 / spread)


def test_a_log_loss_that_is_none_is_said():
    table = columns()
    table["loss"] = table["log_loss"]
    assert "log_loss is not the natural logarithm" in fit(table).warnings[0]


def test_columns_can_be_chosen_and_a_wrong_name_gets_help():
    assert fit(columns(), indicators=["reward"]).rule.columns == ("reward",)
    with pytest.raises(UsageError, match="did you mean output_length"):
        fit(columns(), indicators=["output_lenght"])
    with pytest.raises(UsageError, match="no indicator of the trials is called 'log_loss'"):
        fit(columns(), indicators=["log_loss"])


def changed(**changes):
    return {k: v for k, v in {**columns(), **changes}.items() if v is not None}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (changed(log_loss=None), "no column 'log_loss'; add one"),
        (changed(reward=["n/a", *["1.5"] * (N - 1)]), r"'reward' .*text among its numbers \(row 0"),
        (changed(log_loss=["high"] * N), "'log_loss' of the trials holds no numbers"),
        (changed(log_loss=[None] * N), "no usable trial among 50"),
        (changed(reward=[*[1.0] * 49, None]), "'reward' is missing or infinite in 1 of 50"),
        (changed(reward=[2.0] * N), "'reward' is constant"),
        (changed(twin=columns()["reward"] * 2), "'reward' and 'twin' are the same"),
        (changed(reward=None, output_length=None), "no indicator column"),
        ({"source:a": [None] * N, **changed(**{"source:a": None})}, "'source:a' is missing"),
        ({k: v[:4] for k, v in columns().items()}, "4 usable trials are too few for 3"),
        ({k: v[:0] for k, v in columns().items()}, "has no row"),
    ],
)
def test_bad_tables_are_refused_in_one_line(table, message):
    with pytest.raises(InstructmineError, match=message) as caught:
        fit(table)
    assert "\n" not in str(caught.value)


def test_two_columns_of_one_name_are_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("log_loss,reward,reward\n1,2,3\n")
    with pytest.raises(InstructmineError, match="two columns called 'reward'"):
        im.fit(path, **QUICK)


def test_names_that_are_no_utf8_are_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"log_loss,r\xe9\n1,2\n")
    with pytest.raises(InstructmineError, match="cannot read trials"):
        im.fit(path, **QUICK)


def test_whole_numbers_of_any_size_are_numbers():
    big = np.random.default_rng(1).integers(10**16, 10**18, N)
    assert fit(changed(tokens_seen=big)).usable


def test_an_indicator_made_from_the_loss_is_suspected():
    leak = columns()["log_loss"] + 1e-3 * np.random.default_rng(1).normal(size=N)
    assert any("computed from the loss" in c for c in fit(changed(leak=leak)).verdict.cautions)


def test_text_that_is_no_measurement_is_left_out_and_said():
    result = fit(changed(note=["first"] * N, unused=pa.nulls(N), **{"": list(range(N))}))
    assert result.warnings[:3] == (
        "column 'note' is no indicator: it holds no numbers",
        "column 'unused' is no indicator: it is empty",
        "column '' is no indicator: it has no name",
    )
    with pytest.raises(InstructmineError, match=r"'note' .* holds no numbers \(row 0.*'first'\)"):
        fit(changed(note=["first"] * N), indicators=["note"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": "rule.md"}, "name the output rule.json"),
        ({"permutations": 5}, "--permutations must be"),
        ({"bootstraps": 0}, "--bootstraps must be"),
        ({"folds": 1}, "at least 2 folds"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        fit(columns(), **options)


def test_a_missing_extra_says_what_to_install(monkeypatch):
    import instructmine.stages.fit as stage

    monkeypatch.setattr(stage, "PACKAGES", {"no_such_package": "statsmodels"})
    with pytest.raises(InstructmineError, match=r"pip install 'instructmine\[fit\]'"):
        fit(columns())


def test_select_says_what_a_fitted_rule_predicts_and_how_far_out(tmp_path):
    bare = {k: v for k, v in columns().items() if k in ("log_loss", "output_length")}
    bare["log_loss"] = 0.4 + 0.002 * bare["output_length"] + 0.01 * np.sin(np.arange(N))
    out = tmp_path / "rule.json"
    fit(bare, out=out)
    pool = write(tmp_path / "pool.jsonl", rows(40))
    options = {"size": 5, "workdir": tmp_path / "work"}
    chosen = im.select(pool, rule=str(out), out=tmp_path / "gold.jsonl", **options)
    prediction = chosen.manifest["prediction"]
    lengths = chosen.selected.column("output_length").to_numpy()
    rule = load_rule(str(out), {})
    slope = rule.coefficients["output_length"]
    assert prediction["log_loss"] == pytest.approx(rule.intercept + slope * lengths.mean())
    assert prediction["extrapolates"]  # a few words each, fitted on 120 tokens
    assert prediction["outside"]["output_length"]["value"] == pytest.approx(lengths.mean())
    assert any("carries no recipe of output_length" in w for w in chosen.manifest["warnings"])
    written = json.loads((tmp_path / "gold.manifest.json").read_text())
    assert written["prediction"] == prediction
    plain = im.select(pool, rule="output_length:higher", **options)
    assert plain.manifest["prediction"] is None
    assert not any("recipe" in w for w in plain.manifest["warnings"])


def test_a_rule_with_recipes_serves_the_pool_measured_in_the_same_way_only(tmp_path):
    length = load_profile("starter").indicator("length").identity()
    knn = {**load_profile("starter").indicator("knn").identity(), "pool": "of the trials"}
    data = columns()
    table = {"log_loss": data["log_loss"], "output_length": data["output_length"]}
    table["knn6"] = 10 * data["reward"]
    recipes = {"output_length": length, "knn6": knn}
    out = tmp_path / "rule.json"
    assert fit(Trials(pa.table(table), recipes), out=out).rule.columns == ("output_length", "knn6")
    pool = write(tmp_path / "pool.jsonl", rows(20))
    options = {"size": 5, "rule": str(out), "workdir": tmp_path / "work"}
    chosen = im.select(pool, **options)
    assert chosen.manifest["warnings"] == []
    assert set(chosen.manifest["prediction"]["means"]) == {"output_length", "knn6"}
    other = json.loads(out.read_text())
    other["recipes"]["knn6"]["version"] += 1
    out.write_text(json.dumps(other))
    with pytest.raises(UsageError, match="other indicators than yours: knn6: version"):
        im.select(pool, **options)
