"""`instructmine search`: what it prints, and that a killed search goes on to the same result."""

import gc
import json
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

from pools import write
from tiny_models import CHATML


@pytest.fixture(autouse=True)
def frozen():
    gc.freeze()  # every training collects garbage; the libraries loaded here are none
    yield
    gc.unfreeze()


@pytest.fixture
def command(tiny, pool, tmp_path):
    evaluation = write(
        tmp_path / "eval.jsonl",
        [{"prompt": f"Which colour has number {n} on the old wheel?", "response": "Blue."}
         for n in range(3)],
    )  # fmt: skip
    base = tiny("llama", template=CHATML)
    return ["search", str(pool), "--base-model", str(base), "--eval", str(evaluation),
            "--min", "8", "--max", "32", "--seeds", "2", "--rule", "output_length:higher",
            "--searcher", "grid", "--set", "grid.number=3", "--set", "sft.batch_size=8",
            "--set", "sft.epochs=1", "--threads", "1", "--device", "cpu"]  # fmt: skip


def test_it_says_which_size_and_what_to_do_next(run, command, pool, tmp_path):
    out = tmp_path / "search.json"
    code, text, err = run(*command, "--compare", "random", "-o", out)
    assert code == 0, err
    size = json.loads(out.read_text())["size"]
    assert f"train on {size} examples: " in text
    assert "top by output_length, loss on eval:" in text and "above lowest" in text
    assert "random: " in text and "better than random at" in text
    assert "replayed on the measured curve, interpolated" in text
    assert f"next: instructmine select {pool} --size {size} --rule output_length:higher" in text
    code, text, _ = run(*command, "-o", out, "--json")
    assert json.loads(text)["size"] == size and json.loads(text)["files"]["search"] == str(out)
    code, text, _ = run(*command, "--dry-run")
    assert code == 0 and "6 trials of 40 rows, 6 of them finished" in text
    assert "as if the loss only fell" in text


def test_a_killed_search_goes_on_to_the_same_result(run, command, workdir, tmp_path):
    more = ["--searcher", "blend", "--max-trials", "6"]
    process = subprocess.Popen(
        [sys.executable, "-m", "instructmine", *command, *more, "-o", str(tmp_path / "a.json")],
        stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    while process.poll() is None and len(list(workdir.glob("trials/*/loss-*.json"))) < 2:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    before = {path: path.stat().st_mtime_ns for path in workdir.glob("trials/*/loss-*.json")}
    assert 0 < len(before) < 6, "it ended before the signal: make the trainings larger"

    assert run(*command, *more, "-o", tmp_path / "a.json")[0] == 0
    after = {path: path.stat().st_mtime_ns for path in workdir.glob("trials/*/loss-*.json")}
    assert len(after) == 6 and before.items() <= after.items()  # only what was missing
    assert run(*command, *more, "-o", tmp_path / "b.json", "--workdir", tmp_path / "clean")[0] == 0
    again, clean = (json.loads((tmp_path / f"{name}.json").read_text()) for name in "ab")
    for one in (again, clean):
        del one["cost"]["seconds"]
    assert again == clean
    tables = [pq.read_table(tmp_path / f"{name}.trials.parquet") for name in "ab"]
    again, clean = (table.drop_columns(["seconds"]) for table in tables)
    assert again.equals(clean)
    assert not list(workdir.glob("trials/*/model*"))


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (["--max", "41"], 2, "error: --max 41 is more than the 40 usable rows of the pool"),
        (["--searcher", "gird"], 2, "error: no searcher is called 'gird'; did you mean grid?"),
        (["--max-tokens", "5"], 2, "error: --max-tokens 5 is too few"),
        (["--max-minutes", "0"], 2, "error: --max-minutes must be above 0"),
    ],
)
def test_what_cannot_be_is_one_line(run, command, tmp_path, more, code, words):
    found, _, err = run(*command, *more, "-o", tmp_path / "s.json")
    assert found == code and err.splitlines()[-1].startswith(words)
    assert "Traceback" not in err and not (tmp_path / "s.json").exists()


def test_it_asks_for_an_output(run, command):
    code, _, err = run(*command)
    assert code == 2 and err.splitlines()[-1].startswith("error: name the output: -o search.json")
