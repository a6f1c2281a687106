import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest

QUICK = ("--folds", 5, "--repeats", 1, "--permutations", 99, "--bootstraps", 10)


def table(path, effect):
    rng = np.random.default_rng(3)
    reward, mtld = rng.normal(size=(2, 40))
    log_loss = 0.5 - effect * reward + 0.1 * rng.normal(size=40)
    shares = rng.dirichlet([1, 1], size=40)
    columns = {"log_loss": log_loss, "reward": reward, "mtld": mtld, "source:a": shares[:, 0],
               "source:b": shares[:, 1]}  # fmt: skip
    pa_csv.write_csv(pa.table(columns), path)
    return path


def test_fit_shows_the_rule_and_writes_it(run, tmp_path):
    out = tmp_path / "rule.json"
    code, shown, _ = run("fit", table(tmp_path / "t.csv", 0.3), "-o", out, *QUICK)
    assert code == 0
    assert "40 trials, 2 indicators, 3 subsets searched" in shown
    assert "rule: log loss = " in shown
    assert "nested CV-R2" in shown
    assert "without a" in shown
    assert f"wrote {out} (rule)" in shown
    assert json.loads(out.read_text())["name"] == "rule"


@pytest.mark.parametrize("as_json", [False, True])
def test_weak_evidence_ends_with_3_and_leaves_the_summary(run, tmp_path, as_json):
    out = tmp_path / "rule.json"
    call = ["fit", table(tmp_path / "t.csv", 0.0), "-o", out, *QUICK]
    code, shown, err = run(*call, *(["--json"] if as_json else []))
    assert code == 3
    assert err.splitlines()[-1].startswith("error: no usable rule: the search finds as much in")
    assert not out.exists()
    assert (tmp_path / "rule.md").exists()
    if as_json:
        assert json.loads(shown)["usable"] is False
    else:
        assert "best found, not usable: log loss" in shown


def test_select_prints_what_the_rule_predicts_and_how_far_out(run, pool, tmp_path):
    out = tmp_path / "rule.json"
    rng = np.random.default_rng(0)
    length = rng.normal(200, 10, 40)
    log_loss = 0.01 * length + 0.02 * rng.normal(size=40)
    pa_csv.write_csv(pa.table({"log_loss": log_loss, "output_length": length}), tmp_path / "t.csv")
    assert run("fit", tmp_path / "t.csv", "-o", out, *QUICK)[0] == 0
    code, shown, _ = run("select", pool, "--size", 5, "--rule", out, "-o", tmp_path / "g.jsonl")
    assert code == 0
    assert "predicted log loss of the set" in shown
    assert "the set lies OUTSIDE the fitted range: leverage" in shown
    assert "is outside the trials'" in shown
    assert "warning: rule 'rule' carries no recipe of output_length" in shown


def test_fit_needs_an_output_and_a_readable_table(run, tmp_path):
    code, _, err = run("fit", table(tmp_path / "t.csv", 0.3))
    assert (code, err) == (2, "error: name the output: -o rule.json\n")
    code, _, err = run("fit", tmp_path / "gone.parquet", "-o", tmp_path / "rule.json")
    assert code == 1
    assert err.startswith("error: cannot read trials from")


def test_help_and_import_load_no_statistics():
    code = (
        "import sys; import instructmine.cli.app, instructmine.stages.fit; "
        "print(sorted({'scipy', 'statsmodels', 'sklearn', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
