import json

import numpy as np
import pyarrow.parquet as pq
import pytest

import instructmine as im
from instructmine.errors import InstructmineError, PoolError, UsageError
from pools import rows, write

RULE = {"rule": "output_length:higher"}


@pytest.fixture
def pool(tmp_path):
    return write(tmp_path / "pool.jsonl", rows(40))


@pytest.fixture(autouse=True)
def workdir(tmp_path, monkeypatch):
    monkeypatch.setenv("INSTRUCTMINE_WORKDIR", str(tmp_path / "work"))


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def test_the_chosen_rows_come_out_as_they_came_best_first(pool, tmp_path):
    out = tmp_path / "gold.jsonl"
    chosen = im.select(pool, size=7, out=out, **RULE)
    decided = pq.read_table(tmp_path / "gold.decisions.parquet").to_pylist()
    best = sorted((row for row in decided if row["selected"]), key=lambda row: row["rank"])
    assert read(out) == [rows(40)[row["row"]] for row in best]
    lengths = [row["output_length"] for row in best]
    assert lengths == sorted(lengths, reverse=True)
    assert len(chosen) == 7
    assert min(lengths) >= max(r["output_length"] for r in decided if not r["selected"])


def test_the_four_files_and_their_columns(pool, tmp_path):
    chosen = im.select(pool, size=7, out=tmp_path / "gold.jsonl", **RULE)
    names = {path.name for path in chosen.files.values()}
    assert names == {
        "gold.jsonl", "gold.decisions.parquet", "gold.manifest.json", "gold.rejected.jsonl"
    }  # fmt: skip
    assert pq.read_table(tmp_path / "gold.decisions.parquet").column_names == [
        "source", "row", "id", "input_length", "output_length",
        "quality", "rank", "selected", "reason",
    ]  # fmt: skip
    manifest = json.loads((tmp_path / "gold.manifest.json").read_text())
    assert manifest["selection"]["rows"] == 7
    assert manifest["rule"]["coefficients"] == {"output_length": -1.0}
    assert manifest["versions"]["instructmine"] == im.__version__
    assert set(manifest["indicators"]["length"]["recipe"]) >= {"type", "version", "tokenizer"}


def test_every_row_has_a_reason_and_only_the_ranked_have_a_rank(tmp_path):
    records = rows(38)
    records[3]["output"] = ""
    pool = write(tmp_path / "p.jsonl", [*records, records[5], records[6]])
    chosen = im.select(pool, size=5, rule="mtld:higher")
    reasons = chosen.decisions.column("reason").to_pylist()
    assert reasons[3] == "unscorable: mtld: empty response"
    assert reasons[38] == f"duplicate of {pool}:5"
    assert reasons[39] == f"duplicate of {pool}:6"
    assert chosen.reasons == {"below cut": 32, "selected": 5, "duplicate": 2, "unscorable": 1}
    ranks = [rank for rank in chosen.decisions.column("rank").to_pylist() if rank is not None]
    assert sorted(ranks) == list(range(1, 38))


def test_a_smaller_budget_is_a_prefix(pool):
    small = im.select(pool, size=5, **RULE).selected.column("id").to_pylist()
    large = im.select(pool, size=20, **RULE).selected.column("id").to_pylist()
    assert large[:5] == small


def test_budgets_in_fractions_and_tokens(pool):
    assert len(im.select(pool, fraction=0.25, **RULE)) == 10
    chosen = im.select(pool, tokens=300, **RULE)
    counts = (
        chosen.ranked.column("input_length").to_numpy()
        + chosen.ranked.column("output_length").to_numpy()
    )
    taken = len(chosen)
    assert counts[:taken].sum() <= 300 < counts[: taken + 1].sum()
    assert chosen.manifest["selection"]["tokens"] == counts[:taken].sum()


@pytest.mark.parametrize(
    "budget", [{}, {"size": 1, "tokens": 5}, {"size": 0}, {"fraction": 1.5}, {"tokens": -1}]
)
def test_a_budget_is_exactly_one_positive_number(pool, budget):
    with pytest.raises(UsageError, match="exactly one|out of range"):
        im.select(pool, **budget, **RULE)


def test_a_size_larger_than_the_pool_says_what_there_is(pool):
    with pytest.raises(UsageError, match=r"--size 41 asks for 41 rows, but only 40 of 40"):
        im.select(pool, size=41, **RULE)
    with pytest.raises(UsageError, match="too small for even one example"):
        im.select(pool, tokens=1, **RULE)


def test_a_rule_fitted_on_other_models_is_refused_unless_forced(pool, tmp_path):
    rule = {
        "name": "mine", "intercept": 0, "coefficients": {"mtld": -1.0},
        "recipes": {"mtld": {"threshold": 0.5}},
    }  # fmt: skip
    path = tmp_path / "rule.json"
    path.write_text(json.dumps(rule))
    with pytest.raises(UsageError, match=r"'mine' was fitted on other .*threshold: 0.5 → 0.72"):
        im.select(pool, size=5, rule=str(path))
    forced = im.select(pool, size=5, rule=str(path), force=True)
    assert "mtld: threshold: 0.5 → 0.72" in forced.manifest["warnings"][0]
    fits = im.select(pool, size=5, rule=str(path), set=["mtld.threshold=0.5"])
    assert fits.manifest["warnings"] == []


def test_decontamination_names_the_evaluation_row(pool, tmp_path):
    asked = rows(40)[9]["instruction"]
    evaluation = write(tmp_path / "eval.jsonl", [{"prompt": "Something else."}, {"prompt": asked}])
    chosen = im.select(pool, size=5, decontaminate=[evaluation], **RULE)
    assert chosen.decisions.column("reason")[9].as_py() == f"contaminated by {evaluation}:1"
    assert chosen.reasons["contaminated"] == 1


def test_a_gate_keeps_rows_out_whatever_the_rule_says(pool):
    open_to_all = im.select(pool, size=5, indicators=["mtld"], **RULE).decisions.to_pandas()
    bound = float(open_to_all.mtld.median())
    decided = im.select(pool, size=5, gate=[f"mtld > {bound!r}"], **RULE).decisions.to_pandas()
    passed = open_to_all.mtld > bound
    assert decided.selected.sum() == 5 and passed[decided.selected].all()
    assert decided.reason[~passed].str.startswith("gated: not mtld>").all()
    best = decided[passed].sort_values("output_length", ascending=False, kind="stable")
    assert decided.output_length[decided.selected].min() == best.output_length.iloc[4]


def test_a_rule_brings_its_own_gates(pool, tmp_path):
    path = tmp_path / "gated.json"
    rule = {"name": "mine", "intercept": 0, "coefficients": {"output_length": -1}}
    path.write_text(json.dumps(rule | {"gates": ["mtld>20"]}))
    decided = im.select(pool, size=5, rule=str(path)).decisions.to_pandas()
    same = im.select(pool, size=5, gate=["mtld>20"], **RULE).decisions.to_pandas()
    assert decided.reason.tolist() == same.reason.tolist()
    assert decided.reason.str.startswith("gated: not mtld>20").any()
    drawn = im.select(pool, size=5, rule=str(path), selector="random")
    assert "gated" not in drawn.reasons  # the rule says what a row is worth; it does not choose
    path.write_text(json.dumps(rule | {"gates": ["mtld is fine"]}))
    with pytest.raises(InstructmineError, match="gated.json is no rule: cannot read the gate"):
        im.select(pool, size=5, rule=str(path))


def test_a_row_without_the_gates_value_is_unscorable_not_passed(tmp_path):
    records = rows(40)
    records[3]["output"] = ""
    pool = write(tmp_path / "p.jsonl", records)
    reasons = im.select(pool, size=5, gate=["mtld>0"], **RULE).decisions.column("reason")
    assert reasons[3].as_py() == "unscorable: mtld: empty response"


def test_near_duplicates_keep_the_better_one(tmp_path):
    records = rows(40)
    long = " ".join(f"word{k} follows another" for k in range(40))
    records[7]["output"], records[11]["output"] = long, long + " finally"
    records[11]["instruction"] = records[7]["instruction"]
    chosen = im.select(write(tmp_path / "p.jsonl", records), size=5, dedup="near", **RULE)
    reasons = chosen.decisions.column("reason").to_pylist()
    assert reasons[7] == f"near-duplicate of {tmp_path / 'p.jsonl'}:11"


def test_the_row_order_of_a_pool_changes_nothing(pool, tmp_path):
    turned = write(tmp_path / "turned.jsonl", rows(40)[::-1])
    for selector in ("top", "random", "deita", "kcenter"):
        ids = [
            im.select(p, size=8, selector=selector, **RULE).selected.column("id").to_pylist()
            for p in (pool, turned)
        ]
        assert ids[0] == ids[1], selector


def test_a_selector_that_reads_no_quality_scores_no_rule(pool):
    chosen = im.select(pool, size=5, selector="random")
    assert chosen.manifest["rule"] is None
    assert list(chosen.manifest["indicators"]) == ["length"]
    assert chosen.decisions.column("quality").null_count == 40


def test_strata_keep_their_proportions(pool, tmp_path):
    other = write(tmp_path / "other.jsonl", rows(20, start=100))
    chosen = im.select([pool, other], size=12, stratify="source", **RULE)
    counts = {s: one["selected"] for s, one in chosen.manifest["selection"]["sources"].items()}
    assert counts == {str(pool): 8, str(other): 4}
    with pytest.raises(UsageError, match="by source or source-equal"):
        im.select(pool, size=2, stratify="topic", **RULE)


def test_within_keeps_the_worse_half_out(pool):
    chosen = im.select(pool, size=10, selector="random", within=0.5, **RULE)
    quality = np.sort(chosen.ranked.column("quality").to_numpy())
    assert max(chosen.selected.column("quality").to_pylist()) <= quality[19]
    assert not chosen.manifest["warnings"]
    more = im.select(pool, size=30, selector="random", within=0.5, **RULE)
    assert more.manifest["warnings"] == [
        "the selector decided the first 20 of 30 rows; the rest follows by quality"
    ]


def test_a_target_draws_its_own_kind_first(pool, tmp_path):
    wanted = [r for r in rows(40) if "bees" in r["instruction"]][:2]
    pairs = [{"prompt": row["instruction"], "response": row["output"]} for row in wanted]
    target = write(tmp_path / "t.jsonl", pairs)
    chosen = im.select(pool, size=2, selector="target", target=target, **RULE)
    tags = {row.record["tag"] for row in chosen.rows(chosen.selected)}
    assert tags == {r["tag"] for r in wanted}
    with pytest.raises(UsageError, match="pass --target FILE"):
        im.select(pool, size=2, selector="target", **RULE)


@pytest.mark.parametrize("second, words", [
    ({"prompt": "Hi", "response": True}, r"t.jsonl:1 of the target cannot be read"),
    ({"q": "Hi", "a": "Ho"}, "rename those that hold the texts to prompt and response"),
])  # fmt: skip
def test_a_target_that_cannot_be_read_is_an_error_before_any_scoring(
    pool, tmp_path, monkeypatch, second, words
):
    monkeypatch.setattr("instructmine.stages.select.index_pool", None)
    first = {"prompt": "Hi", "response": "Ho"} if "prompt" in second else second
    target = write(tmp_path / "t.jsonl", [first, second])
    with pytest.raises(PoolError, match=words) as caught:
        im.select(pool, size=2, selector="target", target=target, **RULE)
    assert "--map" not in str(caught.value)


def test_several_shapes_in_one_call_keep_their_columns(pool, tmp_path):
    chat = [
        {"messages": [{"role": "user", "content": f"Question {k} on maps?"},
                      {"role": "assistant", "content": "A longer answer. " * (k + 40)}],
         "lang": "en"}
        for k in range(4)
    ]  # fmt: skip
    other = write(tmp_path / "chat.jsonl", chat)
    out = tmp_path / "mix.jsonl"
    im.select([pool, other], size=10, out=out, dedup="none", **RULE)
    written = read(out)
    assert sum("lang" in row for row in written) > 0
    assert all("tag" in row or "lang" in row for row in written)


def test_explain_tells_rank_percentile_and_share(pool, tmp_path):
    out = tmp_path / "gold.jsonl"
    chosen = im.select(pool, size=3, out=out, **RULE)
    best = chosen.selected.column("id")[0].as_py()
    told = "\n".join(im.explain(best[:10], decisions=tmp_path / "gold.decisions.parquet").lines)
    assert "selected; rank 1" in told
    assert "percentile 100, adds -" in told
    assert im.explain("length").lines[0].startswith("length-")
    im.select(pool, size=3, set=["length.turns=last"], **RULE)
    assert "    turns: mean → last" in im.explain("length").lines


def test_too_many_unscorable_rows_stop_the_run(tmp_path):
    records = rows(40)
    for record in records[:5]:
        record["output"] = ""
    pool = write(tmp_path / "p.jsonl", records)
    with pytest.raises(InstructmineError, match="5 of 40 rows cannot be scored"):
        im.select(pool, size=5, rule="mtld:higher")
    assert len(im.select(pool, size=5, rule="mtld:higher", allow_unscorable=True)) == 5


def test_an_impossible_output_is_refused_before_any_work(pool, tmp_path):
    with pytest.raises(UsageError):
        im.select(pool, size=5, out=tmp_path / "gold.docx", **RULE)
    assert not (tmp_path / "work").exists()


def test_texts_cut_by_the_encoder_are_counted(tmp_path, monkeypatch):
    monkeypatch.setenv("INSTRUCTMINE_WORKDIR", str(tmp_path / "work"))
    long = [
        {"instruction": "Say it.", "output": " ".join(["word"] * 900) + f" {n}"} for n in (1, 2)
    ]
    pool = write(tmp_path / "p.jsonl", [*rows(8), *long])
    found = im.select(pool, size=3, selector="kcenter", rule="output_length:higher")
    assert found.manifest["indicators"]["embedding"]["truncated"] == 2
