"""`iterate`: what it labels, takes, writes, keeps and refuses."""

import json

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import instructmine as im
from instructmine.errors import EvidenceError, InstructmineError, ModelError, UsageError
from instructmine.iterselect import LabelQuality, doubts
from instructmine.results import Iteration, IterationPlan
from judge_server import JudgeServer
from pools import rows, write


@pytest.fixture(autouse=True)
def workdir(tmp_path, monkeypatch):
    monkeypatch.setenv("INSTRUCTMINE_WORKDIR", str(tmp_path / "work"))
    return tmp_path / "work"


@pytest.fixture
def pool(tmp_path):
    """Every third response is rubbish, half of it short, so that the base model may win."""
    made = rows(60)
    for number, row in enumerate(made):
        if number % 3 == 0:
            row["output"] = "no no no no" * (1 if number % 2 else 5)
    return write(tmp_path / "pool.jsonl", [*made, made[1]])


@pytest.fixture
def call(pool, tmp_path):
    def run(**options):
        base = {
            "base_model": "starter", "size": 20, "batch": 0.15, "holdout": 8, "clusters": 4,
            "draw": 0.5, "rounds": 2, "most_rounds": 2, "epochs": 2, "max_new_tokens": 12,
            "threads": 1, "device": "cpu", "out": tmp_path / "hard.jsonl",
        }  # fmt: skip
        return im.iterate(options.pop("pool", pool), **(base | options))

    return run


def test_every_row_gets_a_decision_and_hard_ones_come_first(call, tmp_path):
    result = call()
    assert isinstance(result, Iteration) and len(result) == 20
    table = result.decisions.to_pandas()
    assert len(table) == 61 and (table.reason == "duplicate of pool.jsonl:1").sum() <= 1
    chosen = table[table.selected].sort_values("rank")
    assert (chosen.label == "hard").all()
    sources = chosen.label_source.tolist()
    assert sources == sorted(sources, key=["judge", "classifier"].index)
    easy = table[table.label == "easy"]
    assert not easy.selected.any() and (easy.label_source == "judge").all()
    learned = table[table["round"] == 1]
    assert learned[["m", "r", "q"]].notna().all().all()
    assert np.allclose(learned.q, 0.9 * learned.m + 0.1 * learned.r)
    assert len(result.rounds) == 2 and result.rounds[1]["accuracy"] is not None


def test_labels_are_those_of_the_judge_by_hand(call, workdir):
    """Answer and compare one batch without the stage's help."""
    from instructmine.contracts import Context
    from instructmine.modelref import ModelRef
    from instructmine.models.generate import LocalAnswerer
    from instructmine.models.reward import RewardModel
    from instructmine.pool import Turn
    from instructmine.sampling import Sampling
    from instructmine.spending import Meter

    result = call()
    table = result.decisions.to_pandas()
    labelled = table[(table.label_source == "judge") & table["round"].notna()]
    found = result.rows(result.decisions.take(labelled.index.tolist()))
    turns = [row.example.turns[-1] for row in found]
    sampling = Sampling(max_new_tokens=12)
    answerer = LocalAnswerer(model=ModelRef("starter:lm"), sampling=sampling)
    said = dict(answerer.open(Context("cpu", 1), Meter()).answer([one.history for one in turns]))
    reward = RewardModel.load(ModelRef("starter:reward"), context=Context("cpu", 1))
    theirs = reward.rewards(turns).values
    own = reward.rewards([Turn(one.history, said[i].text) for i, one in enumerate(turns)]).values
    for i, label in enumerate(labelled.label):
        wins = not said[i].text.strip() or theirs[i] > own[i]
        assert label == ("hard" if wins else "easy")


def test_files_stand_beside_and_the_classifier_is_an_indicator(call, pool, tmp_path):
    result = call(size=30)
    assert (tmp_path / "hard.decisions.parquet").exists()
    manifest = json.loads((tmp_path / "hard.manifest.json").read_text())
    assert manifest["files"]["classifier"] == str(result.classifier)
    assert manifest["command"] == "iterate" and len(manifest["iterate"]["rounds"]) == 2
    held = LabelQuality(**manifest["iterate"]["rounds"][-1]["holdout"])
    assert doubts(held) == [one for one in manifest["warnings"] if "classifier" in one]
    scores = im.score(
        pool, indicators=["hardness"], set=[f"hardness.model={result.classifier}"], threads=1
    ).scores
    m = pq.read_table(tmp_path / "hard.decisions.parquet").column("m").to_pylist()
    last = [r for r in result.decisions.to_pylist() if r["label_source"] == "classifier"]
    by_place = dict(zip(scores.table.column("row").to_pylist(), scores.column("hardness"),
                        strict=True))  # fmt: skip
    assert last and all(by_place[r["row"]] == pytest.approx(r["m"], abs=1e-5) for r in last)
    assert len(m) == 61


def test_running_again_asks_nobody_and_gives_the_same(call, monkeypatch):
    first = call()
    monkeypatch.setattr("instructmine.models.generate.LocalAnswerer.open", None)
    monkeypatch.setattr("instructmine.judges.reward.Reward.open", None)
    monkeypatch.setattr("instructmine.models.classifier.train_classifier", None)
    again = call()
    assert again.decisions.equals(first.decisions)
    assert again.manifest["iterate"] == first.manifest["iterate"]


def test_a_limit_stops_between_rounds_and_more_goes_on(call):
    with pytest.raises(InstructmineError, match="raise --max-requests"):
        call(max_requests=10)
    whole = call(max_requests=1000)
    assert whole.manifest["iterate"]["usage"]["requests"] <= 8 + 2 * 9


def test_a_limit_is_that_of_all_runs(call):
    """What complete rounds took counts too, though nothing of them is asked for again."""
    with JudgeServer() as server:
        options = {
            "judge": "endpoint", "max_requests": 40,
            "set": ["endpoint.model=judge-1", f"endpoint.base_url={server.url}"],
        }  # fmt: skip
        for _ in range(2):  # hold-out 16, first round 18: it ends within the second
            with pytest.raises(InstructmineError, match="raise --max-requests"):
                call(**options)
            assert len(server.requests) == 40
        result = call(**{**options, "max_requests": 60})
        assert len(server.requests) == 52 == result.manifest["iterate"]["usage"]["requests"]


def test_pool_order_does_not_decide(call, pool, tmp_path):
    first = call()
    lines = pool.read_text().splitlines(keepends=True)
    other = tmp_path / "turned" / "pool.jsonl"
    other.parent.mkdir()
    other.write_text("".join(reversed(lines)))
    again = call(pool=other, out=tmp_path / "turned.jsonl")
    ids = [sorted(one.selected.column("id").to_pylist()) for one in (first, again)]
    assert ids[0] == ids[1]


def test_a_gate_keeps_rows_out(call):
    result = call(gate=["output_length>10"])
    reasons = result.reasons
    assert reasons["gated"] == 10
    assert "gated: not output_length>10" in result.decisions.column("reason").to_pylist()


def test_a_dry_run_says_what_it_would_take(call):
    plan = call(dry_run=True)
    assert isinstance(plan, IterationPlan)
    assert plan.candidates == 60 and plan.per_round == 9 and plan.holdout == 8
    assert plan.answers == 8 + 2 * 9 == plan.requests


@pytest.mark.parametrize(
    ("role", "words"),
    [("judge", "did you mean reward"), ("base_model", "rewrad"), ("classifier", "rewrad")],
)
def test_who_takes_part_is_the_profiles_where_it_is_not_named(call, tmp_path, role, words):
    """A role that cannot be filled fails by that role's name, and is not asked for when named."""
    profile = tmp_path / "mine.toml"
    profile.write_text(f'extends = "starter"\n{role} = "./rewrad"\n')
    named = {"judge": "reward", "base_model": "starter", "classifier": "starter:encoder"}
    given = {**named, role: None}
    with pytest.raises(InstructmineError, match=words):
        call(profile=str(profile), **given)
    call(profile=str(profile), dry_run=True, **named)


def test_more_than_the_judge_found_is_filled_by_the_classifier(call):
    result = call(size=45)
    chosen = result.manifest["iterate"]["chosen"]
    assert sum(chosen.values()) == 45
    table = result.selected.to_pandas()
    by_classifier = table[table.label_source == "classifier"]
    assert (
        len(by_classifier) and ((by_classifier.label == "hard") == (by_classifier.m >= 0.5)).all()
    )
    not_hard = int((table.label != "hard").sum())
    warned = [one for one in result.manifest["warnings"] if "not all that was chosen" in one]
    assert bool(warned) == bool(not_hard)


def test_a_token_budget_counts_what_it_took(call):
    result = call(size=None, tokens=400)
    assert sum(result.manifest["iterate"]["chosen"].values()) == len(result)
    with pytest.raises(UsageError, match="too small"):
        call(size=None, tokens=1)


def test_a_plan_counts_both_orders_and_paid_answers(call, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    asked = {"judge": "endpoint", "set": ["endpoint.model=j"], "dry_run": True}
    local = call(**asked)
    assert local.requests == 2 * local.answers and local.tokens_in > 0
    paid = call(**asked, base_model="endpoint:b")
    assert paid.requests == 3 * paid.answers and paid.tokens_in > local.tokens_in


def test_a_place_that_cannot_be_written_is_found_before_anyone_is_asked(call, pool, workdir):
    with pytest.raises(InstructmineError, match="a part of the path is a file"):
        call(out=pool / "hard.jsonl")
    assert not [*workdir.rglob("*.jsonl")]


def test_nothing_of_others_is_replaced(call, pool, tmp_path):
    before = pool.read_bytes()
    with pytest.raises(UsageError, match="is a file of the pool"):
        call(out=pool)
    assert pool.read_bytes() == before
    (tmp_path / "hard.classifier").mkdir()
    (tmp_path / "hard.classifier" / "mine.txt").write_text("kept")
    with pytest.raises(UsageError, match="no classifier"):
        call()
    assert (tmp_path / "hard.classifier" / "mine.txt").read_text() == "kept"


def test_a_trained_classifier_is_no_fresh_start(call):
    first = call()
    with pytest.raises(ModelError, match="a classifier already"):
        call(classifier=str(first.classifier), seed=3)


def test_a_decision_about_a_hard_row_can_be_explained(call):
    result = call()
    row = result.selected.to_pylist()[0]
    said = im.explain(row["id"], decisions=result.files["decisions"])
    assert "  label: hard" in said.lines


def test_a_row_without_a_prompt_is_left_out(call, pool, tmp_path):
    alone = {"messages": [{"role": "assistant", "content": "Nobody asked me."}]}
    made = [{"messages": [{"role": "user", "content": row["instruction"]},
                          {"role": "assistant", "content": row["output"]}]}
            for row in map(json.loads, pool.read_text().splitlines())]  # fmt: skip
    result = call(pool=write(tmp_path / "talk.jsonl", [*made, alone]), size=10)
    (row,) = result.decisions.filter(pc.equal(result.decisions["row"], len(made))).to_pylist()
    assert row["reason"].startswith("unscorable")


def test_an_outage_is_no_label(call, tmp_path):
    """What a server could not say is asked for again; the rounds are as if it had been well."""
    with JudgeServer() as server:
        judge = {"judge": "endpoint", "set": [f"endpoint.base_url={server.url}", "endpoint.model=j",
                 "endpoint.attempts=1", "endpoint.concurrency=1"]}  # fmt: skip
        server.faults = [None] * 5 + [500]
        with pytest.raises(InstructmineError, match=r"1 of 8 rows could not be labelled \(unansw"):
            call(**judge)
        result = call(**judge)
        assert result.manifest["iterate"]["unlabelled"] == {}
        whole = call(**judge, workdir=tmp_path / "other")
    assert result.decisions.equals(whole.decisions)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": None, "fraction": 2.0}, "out of range"),
        ({"alpha": 2.0}, "--alpha"),
        ({"ties": "maybe"}, "a tie counts as"),
        ({"take": "luck"}, "by score or random"),
        ({"gate": ["reward is good"]}, "cannot read the gate"),
        ({"judge": "rewrad"}, "did you mean reward"),
        ({"max_cost": 1.0}, "--price-in"),
        ({"size": 100}, "100"),
        ({"seed": -1}, "--seed"),
        ({"stop_accuracy": 70.0}, "--stop-accuracy"),
        ({"stop_accuracy": float("nan")}, "--stop-accuracy"),
        ({"draw": 0.01}, "below --batch"),
    ],
)
def test_what_cannot_be_is_one_clear_line(call, options, words):
    with pytest.raises(UsageError) as found:
        call(**options)
    assert words in str(found.value) and "\n" not in str(found.value)


def test_a_judge_that_always_says_the_same_teaches_nothing(call, monkeypatch):
    monkeypatch.setattr("instructmine.stages._labels.Labeller._label", lambda *_: "easy")
    with pytest.raises(EvidenceError, match="nothing to learn"):
        call()


def test_a_base_model_that_says_nothing_is_named(call, monkeypatch):
    from instructmine.verdicts import Answer

    monkeypatch.setattr(
        "instructmine.models.generate.Generator.answer",
        lambda self, asked: ((i, Answer("  ")) for i in range(len(asked))),
    )
    with pytest.raises(EvidenceError, match="all 18 labels are 'hard' .18 answers .* are empty"):
        call()


def test_agreement_of_both_orders_is_counted_and_the_same_after_a_resume(call):
    """A judge that prefers what comes first, but for pairs of which one is much longer."""

    def decide(first, second):
        gap = len(first) - len(second)
        return ("1" if gap > 0 else "2") if abs(gap) > 20 else "1"

    with JudgeServer(decide) as server:
        options = {
            "judge": "endpoint",
            "set": ["endpoint.model=judge-1", f"endpoint.base_url={server.url}"],
        }
        first = call(**options)
        asked = sum(server.statuses.values())
        again = call(**options)
        assert sum(server.statuses.values()) == asked == 2 * (8 + 2 * 9)
    agreement = first.manifest["iterate"]["order_agreement"]
    assert 0 < agreement < 1 and agreement == again.manifest["iterate"]["order_agreement"]


def test_prompts_longer_than_the_classifier_reads_are_counted(call, pool):
    made = [json.loads(line) for line in pool.read_text().splitlines()]
    for row in made[:7]:
        row["instruction"] = " ".join([row["instruction"], *["and so on"] * 400])
    write(pool, made)
    assert call().manifest["iterate"]["cut_prompts"] == 7


def test_fewer_rows_than_clusters_and_copies_of_a_prompt(call, pool):
    made = [json.loads(line) for line in pool.read_text().splitlines()][:30]
    copies = [{**row, "output": f"{row['output']} Again."} for row in made]
    result = call(pool=write(pool, [*made, *copies]), clusters=500)
    assert len(result) == 20 and 0 < result.rounds[-1]["coverage"] <= 1
