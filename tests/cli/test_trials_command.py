"""`instructmine trials`: what it prints, and that a killed run goes on to the same table."""

import json
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

from pools import write
from tiny_models import CHATML


@pytest.fixture
def command(tiny, pool, tmp_path):
    evaluation = write(
        tmp_path / "eval.jsonl",
        [{"prompt": f"Which colour has number {n} on the old wheel?", "response": "Blue."}
         for n in range(3)],
    )  # fmt: skip
    base = tiny("llama", template=CHATML)
    return ["trials", str(pool), "--base-model", str(base), "--eval", str(evaluation),
            "--count", "6", "--size", "12", "--indicators", "length", "--threads", "1",
            "--device", "cpu", "--set", "sft.batch_size=4"]  # fmt: skip


def test_it_says_what_came_out_and_what_to_do_next(run, command, tmp_path):
    out = tmp_path / "trials.parquet"
    code, text, _ = run(*command, "--noise", "1", "-o", out)
    assert code == 0
    assert "9 trials; log loss " in text and "seed noise: sd " in text
    assert f"next: instructmine fit {out} -o {tmp_path / 'rule.json'}" in text
    code, text, _ = run(*command, "--noise", "1", "-o", out, "--json")
    assert json.loads(text)["files"]["trials"] == str(out)
    code, text, _ = run(*command, "--dry-run")
    assert code == 0 and "6 trials of 40 rows, 6 of them finished" in text


def test_the_table_feeds_fit(run, command, tmp_path):
    out = tmp_path / "trials.parquet"
    assert run(*command, "--count", "14", "-o", out)[0] == 0
    code, text, err = run("fit", out, "-o", tmp_path / "rule.json", "--folds", "5",
                       "--permutations", "99", "--bootstraps", "20")  # fmt: skip
    assert code in (0, 3), err
    assert "14 trials, 3 indicators" in text
    assert (tmp_path / "rule.md").exists()


def test_a_killed_run_goes_on_to_the_same_table(run, command, workdir, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "instructmine", *command, "-o", str(tmp_path / "a.parquet")],
        stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    while process.poll() is None and not list(workdir.glob("trials/*/loss-*.json")):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    finished = len(list(workdir.glob("trials/*/loss-*.json")))
    assert 0 < finished < 6, "it ended before the signal: make the trials larger"

    assert run(*command, "-o", tmp_path / "a.parquet")[0] == 0
    assert run(*command, "-o", tmp_path / "b.parquet", "--workdir", tmp_path / "clean")[0] == 0
    again, clean = (pq.read_table(tmp_path / f"{name}.parquet") for name in "ab")
    for name in again.column_names:
        if name != "seconds":
            assert again.column(name).to_pylist() == clean.column(name).to_pylist(), name
    assert not list(workdir.glob("trials/*/model*"))


def test_a_pool_of_rows_too_few_is_one_line(run, command, tmp_path):
    code, _, err = run(*command, "--size", "41", "-o", tmp_path / "t.parquet")
    assert code == 2
    assert err.splitlines()[-1].startswith("error: a subset of 41 rows cannot be drawn from 40")
    assert "Traceback" not in err
