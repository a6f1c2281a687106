"""`trials`: the table, what is refused, and that a stopped run goes on to the same table."""

import json
import math

import numpy as np
import pyarrow.parquet as pq
import pytest

import instructmine as im
from instructmine.errors import EvidenceError, ModelError, PoolError, UsageError
from instructmine.results import TrialPlan
from instructmine.trial_table import Trials
from pools import rows, write
from tiny_models import CHATML


@pytest.fixture(autouse=True)
def workdir(tmp_path, monkeypatch):
    monkeypatch.setenv("INSTRUCTMINE_WORKDIR", str(tmp_path / "work"))
    return tmp_path / "work"


@pytest.fixture
def pool(tmp_path):
    one = write(tmp_path / "short.jsonl", rows(30))
    other = write(tmp_path / "long.jsonl", rows(30, start=30))
    return [one, other]


@pytest.fixture
def evals(tmp_path):
    made = [
        {"prompt": f"Which colour has number {n} on the old wheel of paints?", "response": word}
        for n, word in enumerate(["Blue as the sea.", "Red.", "Green like grass.", "Yellow."])
    ]
    return write(tmp_path / "fit.jsonl", made)


@pytest.fixture
def call(tiny, pool, evals, tmp_path):
    def run(**options):
        base = {
            "base_model": str(tiny("llama", template=CHATML)), "eval": evals, "count": 4,
            "size": 10, "indicators": ["length", "mtld"], "seed": 3, "threads": 1,
            "set": ["sft.batch_size=8", "sft.epochs=1", "sft.precision=float32"],
            "out": tmp_path / "trials.parquet", "device": "cpu",
        }  # fmt: skip
        return im.trials(options.pop("pool", pool), **(base | options))

    return run


def without_times(table):
    return table.drop_columns(["seconds", "checkpoint"])


def test_the_table_has_a_row_per_trial_and_means_over_its_members(call, pool, tmp_path):
    result = call(noise=1)
    table = result.trials
    assert len(table) == 4 + 3
    names = table.table.column_names
    assert names == [
        "trial", "subset", "seed", "design", "stratum", "size", "epochs", "steps", "loss",
        "log_loss", "loss_se", "tokens", "seconds", "source:short", "source:long",
        "input_length", "output_length", "log_output_length", "mtld", "checkpoint", "error",
    ]  # fmt: skip
    assert table.column("seed").tolist()[:4] == [3, 4, 5, 6]
    assert len(set(table.column("seed").tolist())) == 7
    subsets = table.table.column("subset").to_pylist()
    assert subsets[4:] == [subsets[0]] * 3
    assert np.allclose(np.log(table.column("loss")), table.column("log_loss"))
    assert np.allclose(table.proportions().sum(axis=1), 1)
    assert table.seed_noise() > 0
    # The mean over a subset that is known: the whole of one source.
    whole = call(pool=pool[:1], size=30, count=1).trials
    scores = im.score(pool[:1], indicators=["length", "mtld"]).scores
    for name in ("input_length", "output_length", "log_output_length", "mtld"):
        assert whole.column(name)[0] == pytest.approx(scores.column(name).mean())


def test_the_loss_is_that_of_a_model_trained_by_hand(call, tiny, pool, evals, tmp_path):
    from instructmine.contracts import Context
    from instructmine.evals import EvalSet
    from instructmine.evaluators.loss import Loss
    from instructmine.formats import open_pool
    from instructmine.modelref import ModelRef
    from instructmine.trainers.sft import Sft

    table = call(pool=pool[:1], size=30, count=1, keep_checkpoints=True).trials
    examples = [row.example for row in open_pool(pool[:1])]
    base = ModelRef(str(tiny("llama", template=CHATML)))
    cpu = Context(device="cpu", threads=1)
    trainer = Sft(base_model=base, batch_size=8, epochs=1, precision="float32")
    made = trainer.train(examples, seed=3, folder=tmp_path / "own", context=cpu)
    one = EvalSet.of("fit", [row.example for row in open_pool([evals])])
    (loss,) = Loss().evaluate(made.model, [one], context=cpu)
    assert table.column("loss")[0] == pytest.approx(loss.loss, abs=1e-9)
    assert table.column("loss_se")[0] == pytest.approx(loss.se, abs=1e-9)
    folder = table.table.column("checkpoint")[0].as_py()
    (kept,) = Loss().evaluate(ModelRef(folder), [one], context=cpu)
    assert kept == loss


def test_a_second_run_trains_nothing_and_a_longer_one_only_the_rest(call, monkeypatch):
    import instructmine.models.finetune as finetune

    first = call()
    trained = []
    fine_tune = finetune.fine_tune
    monkeypatch.setattr(
        finetune, "fine_tune", lambda *a, **k: trained.append(1) or fine_tune(*a, **k)
    )
    assert call().trials.table.equals(first.trials.table)
    assert not trained
    longer = call(count=6).trials
    assert len(trained) == 2
    assert without_times(longer.table.slice(0, 4)).equals(without_times(first.trials.table))


def test_a_stopped_run_goes_on_to_the_same_table(call, tmp_path, monkeypatch):
    import instructmine.models.finetune as finetune

    clean = call(workdir=tmp_path / "clean").trials
    step, taken = finetune._Training._step, []

    def stopped(self, batch):
        taken.append(1)
        if len(taken) == 6:  # in the middle of the third trial
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(finetune._Training, "_step", stopped)
    with pytest.raises(KeyboardInterrupt):
        call()
    monkeypatch.setattr(finetune._Training, "_step", step)
    again = call().trials
    assert without_times(again.table).equals(without_times(clean.table))


def test_workers_give_the_same_table(call, tmp_path):
    alone = call(workdir=tmp_path / "alone").trials
    beside = call(workers=2, count=4).trials
    assert without_times(beside.table).equals(without_times(alone.table))


def test_pool_order_and_file_names_do_not_decide(call, pool, tmp_path):
    first = call().trials.table
    again = call(workdir=tmp_path / "other").trials.table
    assert without_times(first).equals(without_times(again))
    (tmp_path / "more").mkdir()
    shuffled = write(tmp_path / "more" / "short.jsonl", rows(30)[::-1])
    moved = call(pool=[shuffled, pool[1]], workdir=tmp_path / "third").trials.table
    assert moved.column("subset").equals(first.column("subset"))
    assert np.allclose(moved.column("loss").to_numpy(), first.column("loss").to_numpy(), atol=1e-6)


def test_stratified_subsets_and_knn_inside_the_subset(call, pool):
    table = call(design="stratified", indicators=["length", "knn"], count=6).trials
    assert [text.split(",")[0] for text in table.table.column("stratum").to_pylist()] == [
        "low input_length", "low output_length", "high input_length", "high output_length",
        "middle input_length", "middle output_length",
    ]  # fmt: skip
    lengths = table.column("output_length")
    assert lengths[1] < lengths[5] < lengths[3]
    # knn6 of the only subset of a whole pool is the pool's own.
    whole = call(pool=pool[:1], indicators=["knn"], size=30, count=1).trials
    knn = im.score(pool[:1], indicators=["knn"]).scores.column("knn6").mean()
    assert whole.column("knn6")[0] == pytest.approx(knn, abs=1e-6)


def test_further_eval_sets_are_measured_and_kept_apart(call, evals, tmp_path):
    report = write(tmp_path / "other.jsonl", [{"prompt": "Why is the sky so high?",
                                              "response": "Nobody can reach it."}])  # fmt: skip
    result = call(report_eval=[f"held={report}"])
    assert "loss:held" in result.trials.table.column_names
    assert result.trials.about["eval"]["name"] == "fit"
    assert len(result.trials.about["eval"]["prompts"]) == 4
    with pytest.raises(UsageError, match=r"share 4 prompts .*fit.jsonl:0.*cannot report"):
        call(report_eval=[f"again={evals}"])
    with pytest.raises(UsageError, match="two eval sets are called 'fit'|share 4 prompts"):
        call(report_eval=[evals])


def test_a_pool_that_holds_the_eval_set_is_refused_with_its_rows(call, pool, tmp_path):
    leak = [{"instruction": r["instruction"] + " Say it in eight plain words.", "input": "",
             "output": "Tell me."} for r in rows(2)]  # fmt: skip
    leaky = write(tmp_path / "leaky.jsonl", leak)
    evaluation = write(tmp_path / "e.jsonl", [{"prompt": leak[1]["instruction"], "response": "x"}])
    with pytest.raises(UsageError, match=r"1 pool rows occur .*leaky.jsonl:1 in .*e.jsonl:0"):
        call(pool=[*pool, leaky], eval=evaluation)
    result = call(pool=[*pool, leaky], eval=evaluation, drop_overlap=True)
    assert result.manifest["excluded"] == {"contaminated": 1}


def test_a_target_that_holds_the_eval_set_is_refused(call, evals):
    with pytest.raises(UsageError, match="4 rows of target .* occur in the eval set"):
        call(target=evals)


def test_a_target_adds_its_similarity(call, tmp_path):
    target = write(tmp_path / "target.jsonl", rows(3, start=900))
    table = call(target=target, count=2).trials
    assert "target_similarity" in table.indicators
    assert "target" in json.dumps(table.recipes["target_similarity"])


def test_a_run_of_which_every_trial_diverges_says_no(call):
    settings = ["sft.batch_size=8", "sft.epochs=3", "sft.precision=float32", "sft.warmup=0"]
    with pytest.raises(EvidenceError, match="every trial failed .diverged"):
        call(set=[*settings, "sft.learning_rate=1e30"])


def test_one_diverged_trial_leaves_the_others(call, monkeypatch):
    import instructmine.models.finetune as finetune

    step = finetune._Training._step
    monkeypatch.setattr(
        finetune._Training, "_step",
        lambda self, batch: math.nan if self.seed == 4 else step(self, batch),
    )  # fmt: skip
    table = call().trials
    assert np.isnan(table.column("log_loss")).tolist() == [False, True, False, False]
    assert table.table.column("error")[1].as_py().startswith("diverged: the training loss is nan")
    assert call().trials.table.equals(table.table)  # not trained again


def test_a_dry_run_estimates_and_trains_nothing_of_the_design(call, workdir, tmp_path):
    plan = call(dry_run=True)
    assert isinstance(plan, TrialPlan)
    assert (plan.rows, plan.trials, plan.finished) == (60, 4, 0)
    assert plan.seconds_each >= 0 and plan.measured == "a short training"
    assert not (workdir / "trials").exists() and not (tmp_path / "trials.parquet").exists()
    call(count=2)
    plan = call(dry_run=True)
    assert (plan.finished, plan.measured) == (2, "past trials")


def test_files_stand_beside_the_table(call, tmp_path, workdir):
    result = call()
    assert set(result.files) == {"trials", "manifest", "rejected"}
    back = Trials.read(tmp_path / "trials.parquet")
    assert back.recipes["mtld"]["type"] == "Mtld"
    assert back.about["trainer"]["epochs"] == 1
    manifest = json.loads((tmp_path / "trials.manifest.json").read_text())
    assert manifest["command"] == "trials"
    assert not list(workdir.rglob("model")) and not list(workdir.rglob("*.state"))
    assert pq.read_schema(tmp_path / "trials.parquet").metadata


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"design": "mixtur"}, UsageError, "no design is called 'mixtur'; did you mean mixture"),
        ({"count": 0}, UsageError, "--count must be 1 or more"),
        ({"size": 61}, UsageError, "61 rows cannot be drawn from 60 usable"),
        ({"trainer": "stf"}, UsageError, "no trainer is called 'stf'; did you mean sft"),
        ({"set": ["sft.epoch=1"]}, UsageError, "no option of sft is called 'epoch'"),
        ({"base_model": "./nowhere"}, ModelError, "model folder './nowhere' does not exist"),
        ({"out": "t.csv"}, UsageError, "name the output t.parquet"),
        ({"workers": 0}, UsageError, "--workers must be 1 or more"),
    ],
)
def test_what_cannot_be_is_one_clear_line(call, workdir, options, error, words):
    with pytest.raises(error) as caught:
        call(**options)
    assert not (workdir / "trials").exists()  # found out before anything was trained
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_an_eval_row_that_cannot_be_read_is_named(call, tmp_path):
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"prompt": "Hi", "response": "Ho"}\n{"prompt": "Hi", "response": 7}\n')
    with pytest.raises(PoolError, match=r"broken.jsonl:1 of the eval set cannot be read"):
        call(eval=broken)


@pytest.mark.parametrize("missing", ["training.json", "loss-*.json"])
def test_a_trial_killed_between_its_files_is_finished(call, workdir, missing):
    """The model is published first, then what training took, then the losses."""
    whole = call(keep_checkpoints=True, count=1).trials
    (folder,) = (workdir / "trials").iterdir()
    for pattern in ("loss-*.json", missing):
        for path in folder.glob(pattern):
            path.unlink()
    if (folder / "training.json").exists():  # as a run leaves it that keeps nothing
        facts = json.loads((folder / "training.json").read_text())
        (folder / "training.json").write_text(json.dumps({**facts, "kept": False}))
    again = call(count=1).trials
    assert again.column("loss") == whole.column("loss")
    assert not (folder / "model").exists()
    kept = call(keep_checkpoints=True, count=1).trials
    call(count=1)  # reads what is there
    assert (folder / "model").is_dir()
    assert kept.table.column("checkpoint")[0].as_py() == str(folder / "model")


def test_what_training_cuts_is_said(call):
    settings = ["sft.batch_size=8", "sft.epochs=1", "sft.precision=float32", "sft.max_length=40"]
    (line,) = call(set=settings, count=1).manifest["warnings"]
    assert "texts of all trials were longer than the model reads and were cut" in line
    assert call(count=1).manifest["warnings"] == []
