"""The judge `endpoint`, against a server with every fault a real one has."""

import contextlib
import socket
import time

import pytest

from instructmine.errors import ModelError, UsageError
from instructmine.judges.endpoint import Endpoint
from instructmine.judging import Bench
from instructmine.spending import Limits
from judge_server import question

QUESTIONS = [question(number, a="x" * (1 + number % 3), b="yy") for number in range(12)]
WANTED = ["loss", "tie", "win"] * 4


def bench(server, tmp_path, limits=None, **options):
    judge = Endpoint(model="judge-1", base_url=server.url, **options)
    return Bench(judge, tmp_path, limits=limits or Limits())


def results(verdicts):
    return [one and one.result for one in verdicts]


def test_both_orders_are_asked_and_joined(server, tmp_path):
    there = server()
    found = bench(there, tmp_path).compare(QUESTIONS)
    assert results(found) == WANTED
    assert len(there.requests) == 24
    assert found[0].forward.text == "I looked at both.\nVERDICT: 2"
    assert found[0].backward.outcome == "first" and found[0].forward.served == "judge-1-served"
    body = there.requests[0]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("judge-1", 0.0, 1024)


def test_nothing_is_asked_twice(server, tmp_path):
    there = server()
    first = bench(there, tmp_path).compare([*QUESTIONS, *QUESTIONS])
    assert len(there.requests) == 24
    again = bench(there, tmp_path)
    assert again.compare(QUESTIONS) == first[:12]
    assert len(there.requests) == 24 and again.meter.spent.requests == 24
    assert again.estimate(QUESTIONS).usage.requests == 0


def test_the_order_the_model_and_the_prompt_are_part_of_a_verdict(server, tmp_path):
    there = server()
    bench(there, tmp_path).verdicts(QUESTIONS[:2])
    bench(there, tmp_path).verdicts([QUESTIONS[0].swapped()])
    assert len(there.requests) == 3
    Bench(Endpoint(model="judge-2", base_url=there.url), tmp_path).verdicts(QUESTIONS[:2])
    assert len(there.requests) == 5
    own = tmp_path / "own.toml"
    own.write_text('[pairwise]\nuser = "{conversation}{answer_1}{answer_2}{form}"\n')
    bench(there, tmp_path, prompt=str(own)).verdicts(QUESTIONS[:2])
    assert len(there.requests) == 7
    bench(there, tmp_path, concurrency=1, timeout=5.0).verdicts(QUESTIONS[:2])
    assert len(there.requests) == 7, "how it is asked is no part of what is asked"


@pytest.mark.parametrize("fault", [500, 503, (429, 0.05), 408, "reset", "garbled"])
def test_what_passes_is_tried_again(server, tmp_path, fault):
    there = server(faults=[fault] * 5)
    assert results(bench(there, tmp_path).compare(QUESTIONS)) == WANTED
    assert len(there.requests) == 29


def test_retry_after_holds_for_all_threads(server, tmp_path):
    there = server(faults=[(429, 0.4)] * 4)
    began = time.monotonic()
    judge = bench(there, tmp_path, concurrency=4)
    assert results(judge.compare(QUESTIONS)) == WANTED
    assert time.monotonic() - began >= 0.4
    assert there.statuses[429] == 4
    assert judge.meter.spent.requests == 28


def test_a_slow_server_is_not_waited_for(server, tmp_path):
    there = server(faults=["slow"] * 2)
    assert results(bench(there, tmp_path, timeout=0.3).compare(QUESTIONS[:2])) == WANTED[:2]


def test_requests_run_side_by_side_and_no_more_than_asked(server, tmp_path):
    there = server(latency=0.05)
    bench(there, tmp_path, concurrency=5).compare(QUESTIONS)
    assert there.most_at_once == 5


def test_a_server_that_stays_broken_is_one_line_and_nothing_is_lost(server, tmp_path):
    there = server(faults=[None] * 10 + [500] * 1000)
    with pytest.raises(ModelError, match=r"does not answer \(server error 500, 2 times\)"):
        bench(there, tmp_path, attempts=2, concurrency=2).compare(QUESTIONS)
    there.faults.clear()
    before = len(there.requests)
    assert results(bench(there, tmp_path).compare(QUESTIONS)) == WANTED
    assert len(there.requests) - before == 14


def test_one_question_that_stays_broken_does_not_stop_the_others(server, tmp_path):
    there = server(faults=[500, 500])
    judge = bench(there, tmp_path, attempts=2, concurrency=1)
    found = judge.compare(QUESTIONS)
    assert results(found) == [None, *WANTED[1:]]
    assert found[0].problem == "unanswered"
    assert results(bench(there, tmp_path).compare(QUESTIONS)) == WANTED


def test_nonsense_is_asked_about_once_more_then_recorded(server, tmp_path):
    there = server(faults=["I like both.", "VERDICT: 2", "Hm.", "Hm."])
    judge = bench(there, tmp_path, concurrency=1)
    found = judge.verdicts(QUESTIONS[:2])
    assert [one.outcome for one in found] == ["second", None]
    assert [one.problem for one in found] == ["", "malformed"]
    assert "I like both." in found[0].text and found[1].text.count("Hm.") == 2
    assert found[0].usage.requests == 2 and found[0].usage.tokens_in == 200
    assert there.requests[1]["messages"][-2]["content"] == "I like both."
    assert bench(there, tmp_path).verdicts(QUESTIONS[:2]) == found, "no third time"


def test_refusals_are_what_they_are(server, tmp_path):
    stated = {"choices": [{"message": {"content": None, "refusal": "No."}}]}
    filtered = {"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]}
    there = server(faults=["I'm sorry, but I can't compare these.", stated, filtered])
    found = bench(there, tmp_path, concurrency=1).verdicts(QUESTIONS[:3])
    assert [one.problem for one in found] == ["refused"] * 3
    assert found[1].text == "No."
    assert len(there.requests) == 3


def test_a_reply_that_was_cut_is_not_read(server, tmp_path):
    cut = {"choices": [{"message": {"content": "VERDICT: 1"}, "finish_reason": "length"}]}
    there = server(faults=[cut, cut])
    (found,) = bench(there, tmp_path).verdicts(QUESTIONS[:1])
    assert found.problem == "malformed" and found.outcome is None


def test_a_request_limit_holds_across_runs(server, tmp_path):
    there = server()
    limits = Limits(max_requests=9)
    judge = bench(there, tmp_path, limits, concurrency=3)
    found = judge.compare(QUESTIONS)
    assert len(there.requests) == 9
    assert sum(one is not None for one in found) >= 3
    bench(there, tmp_path, limits).compare(QUESTIONS)
    assert len(there.requests) == 9
    assert results(bench(there, tmp_path, Limits(max_requests=24)).compare(QUESTIONS)) == WANTED
    assert len(there.requests) == 24


def test_replies_of_no_use_count_in_later_runs_too(server, tmp_path):
    there = server(faults=["Hm."] * 10)
    limits = Limits(max_requests=5)
    for _ in range(3):
        found = bench(there, tmp_path, limits, concurrency=1).verdicts(QUESTIONS[:4])
        assert [one and one.problem for one in found] == ["malformed", "malformed", None, None]
    assert len(there.requests) == 5
    there.faults.clear()
    found = bench(there, tmp_path, Limits(max_requests=7)).verdicts(QUESTIONS[:4])
    assert [one.problem for one in found] == ["malformed", "malformed", "", ""]
    assert len(there.requests) == 7


def test_requests_that_failed_count_in_later_runs_too(server, tmp_path):
    there = server(faults=[500] * 100)
    limits = Limits(max_requests=10)
    for _ in range(3):
        judge = bench(there, tmp_path, limits, attempts=2, concurrency=1)
        with contextlib.suppress(ModelError):
            judge.verdicts(QUESTIONS[:6])
    assert len(there.requests) == 10 == judge.meter.spent.requests


def test_a_cost_limit_is_never_passed(server, tmp_path):
    # 100 tokens in and 10 out a request at 1 a token: 110. 1024 are set aside for each reply.
    limits = Limits(max_cost=3000, price_in=1e6, price_out=1e6)
    there = server()
    judge = bench(there, tmp_path, limits, max_tokens=500)
    judge.compare(QUESTIONS)
    spent = limits.cost(judge.meter.spent)
    assert 0 < spent <= 3000 and judge.meter.refused
    before = len(there.requests)
    bench(there, tmp_path, limits, max_tokens=500).compare(QUESTIONS)
    assert limits.cost(judge.meter.spent) <= 3000
    assert len(there.requests) * 110 <= 3000 and len(there.requests) - before <= 24


def test_usage_is_estimated_where_the_server_does_not_count(server, tmp_path):
    there = server(usage=False)
    judge = bench(there, tmp_path)
    judge.verdicts(QUESTIONS[:1])
    assert 200 < judge.meter.spent.tokens_in < 600 and judge.meter.spent.tokens_out > 3


def test_a_limit_of_cost_needs_prices():
    with pytest.raises(UsageError, match="needs the prices"):
        Limits(max_cost=1.0)


# ── what no further attempt can mend ────────────────────────────────────────────────────────


def test_a_wrong_key_is_one_line_without_the_key(server, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-12345")
    there = server(key="sk-other")
    with pytest.raises(ModelError, match=r"refused the key \(401\)") as caught:
        bench(there, tmp_path).compare(QUESTIONS)
    assert "secret" not in str(caught.value) + "".join(capfd.readouterr())


def test_the_key_is_sent_and_kept_nowhere(server, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-12345")
    there = server(key="sk-secret-12345", faults=[500, (429, 0)])
    judge = bench(there, tmp_path)
    assert results(judge.compare(QUESTIONS)) == WANTED
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files and not any(b"secret" in path.read_bytes() for path in files)
    assert "secret" not in repr(judge.judge) + "".join(capfd.readouterr())


def test_an_error_message_that_holds_the_key_is_cleaned(server, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-12345")
    there = server(faults=[422])
    there._respond = lambda request, body, fault: there._send(
        request, 422, {"error": {"message": "your key sk-secret-12345 wants\nanother field"}}
    )
    with pytest.raises(ModelError, match="answers 422: your key … wants another field"):
        bench(there, tmp_path).compare(QUESTIONS)


def test_no_key_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="needs a key: set OPENAI_API_KEY"):
        Bench(Endpoint(model="m"), tmp_path).compare(QUESTIONS)


def test_a_key_with_odd_characters_is_not_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret\nInjected: 1")
    with pytest.raises((UsageError, ModelError)) as caught:
        Bench(Endpoint(model="m", base_url="http://127.0.0.1:9"), tmp_path).compare(QUESTIONS)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "words"),
    [(404, "check its address and the model's name 'judge-1'"), (403, "wants a key"),
     (400, "answers 400: the server broke")],
)  # fmt: skip
def test_a_fatal_status_is_one_line_at_once(server, tmp_path, status, words):
    there = server(faults=[status] * 50)
    with pytest.raises(ModelError, match=words):
        bench(there, tmp_path, concurrency=1).compare(QUESTIONS)
    assert len(there.requests) == 1


def test_an_unreachable_server_is_one_line_at_once(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(ModelError, match=r"cannot be reached .*; check its address"):
        Bench(Endpoint(model="m", base_url=f"http://127.0.0.1:{port}/v1"), tmp_path).compare(
            QUESTIONS
        )
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x/v1", "http://me:secret@host/v1"])
def test_a_url_that_is_none_is_one_line(tmp_path, url):
    with pytest.raises(UsageError, match="base URL") as caught:
        Bench(Endpoint(model="m", base_url=url), tmp_path).compare(QUESTIONS)
    assert "secret" not in str(caught.value)


def test_a_model_must_be_named(tmp_path):
    with pytest.raises(UsageError, match="--judge-model NAME"):
        Bench(Endpoint(base_url="http://127.0.0.1:9/v1"), tmp_path).compare(QUESTIONS)


def test_a_context_that_is_too_long_is_recorded(server, tmp_path):
    there = server()
    there._respond = lambda request, body, fault: there._send(
        request, 400, {"error": {"message": "maximum context length is 10 tokens"}}
    )
    (found,) = bench(there, tmp_path).verdicts(QUESTIONS[:1])
    assert found.problem == "too long"
