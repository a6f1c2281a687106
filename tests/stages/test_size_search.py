"""`search`: the size found, what is refused, and that nothing but the input decides."""

import gc
import json
import math

import numpy as np
import pytest

import instructmine as im
from instructmine.errors import EvidenceError, MissingExtraError, UsageError
from instructmine.results import SizeSearch, TrialPlan
from instructmine.trial_table import Trials
from pools import rows, write
from tiny_models import CHATML


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A work folder for all tests that do not ask what was trained."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(autouse=True)
def usual_workdir(kept, monkeypatch):
    monkeypatch.setenv("INSTRUCTMINE_WORKDIR", str(kept))
    gc.freeze()  # every training collects garbage; the libraries loaded here are none
    yield
    gc.unfreeze()


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """A work folder of the test's own."""
    monkeypatch.setenv("INSTRUCTMINE_WORKDIR", str(tmp_path / "work"))
    return tmp_path / "work"


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return write(tmp_path_factory.mktemp("pool") / "pool.jsonl", rows(40))


def prompts(path, words, what):
    made = [
        {"prompt": f"Which {what} has number {n} on the old wheel?", "response": word}
        for n, word in enumerate(words)
    ]
    return write(path, made)


@pytest.fixture
def evals(tmp_path):
    return prompts(tmp_path / "own.jsonl", ["Blue as the sea.", "Red.", "Green grass."], "colour")


@pytest.fixture
def call(tiny, pool, evals, tmp_path):
    def run(**options):
        base = {
            "base_model": str(tiny("llama", template=CHATML)), "eval": evals, "seed": 3,
            "searcher": "grid", "minimum": 8, "maximum": 32, "seeds": 2, "threads": 1,
            "rule": "output_length:higher", "device": "cpu",
        }  # fmt: skip
        usual = ["sft.batch_size=8", "sft.epochs=1", "sft.precision=float32", "grid.number=3"]
        settings = [*usual, *options.pop("set", [])]
        return im.search(options.pop("pool", pool), set=settings, **(base | options))

    return run


@pytest.fixture
def trained(workdir, monkeypatch):
    """Count the trainings, all of them new."""
    import instructmine.models.finetune as finetune

    counted, fine_tune = [], finetune.fine_tune

    def counting(base, examples, *rest, **options):
        counted.append((len(examples), options["seed"]))
        return fine_tune(base, examples, *rest, **options)

    monkeypatch.setattr(finetune, "fine_tune", counting)
    return counted


def without_times(summary):
    cost = {name: value for name, value in summary["cost"].items() if name != "seconds"}
    return {**summary, "cost": cost}


def test_every_size_is_a_prefix_of_what_select_chooses(call, pool, trained, tmp_path):
    found = call()
    assert isinstance(found, SizeSearch)
    assert trained == [(n, s) for n in (32, 16, 8) for s in (3, 4)]  # seeds paired over sizes
    assert found.curve.sizes == (8, 16, 32) and found.eval == "own"
    assert found.size in found.curve.sizes
    selected = im.select(pool, size=found.size, rule="output_length:higher")
    from instructmine.identity import ids_digest

    ids = [one.encode() for one in selected.selected.column("id").to_pylist()]
    table = found.trials.table
    own = table.filter(np.asarray(table.column("size")) == found.size)
    assert set(own.column("subset").to_pylist()) == {ids_digest(ids)}
    assert found.summary["next"].startswith(
        f"instructmine select {pool} --size {found.size} --rule output_length:higher --seed 3"
    )
    assert "sft" not in found.summary["next"]


def test_the_files_hold_the_curve_and_every_training(call, evals, tmp_path):
    result = call(out=tmp_path / "search.json")
    assert set(result.files) == {"search", "trials", "plot", "manifest", "rejected"}
    data = json.loads((tmp_path / "search.json").read_text())
    assert data["size"] == result.size and data["asked"] == [8, 16, 32]
    assert [(row["size"], row["seeds"]) for row in data["curve"]] == [(8, 2), (16, 2), (32, 2)]
    assert data["cost"]["trials"] == 6 and data["cost"]["rows"] == 2 * (8 + 16 + 32)
    assert data["stopped"] == "nothing left to propose"
    assert {one["searcher"] for one in data["replays"]} == {"blend", "grid", "halving", "random"}
    assert "interpolated" in data["replays_are"]
    trials = Trials.read(tmp_path / "search.trials.parquet")
    assert len(trials) == 6
    assert trials.table.column("design").to_pylist() == ["prefix"] * 6
    assert set(trials.table.column("stratum").to_pylist()) == {"top by output_length"}
    assert trials.about["eval"]["name"] == "own" and len(trials.about["eval"]["prompts"]) == 3
    for point in result.curve.points:
        own = trials.column("loss")[trials.column("size") == point.size]
        assert own.mean() == pytest.approx(point.loss)
    manifest = json.loads((tmp_path / "search.manifest.json").read_text())
    assert manifest["command"] == "search"
    assert (tmp_path / "search.png").read_bytes().startswith(b"\x89PNG")
    assert len(result.explain()) == 4


def test_the_same_command_trains_nothing_and_workers_have_no_influence(call, trained, tmp_path):
    first = call(searcher="blend", max_trials=6)
    count = len(trained)
    assert without_times(call(searcher="blend", max_trials=6).summary) == without_times(
        first.summary
    )
    assert len(trained) == count
    beside = call(searcher="halving", workers=2, set=["halving.number=3"], max_trials=4)
    alone = call(searcher="halving", set=["halving.number=3"], max_trials=4)
    assert without_times(beside.summary) == without_times(alone.summary)
    assert len(alone.trials) == 4


def test_a_stored_search_stops_at_the_same_place(call, trained):
    seconds = call().summary["cost"]["seconds"]
    first = call(max_minutes=seconds / 3 / 60)
    count = len(trained)
    again = call(max_minutes=seconds / 3 / 60)
    assert again.summary == first.summary and len(trained) == count
    assert "--max-minutes" in first.summary["stopped"]
    short = call(max_tokens=3000)
    assert short.summary["stopped"] == "--max-tokens 3,000"
    assert short.summary["cost"]["tokens"] >= 3000


def test_fixed_steps_give_every_size_the_same(call):
    table = call(match="steps").trials
    assert set(table.column("steps")) == {4}  # 32 rows in batches of 8
    assert set(call(match="steps", steps=2).trials.column("steps")) == {2}
    assert set(call().trials.column("steps")) == {1, 2, 4}


def test_further_rankings_are_measured_at_the_same_sizes(call, pool, tmp_path):
    write(tmp_path / "mine.jsonl", rows(40)[::-1])
    result = call(compare=["random", "longest", str(tmp_path / "mine.jsonl")])
    names = ["top by output_length", "random", "longest", str(tmp_path / "mine.jsonl")]
    assert list(result.curves) == names
    assert all(by_set["own"].sizes == (8, 16, 32) for by_set in result.curves.values())
    table = result.trials.table.to_pylist()
    drawn = {row["subset"] for row in table if row["stratum"] == "random"}
    assert len(drawn) == 6  # every seed draws its own
    kept = {row["subset"] for row in table if row["stratum"] == "longest"}
    assert len(kept) == 3
    against = result.summary["against_random"]
    assert {row["ranking"] for row in against} == set(names) and len(against) == 12
    assert without_times(call().summary)["size"] == result.size  # others have no influence
    assert len(result.summary["shapes"]) == 4


def test_sizes_beyond_what_the_selector_decides_are_said(call):
    found = call(selector="random", within=0.5)
    assert (
        "random by output_length within 0.5: the selector decided the first 20 of 32 rows; the "
        "rest follows by quality"
    ) in found.summary["warnings"]


def test_further_sets_are_measured_and_never_searched_by(call, tmp_path):
    other = prompts(tmp_path / "o.jsonl", ["Long ago.", "Never."], "year")
    result = call(report_eval=[f"held={other}"])
    assert list(result.curves["top by output_length"]) == ["own", "held"]
    assert result.eval == "own" and "loss:held" in result.trials.table.column_names
    assert result.size == call().size


def test_a_size_that_diverges_is_left_out_with_its_reason(call, workdir, monkeypatch):
    import instructmine.models.finetune as finetune

    step = finetune._Training._step
    monkeypatch.setattr(
        finetune._Training, "_step",
        lambda self, batch: math.nan if self.seed == 4 and len(self.rows) == 16 else
        step(self, batch),
    )  # fmt: skip
    result = call()
    assert result.curve.sizes == (8, 32)
    (reason,) = result.summary["skipped"].values()
    assert reason.startswith("diverged: the training loss is nan")
    assert any("size 16 is left out: 1 trainings failed" in w for w in result.summary["warnings"])
    assert result.trials.table.column("error").null_count == 5


def test_trainings_that_all_diverge_say_no(call):
    settings = ["sft.epochs=3", "sft.warmup=0", "sft.learning_rate=1e30"]
    with pytest.raises(EvidenceError, match="every training failed .diverged.*learning_rate"):
        call(set=settings)


def test_a_small_pool_cuts_the_default_range_and_says_so(call):
    result = call(minimum=None, maximum=None, set=["grid.number=2"], seeds=1)
    assert result.summary["range"] == [3, 40]
    text = " ".join(result.summary["warnings"])
    assert "--max 10,000 was cut to the 40 usable rows" in text and "--min 512 was cut to 3" in text
    assert "one seed: how much trainings of one size differ is not known" in text


def test_a_dry_run_estimates_and_trains_nothing_of_the_search(call, workdir, tmp_path):
    plan = call(dry_run=True)
    assert isinstance(plan, TrialPlan)
    assert (plan.rows, plan.trials, plan.finished) == (40, 6, 0)
    assert plan.measured == "a short training" and not (workdir / "trials").exists()
    assert not (tmp_path / "search.json").exists()
    assert call(dry_run=True, searcher="blend", compare=["random"]).trials > 12


def fitted(tmp_path, evals):
    """A rule that was fitted on the eval set."""
    from instructmine.stages._evals import describe_set, read_eval_set

    rule = {
        "name": "mine", "intercept": 1.0, "coefficients": {"output_length": -0.1},
        "about": {"eval": dict(describe_set(read_eval_set(evals)))},
    }  # fmt: skip
    path = tmp_path / "rule.json"
    path.write_text(json.dumps(rule))
    return path


def test_an_eval_set_that_the_rule_was_fitted_on_is_refused(call, evals, tmp_path):
    with pytest.raises(UsageError, match="rule 'mine' was fitted on 3 prompts of eval set 'own'"):
        call(rule=str(fitted(tmp_path, evals)))
    other = prompts(tmp_path / "o.jsonl", ["Long ago.", "Never."], "year")
    with pytest.raises(UsageError, match="fitted on 3 prompts of eval set 'again'"):
        call(rule=str(fitted(tmp_path, evals)), eval=other, report_eval=[f"again={evals}"])
    with pytest.raises(UsageError, match="fitted on 3 prompts"):
        call(compare=[f"rule:{fitted(tmp_path, evals)}"])


def test_eval_sets_that_overlap_each_other_the_pool_or_the_target_are_refused(
    call, evals, pool, tmp_path
):
    with pytest.raises(UsageError, match="share 3 prompts .*cannot report how good it is"):
        call(report_eval=[f"again={evals}"])
    leak = [{"instruction": "Say in eight plain words what the weather in town was.",
             "input": "", "output": "Wet."}]  # fmt: skip
    leaky = write(tmp_path / "leaky.jsonl", leak)
    both = write(
        tmp_path / "e.jsonl", [{"prompt": leak[0]["instruction"], "response": "It was wet."}]
    )
    with pytest.raises(UsageError, match="1 pool rows occur in an eval set .*--drop-overlap"):
        call(pool=[pool, leaky], eval=both)
    kept = call(pool=[pool, leaky], eval=both, drop_overlap=True, seeds=1)
    assert f"--decontaminate {both}" in kept.summary["next"]
    with pytest.raises(UsageError, match="1 rows of target .* occur in the eval set"):
        call(eval=both, selector="target", target=leaky)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"maximum": 41}, "--max 41 is more than the 40 usable rows of the pool"),
        ({"minimum": 50, "maximum": None}, "--min 50 is more than the 40 usable rows"),
        ({"minimum": 32}, "--min 32 must be below --max 32"),
        ({"minimum": 0}, "--min must be 1 or more"),
        ({"maximum": -1}, "--max must be 1 or more"),
        ({"seeds": 0}, "--seeds must be 1 or more"),
        ({"max_trials": 0}, "--max-trials must be above 0"),
        ({"max_minutes": -1.0}, "--max-minutes must be above 0"),
        ({"max_tokens": 0}, "--max-tokens must be above 0"),
        ({"max_trials": 1}, "--max-trials 1 is too few for one size, which takes 2 trainings"),
        ({"max_tokens": 10}, "--max-tokens 10 is too few: the smallest size takes about"),
        ({"patience": -1}, "--patience must be 0"),
        ({"searcher": "blond"}, "no searcher is called 'blond'; did you mean blend"),
        ({"match": "epoch"}, "no match is called 'epoch'; did you mean epochs"),
        ({"steps": 4}, "--steps is a number from 1 on, and goes with --match steps"),
        ({"set": ["sft.steps=4"]}, "sft.steps is set; pass --match steps"),
        ({"set": ["grid.numbr=4"]}, "no option of grid is called 'numbr'; did you mean number"),
        ({"compare": ["base"]}, "'base' is no ranking"),
        ({"compare": ["longst"]}, "no strategy is called 'longst'; did you mean longest"),
        ({"selector": "target"}, "selector 'target by reward' needs target|pass --target"),
        ({"out": "search.csv"}, "name the output search.json"),
        ({"workers": 0}, "--workers must be 1 or more"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_clear_line(call, workdir, options, words):
    with pytest.raises(UsageError, match=words) as caught:
        call(**options)
    assert "\n" not in str(caught.value) and not (workdir / "trials").exists()


def test_all_stands_for_every_ranking(call):
    plan = call(compare=["all"], dry_run=True, set=["grid.number=2"], seeds=1, maximum=9)
    assert plan.trials > 2 * 10


def test_a_ranking_file_that_ends_too_early_is_refused(call, tmp_path):
    short = write(tmp_path / "short.jsonl", rows(20))
    with pytest.raises(UsageError, match="holds 20 usable rows and 32 are to be trained on"):
        call(compare=[str(short)])


def test_a_missing_package_names_its_extra(call, monkeypatch):
    import instructmine.stages._size_summary as summary

    monkeypatch.setattr(summary, "find_spec", lambda name: None if name == "flaml" else object())
    with pytest.raises(MissingExtraError, match=r"searcher 'blend' needs FLAML.*\[search\]"):
        call(searcher="blend")
    assert {one["searcher"] for one in call().summary["replays"]} == {"grid", "halving", "random"}


def test_without_matplotlib_there_is_no_plot(call, monkeypatch, tmp_path):
    import instructmine.stages._size_plot as size_plot

    monkeypatch.setattr(size_plot, "find_spec", lambda name: None)
    assert "plot" not in call(seeds=1, out=tmp_path / "search.json").files
    assert not (tmp_path / "search.png").exists()


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        ([8, 20, 700], [8, 20, 700]),
        ([512, 875, 2556, 7465, 10000], [1000, 2000, 3000, 5000, 10000]),
        ([100, 150, 200, 250, 300, 400, 500, 600, 700], [100, 200, 300, 500]),
        ([128 * 2**n for n in range(9)], [300, 1000, 3000, 10000, 30000]),
        (list(range(601, 610)), list(range(601, 610))),
    ],
)
def test_the_axis_names_so_many_sizes_as_can_be_read(sizes, named):
    import instructmine.stages._size_plot as size_plot

    assert size_plot._ticks(sizes) == named
