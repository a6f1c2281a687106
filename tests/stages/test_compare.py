"""`compare`: equal budgets, differences to random, files, and what is refused."""

import json

import pyarrow.parquet as pq
import pytest

import instructmine as im
from instructmine.errors import EvidenceError, UsageError
from instructmine.results import Comparison, TrialPlan
from pools import rows, write
from tiny_models import CHATML


@pytest.fixture(autouse=True)
def workdir(tmp_path, monkeypatch):
    monkeypatch.setenv("INSTRUCTMINE_WORKDIR", str(tmp_path / "work"))
    return tmp_path / "work"


@pytest.fixture
def pool(tmp_path):
    one = write(tmp_path / "short.jsonl", rows(30))
    other = write(tmp_path / "long.jsonl", rows(10, start=30))
    return [one, other]


@pytest.fixture
def evals(tmp_path):
    made = [
        {"prompt": f"Which colour has number {n} on the old wheel of paints?", "response": word}
        for n, word in enumerate(["Blue as the sea.", "Red.", "Green like grass.", "Yellow."])
    ]
    return write(tmp_path / "colours.jsonl", made)


@pytest.fixture
def call(tiny, pool, evals, tmp_path):
    def run(**options):
        base = {
            "base_model": str(tiny("llama", template=CHATML)), "eval": evals, "size": 8,
            "strategies": ["longest"], "seeds": 2, "threads": 1, "device": "cpu",
            "set": ["sft.batch_size=8", "sft.epochs=1", "sft.precision=float32"],
            "out": tmp_path / "comparison.parquet",
        }  # fmt: skip
        return im.compare(options.pop("pool", pool), **(base | options))

    return run


def by_strategy(result, **where):
    found = [row for row in result.table.to_pylist() if all(row[k] == v for k, v in where.items())]
    return {row["strategy"]: row for row in found}


def test_every_strategy_gets_the_same_rows_and_random_is_always_there(call):
    result = call(strategies=["longest", "base", "full"])
    assert isinstance(result, Comparison)
    found = by_strategy(result)
    assert set(found) == {"random", "longest", "base", "full"}
    assert [found[name]["rows"] for name in ("random", "longest", "base", "full")] == [8, 8, 0, 40]
    assert found["base"]["tokens_trained"] == 0 and found["base"]["seeds"] == 1
    assert found["random"]["verdict"] == "reference" and found["random"]["difference"] is None
    assert found["longest"]["tokens"] >= found["random"]["tokens"]
    assert found["longest"]["p_corrected"] >= found["longest"]["p"]
    assert sum(v for k, v in found["longest"].items() if k.startswith("source:")) == pytest.approx(
        1
    )


def test_the_base_model_is_measured_as_it_is(call, tiny, evals):
    from instructmine.contracts import Context
    from instructmine.evaluators.loss import Loss
    from instructmine.modelref import ModelRef
    from instructmine.stages._evals import read_eval_set

    found = by_strategy(call(strategies=["base"]))["base"]
    model = ModelRef(str(tiny("llama", template=CHATML)))
    (own,) = Loss().evaluate(model, [read_eval_set(evals)], context=Context("cpu", 1))
    assert found["loss"] == pytest.approx(own.loss)


def test_random_draws_with_every_seed_and_others_do_not(call, tmp_path):
    call(out=tmp_path / "c.parquet")
    prompts = pq.read_table(tmp_path / "c.prompts.parquet").to_pylist()
    assert {row["seed"] for row in prompts} == {0, 1} and len(prompts) == 2 * 2 * 4
    shared = json.loads((tmp_path / "c.manifest.json").read_text())["comparison"]["shared_rows"]
    assert shared["8"]["longest"]["longest"] == 1


def test_the_numbers_follow_from_the_losses_per_prompt(call, tmp_path):
    result = call(out=tmp_path / "c.parquet")
    prompts = pq.read_table(tmp_path / "c.prompts.parquet").to_pandas()
    for name, row in by_strategy(result).items():
        own = prompts[prompts.strategy == name]
        assert row["loss"] == pytest.approx(own.loss.mean())


def test_matched_by_tokens_no_one_spends_more(call):
    found = by_strategy(call(match="tokens", size=12))
    spent = [found[name]["tokens"] for name in ("random", "longest")]
    assert found["longest"]["rows"] < found["random"]["rows"] + 1
    assert max(spent) <= 12 * 1.2 * spent[0] / found["random"]["rows"]


def test_what_training_cuts_off_is_not_counted_as_spent(call, tmp_path):
    """Else a budget of tokens buys the longest rows a piece of what it buys the others."""
    made = rows(30)
    for row in made[:10]:
        row["output"] = row["output"] * 40
    pool = write(tmp_path / "uneven.jsonl", made)
    settings = ["sft.batch_size=8", "sft.epochs=1", "sft.precision=float32", "sft.max_length=16"]
    found = by_strategy(call(pool=pool, match="tokens", size=8, set=settings))
    assert found["longest"]["rows"] == 8
    assert found["longest"]["tokens_trained"] == found["random"]["tokens_trained"]


def test_matched_by_steps_the_full_pool_trains_no_longer(call):
    found = by_strategy(call(match="steps", size=16, strategies=["longest", "full"]))
    assert {found[name]["steps"] for name in found} == {2}
    assert found["full"]["rows"] == 40 and found["full"]["size"] == 16


def test_several_sizes_give_a_data_multiplier(call):
    result = call(size=[8, 16], strategies=["longest", "full"])
    assert {row["size"] for row in result.table.to_pylist()} == {8, 16}
    assert all(by_strategy(result, size=8)["longest"][k] for k in ("multiplier", "multiplier_text"))
    assert by_strategy(result, size=8)["full"]["multiplier"] is None


def test_random_alone_is_trained_at_further_sizes(call):
    result = call(random_size=[16, 32])
    assert {row["size"] for row in result.table.to_pylist()} == {8}


def test_a_rule_that_nobody_reads_is_not_measured(call):
    assert "mtld" not in call(rule="mtld:higher").manifest["indicators"]
    read = call(rule="mtld:higher", strategies=["longest", "rule"])
    assert "mtld" in read.manifest["indicators"]


def test_a_second_run_trains_nothing(call, monkeypatch):
    first = call()
    monkeypatch.setattr("instructmine.trainers.sft.Sft.train", None)
    again = call()
    assert again.table.drop_columns(["select_seconds"]).equals(
        first.table.drop_columns(["select_seconds"])
    )


def test_trials_and_compare_share_trainings(call, pool, evals, tiny, monkeypatch):
    """The same rows with the same seed are one training, whoever asks."""
    compared = call(strategies=["full"])
    monkeypatch.setattr("instructmine.trainers.sft.Sft.train", None)
    found = im.trials(
        pool, base_model=str(tiny("llama", template=CHATML)), eval=evals, count=1, size=40,
        indicators=["length"], threads=1, device="cpu",
        set=["sft.batch_size=8", "sft.epochs=1", "sft.precision=float32"],
    )  # fmt: skip
    full = by_strategy(compared)["full"]
    assert found.trials.column("tokens")[0] == full["tokens_trained"]


def test_a_ranking_from_a_file_takes_part(call, pool, tmp_path):
    chosen = im.select(pool, size=10, rule="output_length:lower", out=tmp_path / "short10.jsonl")
    assert len(chosen) == 10
    found = by_strategy(
        call(
            strategies=[
                str(tmp_path / "short10.jsonl"),
                str(tmp_path / "short10.decisions.parquet"),
            ]
        )
    )
    losses = [row["loss"] for name, row in found.items() if "short10" in name]
    assert len(losses) == 2 and losses[0] == losses[1]


def test_selectors_and_rules_by_name(call):
    found = by_strategy(call(strategies=["rule:output_length:lower", "longest-in-quantile"]))
    assert set(found) == {"random", "rule:output_length:lower", "longest-in-quantile"}


def test_a_diverged_training_is_left_out_and_said(call, monkeypatch):
    from instructmine.contracts import Checkpoint
    from instructmine.trainers.sft import Sft

    real = Sft.train

    def train(self, examples, *, seed, folder, context):
        if seed == 1 and len(examples) == 8 and len(done) < 1:
            done.append(seed)
            return Checkpoint(None, {"error": "diverged: loss is nan", "seconds": 1.0})
        return real(self, examples, seed=seed, folder=folder, context=context)

    done = []
    monkeypatch.setattr(Sft, "train", train)
    with pytest.raises(EvidenceError, match="only 1 trainings on 8 random rows"):
        call()
    result = call(strategies=["longest"], seeds=3)
    assert by_strategy(result)["random"]["seeds"] == 2
    assert any("random at 8, seed 1: diverged" in text for text in result.manifest["warnings"])


def test_a_dry_run_estimates(call, workdir):
    plan = call(dry_run=True, strategies=["longest", "full", "base"])
    assert isinstance(plan, TrialPlan)
    assert plan.trials == 6 and plan.finished == 0 and plan.seconds > 0


def test_a_rule_is_not_judged_on_what_it_was_fitted_on(call, evals, tmp_path, tiny, pool):
    from instructmine.stages._evals import describe_set, read_eval_set

    rule = {
        "name": "mine", "intercept": 0.0, "coefficients": {"output_length": -1.0},
        "about": {"eval": dict(describe_set(read_eval_set(evals)))},
    }  # fmt: skip
    (tmp_path / "rule.json").write_text(json.dumps(rule))
    with pytest.raises(UsageError, match="'mine' was fitted on 4 prompts of eval set 'colours'"):
        call(rule=str(tmp_path / "rule.json"), strategies=["rule"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 41}, "41"),
        ({"size": 0}, "--size and --random-size must be 1 or more"),
        ({"random_size": [50]}, "50"),
        ({"seeds": 1}, "--seeds must be 2 or more"),
        ({"match": "money"}, "cannot match by 'money'"),
        ({"strategies": ["longst"]}, "did you mean longest"),
        ({"strategies": ["target"]}, "--target"),
        ({"out": "c.json"}, "Parquet"),
    ],
)
def test_what_cannot_be_is_one_clear_line(call, options, words):
    with pytest.raises(UsageError) as found:
        call(**options)
    assert words in str(found.value) and "\n" not in str(found.value)


def test_the_gates_of_a_rule_bind_its_strategies_alone(call, pool, tmp_path):
    """A rule that gates nearly all of the pool has too few rows; a random draw has them all."""
    records = [json.loads(line) for path in pool for line in path.read_text().splitlines()]
    lengths = im.score(pool, indicators=["output_length"]).scores.column("output_length")
    assert len(lengths) == len(records)
    rule = {"name": "mine", "intercept": 0, "coefficients": {"output_length": 1}}
    path = tmp_path / "gated.json"
    bound = sorted(lengths)[-5]
    path.write_text(json.dumps(rule | {"gates": [f"output_length>={bound}"]}))
    with pytest.raises(UsageError, match="--size 8 is more than the 5 rows that 'rule' can take"):
        call(strategies=["rule"], rule=str(path))
    found = by_strategy(call(strategies=["rule"], rule=str(path), size=5))
    least = float(sum(sorted(lengths)[-5:]))
    assert found["rule"]["tokens"] > least > found["random"]["tokens"] / 2
    assert found["rule"]["rows"] == found["random"]["rows"] == 5


def test_a_ranking_of_another_pool_is_refused(call, tmp_path):
    write(tmp_path / "other.jsonl", rows(9, start=500))
    with pytest.raises(UsageError, match="9 of 9 rows of other are not in the pool"):
        call(strategies=[str(tmp_path / "other.jsonl")])


def test_a_ranking_that_ends_too_soon_is_refused(call, tmp_path):
    write(tmp_path / "few.jsonl", rows(3))
    with pytest.raises(UsageError, match="3 rows that .* can take"):
        call(strategies=[str(tmp_path / "few.jsonl")])


def test_one_source_balanced_is_random_under_another_name(call, pool):
    compared = call(strategies=["random-balanced"], seeds=3, pool=pool[:1])
    found = by_strategy(compared)
    assert found["random-balanced"]["loss"] == found["random"]["loss"]
    assert found["random-balanced"]["verdict"] == "no better than random"
    assert (
        "random and random-balanced at 8: the same rows, so one finding and not 2"
        in compared.manifest["warnings"]
    )


def test_a_part_too_small_for_the_size_is_said(call, tmp_path):
    target = write(tmp_path / "target.jsonl", rows(3, start=60))
    compared = call(strategies=["rule", "target-in-rule"], rule="output_length:higher",
                    target=target, size=30)  # fmt: skip
    assert [line for line in compared.manifest["warnings"] if "in-rule" in line] == [
        "target-in-rule at 30: the selector decided the first 20 of 30 rows; the rest follows by "
        "quality",
        "rule and target-in-rule at 30: the same rows, so one finding and not 2",
    ]
