"""`instructmine evaluate`: what it prints, a kill and its resuming, and a real server."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from judge_server import JudgeServer
from pools import write
from tiny_models import CHATML


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


@pytest.fixture
def prompts(tmp_path):
    rows = [{"prompt": f"Explain rain {n}?", "response": f"Warm air rises, {n}."} for n in range(9)]
    return write(tmp_path / "eval.jsonl", rows)


@pytest.fixture
def models(tiny):
    return [str(tiny("llama", template=CHATML)), str(tiny("gpt2"))]


@pytest.fixture
def command(models, prompts):
    return ["evaluate", *models, "--judge", "endpoint", "--judge-model", "m", "--prompts",
            str(prompts), "--max-new-tokens", "8", "--device", "cpu", "--threads", "1"]  # fmt: skip


def test_it_prints_tables_and_writes_files(run, command, prompts, tmp_path):
    out = tmp_path / "evaluation.json"
    with JudgeServer() as there:
        command += ["--base-url", there.url, "--grade", "--loss", f"rain={prompts}"]
        code, text, err = run(*command, "--dry-run")
        assert code == 0 and "36 verdicts wanted, 0 known; 36 requests" in text
        assert "cost unknown without --price-in" in text and not there.requests
        code, text, err = run(*command, "-o", out, "--price-in", "1", "--price-out", "2")
        assert code == 0, err
        assert "loss in nats per token, lower is better" in text
        assert "winning score above 1 speaks for the model" in text
        assert "grades from 1 to 10" in text and "earlier runs counted" in text
        assert f"wrote {out} (results)" in text
        code, text, _ = run(*command, "-o", out, "--json")
        assert (
            json.loads(text)["judge"]["pairwise"]
            == json.loads(out.read_text())["judge"]["pairwise"]
        )
        code, text, _ = run(*command, "--max-requests", "3", "--set", "endpoint.max_tokens=77")
    assert code == 0 and "a limit stopped the judge: run again with a higher one" in text


def test_the_key_is_in_no_file_and_on_no_screen(run, command, tmp_path, monkeypatch, workdir):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-12345")
    said = ""
    with JudgeServer(key="sk-secret-12345", faults=[500]) as there:
        code, *streams = run(*command, "--base-url", there.url, "-o", tmp_path / "e.json")
        said += "".join(streams)
    with JudgeServer(key="another") as there:
        wrong = run(*command, "--base-url", there.url, "--set", "endpoint.max_tokens=9")
        said += "".join(wrong[1:])
    assert (code, wrong[0]) == (0, 1) and "refused the key (401)" in wrong[2]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(workdir in path.parents for path in files)
    assert not any(b"secret" in path.read_bytes() for path in files) and "secret" not in said


def test_a_killed_run_goes_on_and_pays_for_nothing_twice(run, command, workdir, tmp_path):
    with JudgeServer(latency=0.15) as there:
        command += ["--base-url", there.url, "--concurrency", "2"]
        process = subprocess.Popen(
            [sys.executable, "-m", "instructmine", *command],
            stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        while process.poll() is None and len(there.requests) < 7:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        time.sleep(0.1)
        before = len(there.requests)
        assert 7 <= before < 18, "it ended before the signal"
        code, text, _ = run(*command, "-o", tmp_path / "a.json")
        assert code == 0
        # Asked again is only what was under way or not yet written when it died: at most twice
        # the requests that are under way at once, however slow the disk.
        assert len(there.requests) <= 18 + 2 * 2
        assert run(*command, "-o", tmp_path / "b.json", "--workdir", tmp_path / "clean")[0] == 0
    again, clean = (json.loads((tmp_path / f"{name}.json").read_text()) for name in "ab")
    assert again["judge"]["pairwise"] == clean["judge"]["pairwise"]


def test_an_interrupt_does_not_wait_for_a_slow_server(command):
    with JudgeServer(latency=30) as there:
        process = subprocess.Popen(
            [sys.executable, "-m", "instructmine", *command, "--base-url", there.url],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        while process.poll() is None and not there.requests:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.splitlines()[-1].startswith("error: interrupted")


def test_errors_are_one_line(run, command, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for more, code, words in (
        ([], 2, "needs a key: set OPENAI_API_KEY"),
        (["--base-url", f"http://127.0.0.1:{port}/v1"], 1, "cannot be reached"),
        (["--max-cost", "1"], 2, "needs the prices"),
        (["--judge-prompt", str(tmp_path / "no.toml")], 2, "cannot be read"),
    ):
        found, _, err = run(*command, *more)
        last = err.splitlines()[-1]
        assert found == code and last.startswith("error: ") and words in last, err
        assert "Traceback" not in err


def test_judges_are_listed_and_help_loads_nothing(run):
    code, text, _ = run("list", "judges")
    assert code == 0 and all(name in text for name in ("endpoint", "local", "reward"))
    check = (
        "import sys; from instructmine.cli.app import app\n"
        "import instructmine.cli.evaluate, instructmine.judges.endpoint\n"
        "import instructmine.stages.evaluate\n"
        "print([m for m in ('torch', 'transformers', 'httpx', 'openai', 'lm_eval', 'tenacity') "
        "if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert found.stdout.strip() == "[]", found.stderr


def test_a_real_server_answers_and_judges(run, tiny, prompts, tmp_path):
    """`transformers serve` drives a tiny model behind /v1/chat/completions."""
    pytest.importorskip("fastapi")
    folder = tiny("llama", template=CHATML)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve = os.path.join(os.path.dirname(sys.executable), "transformers")
    server = subprocess.Popen(
        [serve, "serve", "--host", "127.0.0.1", "--port", str(port), "--device", "cpu",
         "--dtype", "float32"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        while server.poll() is None:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=2)
                break
            except OSError:
                time.sleep(0.2)
        name = f"endpoint:{folder}"
        code, text, err = run(
            "evaluate", name, "--judge", "endpoint", "--judge-model", folder, "--against",
            "references", "--prompts", prompts, "--base-url", f"{url}/v1", "--limit", "2",
            "--max-new-tokens", "8", "--set", "endpoint.max_tokens=8", "--json",
        )  # fmt: skip
        assert code == 0, err
        found = json.loads(text)["judge"]
        assert found["pairwise"][0]["problems"] == {"malformed": 2}, "random weights judge nothing"
        # two answers; two questions, each in both orders and asked once more
        assert found["usage"]["requests"] == 2 + 8 and found["usage"]["tokens_in"] > 500
        assert found["answers"][name]["mean_tokens"] == 8
        code, text, _ = run(
            "evaluate", name, str(folder), "--judge", "reward", "--prompts", prompts,
            "--base-url", f"{url}/v1", "--limit", "2", "--max-new-tokens", "8", "--json",
        )  # fmt: skip
        # Both ways to the same weights give the same answers, so rewards tie.
        pairwise = json.loads(text)["judge"]["pairwise"][0]
        assert (pairwise["ties"], pairwise["wins"], pairwise["losses"]) == (2, 0, 0)
    finally:
        server.terminate()
        server.wait(30)
