import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

RULE = ("--rule", "output_length:higher")


def test_select_shows_what_it_did_and_where(run, pool, tmp_path):
    code, out, err = run("select", pool, "--size", 6, *RULE, "-o", tmp_path / "gold.jsonl")
    assert code == 0
    assert "best 3 of the ranking:" in out
    assert "worst 3 of the ranking:" in out
    assert "selected 6 of 40 rows" in out
    for name in ("gold.jsonl", "gold.decisions.parquet", "gold.manifest.json"):
        assert f"wrote {tmp_path / name}" in out
    assert "scoring length: 40/40, " in err


def test_json_is_one_object_and_all_there_is_on_stdout(run, pool, tmp_path):
    code, out, _ = run("select", pool, "--size", 6, *RULE, "-o", tmp_path / "g.jsonl", "--json")
    assert code == 0
    manifest = json.loads(out)
    assert manifest["selection"]["rows"] == 6
    assert manifest["files"]["decisions"] == str(tmp_path / "g.decisions.parquet")


def test_score_writes_a_table(run, pool, tmp_path):
    code, out, _ = run("score", pool, "--indicators", "mtld,length", "-o", tmp_path / "s.parquet")
    assert code == 0
    assert "mtld" in out
    assert pq.read_metadata(tmp_path / "s.parquet").num_rows == 40


@pytest.mark.parametrize("command", ["score", "select"])
def test_a_dry_run_needs_no_output_and_writes_none(run, pool, workdir, command):
    budget = ("--size", 5, *RULE) if command == "select" else ("--indicators", "length")
    code, out, _ = run(command, pool, "--dry-run", *budget)
    assert code == 0
    assert "40 rows (40 distinct, 0 unreadable)" in out
    assert list((workdir / "scores").iterdir()) == []
    code, out, _ = run(command, pool, "--dry-run", "--json", *budget)
    assert json.loads(out)["work"]["length"]["rows"] == 40


@pytest.mark.parametrize("kind", ["rules", "profiles", "selectors", "formats", "engines"])
def test_list(run, kind):
    code, out, _ = run("list", kind)
    assert code == 0
    assert len(out.splitlines()) > 1
    code, out, _ = run("list", kind, "--json")
    assert json.loads(out)[kind]


def test_store_commands(run, pool, tmp_path):
    run("score", pool, "--indicators", "mtld,length", "-o", tmp_path / "s.parquet")
    code, out, _ = run("store", "info")
    assert code == 0
    assert "2 recipes" in out
    code, out, _ = run("store", "compact", "mtld")
    assert (code, "mtld-" in out) == (0, True)
    code, out, _ = run("store", "prune", "mtld", "--dry-run", "--json")
    assert len(json.loads(out)["keys"]) == 1
    run("store", "prune", "mtld")
    assert json.loads(run("store", "info", "--json")[1])["recipes"][0]["indicator"] == "length"
    code, _, err = run("store", "prune")
    assert (code, err.count("\n")) == (2, 1)
    assert "say what to prune" in err


def test_explain_needs_a_known_name(run, pool, tmp_path):
    run("score", pool, "--indicators", "length", "-o", tmp_path / "s.parquet")
    code, out, _ = run("explain", "length")
    assert code == 0
    assert "tokenizer" in out
    code, _, err = run("explain", "lenght")
    assert code == 2
    assert "did you mean" in err


def test_help_imports_no_heavy_library():
    code = (
        "import sys; sys.argv=['instructmine','--help']\n"
        "from instructmine.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy={'torch','transformers','numpy','pyarrow','sklearn','faiss','pandas'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "LOADED []" in done.stdout


def test_a_run_whose_scores_are_stored_loads_no_model(run, pool, tmp_path, workdir):
    out = tmp_path / "g.jsonl"
    run("select", pool, "--size", 5, *RULE, "-o", out)
    code = (
        "import sys, instructmine as im\n"
        f"im.select({str(pool)!r}, size=5, rule='output_length:higher', workdir={str(workdir)!r})\n"
        "print('LOADED', sorted({'torch','transformers','sklearn','faiss'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "LOADED []" in done.stdout


def test_the_reference_is_fresh(tmp_path):
    made = tmp_path / "cli.md"
    subprocess.run(
        [
            sys.executable, "-m", "typer", "instructmine.cli.app", "utils", "docs",
            "--name", "instructmine", "--output", str(made),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    kept = Path(__file__).parents[2] / "docs" / "cli.md"
    assert made.read_text() == kept.read_text(), "run `make docs`"
