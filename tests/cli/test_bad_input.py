"""One clear line for everything that can be wrong: what, where, what to do. No tracebacks."""

import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from pools import rows, write

RULE = ("--rule", "output_length:higher", "--size", 5)


def check_one_line(result, code, *parts):
    """Check the exit code and that stderr ends with exactly one error line with these parts."""
    errors = [line for line in result[2].splitlines() if line.startswith("error: ")]
    assert result[0] == code, result[2]
    assert len(errors) == 1, result[2]
    assert "Traceback" not in result[2]
    for part in parts:
        assert part in errors[0]


def test_a_missing_pool(run, tmp_path):
    check_one_line(
        run("select", tmp_path / "gone.jsonl", *RULE, "-o", tmp_path / "g.jsonl"), 1, "gone"
    )


def test_a_size_larger_than_the_pool(run, pool, tmp_path):
    result = run("select", pool, "--rule", "mtld:higher", "--size", 99, "-o", tmp_path / "g.jsonl")
    check_one_line(result, 2, "--size 99", "only 40 of 40", "ask for fewer")
    assert not (tmp_path / "g.jsonl").exists()


def test_a_missing_model_folder(run, pool, tmp_path):
    gone = tmp_path / "no-model"
    result = run("select", pool, "--size", 5, "--rule", "perplexity:lower", "-o",
                 tmp_path / "g.jsonl", "--set", f"perplexity.model={gone}")  # fmt: skip
    check_one_line(result, 1, str(gone), "does not exist", "give a folder or a hub id")


def test_no_network_for_a_hub_model(run, pool, tmp_path):
    model = ("--rule", "perplexity:lower", "--set", "perplexity.model=nobody/no-such-model")
    result = run("select", pool, "--size", 5, *model, "-o", tmp_path / "g.jsonl")
    check_one_line(result, 1, "nobody/no-such-model", "cannot be fetched", "local folder")


def test_a_read_only_work_folder(run, pool, tmp_path):
    (tmp_path / "plain").write_text("")
    result = run("select", pool, *RULE, "-o", tmp_path / "g.jsonl", "--workdir",
                 tmp_path / "plain" / "work")  # fmt: skip
    check_one_line(result, 1, "cannot use work folder", "--workdir")


def test_a_work_folder_that_turns_read_only(pool, tmp_path, workdir):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    workdir.mkdir()
    (workdir / "scores").mkdir()
    (workdir / "scores").chmod(0o500)
    done = command(pool, tmp_path)
    assert (done.returncode, done.stderr.count("error: ")) == (1, 1)
    assert "permission denied" in done.stderr


def command(pool, tmp_path, before=None, **options):
    return subprocess.run(
        [sys.executable, "-m", "instructmine", "select", str(pool), *map(str, RULE), "-o",
         str(tmp_path / "g.jsonl")],
        capture_output=True, text=True, preexec_fn=before, **options,
    )  # fmt: skip


def test_a_full_disk(pool, tmp_path):
    """A limit on the size of files stands for the full disk: writing fails half-way."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900))

    done = command(pool, tmp_path, before=limit)
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 1
    assert "while writing" in done.stderr
    assert "run again" in done.stderr
    assert not list(tmp_path.rglob("*.tmp"))
    assert not (tmp_path / "g.jsonl").exists()


def test_an_unwritable_output(run, pool, tmp_path):
    (tmp_path / "plain").write_text("")
    result = run("select", pool, *RULE, "-o", tmp_path / "plain" / "g.jsonl")
    check_one_line(result, 1, "while writing", "choose another place")


@pytest.fixture
def slow_pool(tmp_path):
    """So many rows that a signal comes in the middle."""
    return write(tmp_path / "large.jsonl", rows(60_000))


def _start(pool, tmp_path, *more):
    return subprocess.Popen(
        [sys.executable, "-m", "instructmine", "score", str(pool), "--indicators", "mtld", "-o",
         str(tmp_path / "s.parquet"), *more],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def _wait_for_parts(workdir, process):
    while process.poll() is None and not list(workdir.rglob("parts/*.parquet")):
        time.sleep(0.005)
    assert process.poll() is None, "it ended before the signal: make the pool larger"


def test_ctrl_c_keeps_what_was_scored(slow_pool, tmp_path, workdir):
    process = _start(slow_pool, tmp_path)
    _wait_for_parts(workdir, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1].startswith("error: interrupted; what was scored is kept")
    assert "Traceback" not in err
    assert not (tmp_path / "s.parquet").exists()


def test_killed_in_the_middle_and_run_again_is_a_clean_run(slow_pool, tmp_path, workdir, run):
    process = _start(slow_pool, tmp_path)
    _wait_for_parts(workdir, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    stored = sum(pq.read_metadata(p).num_rows for p in workdir.rglob("parts/*.parquet"))
    assert 0 < stored < 60_000

    code, out, _ = run("score", slow_pool, "--indicators", "mtld", "-o", tmp_path / "a.parquet",
                       "--json")  # fmt: skip
    assert code == 0
    assert f'"computed": {60_000 - stored}' in out
    code, _, _ = run("score", slow_pool, "--indicators", "mtld", "-o", tmp_path / "b.parquet",
                     "--workdir", tmp_path / "clean")  # fmt: skip
    assert code == 0
    again, clean = (pq.read_table(tmp_path / f"{name}.parquet") for name in "ab")
    assert again.equals(clean)
    assert np.isfinite(again.column("mtld").to_numpy()).all()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--rule", "rewrad"), ("no rule is called 'rewrad'", "did you mean reward")),
        (("--selector", "tpo"), ("no selector is called 'tpo'", "did you mean top")),
        (("--profile", "startr"), ("no profile is called 'startr'", "did you mean starter")),
        (("--format", "alpacca"), ("alpacca", "did you mean alpaca")),
        (("--dedup", "nearly"), ("no kind of dedup is called 'nearly'", "did you mean near")),
        (("--engine", "loca"), ("no engine is called 'loca'", "did you mean local")),
        (("--indicators", "mtdl"), ("no indicator is called 'mtdl'", "did you mean mtld")),
        (("--set", "mtld"), ("cannot read --set mtld", "indicator.option=value")),
        (("--set", "mtld.treshold=1"), ("no option of mtld", "did you mean threshold")),
        (("--set", "mtld.threshold=x"), ("mtld.threshold must be a float, not 'x'",)),
        (("--map", "prompt"), ("cannot read --map prompt", "prompt=COLUMN,response=COLUMN")),
        (("--stratify", "topic"), ("cannot stratify by 'topic'",)),
        (("--within", "2"), ("(0, 1]",)),
        (("--decontaminate", "gone.jsonl"), ("gone.jsonl",)),
    ],
)  # fmt: skip
def test_a_wrong_option(run, pool, tmp_path, arguments, parts):
    result = run("select", pool, *RULE, "-o", tmp_path / "g.jsonl", *arguments)
    check_one_line(result, 1 if "gone.jsonl" in arguments else 2, *parts)


def test_an_unknown_option_and_a_missing_budget_exit_2(run, pool, tmp_path):
    assert run("select", pool, "--sise", 5)[0] == 2
    check_one_line(run("select", pool, "-o", tmp_path / "g.jsonl"), 2, "exactly one of --size")
    check_one_line(run("select", pool, "--size", 5), 2, "name the output")


def test_a_bug_is_one_line_too(run, pool, tmp_path, monkeypatch):
    from instructmine.stages import select

    def broken(*_arguments, **_options):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(select, "select", broken)
    result = run("select", pool, *RULE, "-o", tmp_path / "g.jsonl")
    check_one_line(
        result, 1, "a bug in instructmine: RuntimeError: two lines", "INSTRUCTMINE_DEBUG=1"
    )


def test_hostile_text_is_harmless_on_a_terminal(run, tmp_path):
    records = rows(10)
    records[0]["output"] = "\x1b[31mred\x1b[0m \u202eback " + "word " * 200
    pool = write(tmp_path / "p.jsonl", records)
    code, out, _ = run("select", pool, *RULE, "-o", tmp_path / "g.jsonl")
    assert code == 0
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "\\x1b[31mred" in out
