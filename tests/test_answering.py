"""Answers are kept by prompt and recipe; conversations go on from the model's own words."""

import itertools

import pytest

from instructmine.answering import Answers
from instructmine.chat_answers import EndpointAnswerer
from instructmine.contracts import Context
from instructmine.errors import MissingExtraError
from instructmine.modelref import ModelRef
from instructmine.models.generate import LocalAnswerer
from instructmine.models.vllm import VllmAnswerer
from instructmine.pool import Message
from instructmine.sampling import Sampling
from instructmine.spending import Limits, Meter
from instructmine.verdicts import Prompt
from judge_server import JudgeServer

CPU = Context(device="cpu", threads=1)
HISTORIES = [(Message("user", f"Question {n}?"),) for n in range(20)]


def answers(folder, tmp_path, tokens=6):
    sampling = Sampling(max_new_tokens=tokens)
    return Answers(LocalAnswerer(model=ModelRef(str(folder)), sampling=sampling), tmp_path, CPU)


def test_answers_stream_and_are_kept_as_they_come(tiny, tmp_path):
    folder = tiny("llama")
    wanted = answers(folder, tmp_path / "a").all(HISTORIES)
    stopped = answers(folder, tmp_path / "b").stream(iter(HISTORIES))
    first = dict(itertools.islice(stopped, 5))
    stopped.close()
    again = answers(folder, tmp_path / "b")
    assert len(again.journal) >= 5
    assert again.all(HISTORIES) == wanted and all(wanted[p] == one for p, one in first.items())
    known = answers(folder, tmp_path / "b")
    assert known.all(HISTORIES) == wanted and known._opened is None, "no model is loaded for them"


def test_another_recipe_is_another_answer(tiny, tmp_path):
    one = answers(tiny("llama"), tmp_path)
    one.all(HISTORIES[:2])
    assert answers(tiny("llama"), tmp_path, tokens=7).known(HISTORIES[0]) is None
    assert answers(tiny("gpt2"), tmp_path).known(HISTORIES[0]) is None
    assert answers(tiny("llama"), tmp_path).known(HISTORIES[0]) is not None


def test_a_later_turn_sees_the_models_own_answer(tiny, tmp_path):
    prompts = [Prompt(HISTORIES[0], ("And then?",)), Prompt(HISTORIES[1])]
    two, one = answers(tiny("llama"), tmp_path).converse(prompts)
    assert len(two) == 2 and len(one) == 1
    history = two[1][0].history
    assert [m.role for m in history] == ["user", "assistant", "user"]
    assert history[1].content == two[0][1].text and history[2].content == "And then?"


def test_a_conversation_ends_where_a_turn_has_no_answer(tiny, tmp_path):
    prompts = [Prompt((Message("user", "ball " * 700),), ("And then?",))]
    ((only,),) = answers(tiny("llama"), tmp_path).converse(prompts)
    assert only[1].problem


def test_answers_of_an_endpoint_are_kept_and_failures_are_not(tmp_path):
    said = {"choices": [{"message": {"content": " Blue.\ud800 "}, "finish_reason": "length"}]}
    with JudgeServer(faults=[said, 500]) as there:
        answerer = EndpointAnswerer(
            model="m", base_url=there.url, concurrency=1, attempts=1,
            sampling=Sampling(max_new_tokens=9, temperature=0.5, seed=4),
        )  # fmt: skip
        found = Answers(answerer, tmp_path).all(HISTORIES[:2])
        assert (found[0].text, found[0].finish) == ("Blue.?", "length")
        assert found[1].problem.startswith("unanswered: server error 500")
        body = there.requests[0]
        assert (body["max_tokens"], body["temperature"], body["seed"]) == (9, 0.5, 4)
        there.faults = [said]
        again = Answers(answerer, tmp_path).all(HISTORIES[:2])
        assert again[1].text == "Blue.?" and len(there.requests) == 3


def test_vllm_that_is_not_installed_is_one_line(tiny, tmp_path):
    answerer = VllmAnswerer(model=ModelRef(str(tiny("llama"))))
    with pytest.raises(MissingExtraError, match="needs vllm"):
        Answers(answerer, tmp_path, CPU).all(HISTORIES[:1])


def test_a_limit_holds_over_runs_for_answers_too(tmp_path):
    def ask(most):
        endpoint = EndpointAnswerer(model="m", base_url=there.url, sampling=Sampling())
        source = Answers(endpoint, tmp_path, CPU, Meter(Limits(max_requests=most)))
        return source, source.all(HISTORIES)

    with JudgeServer() as there:
        there.say = lambda body: "An answer."
        first, said = ask(5)
        assert sum(not one.problem for one in said) == 5 == len(there.requests)
        again, _ = ask(5)
        assert len(there.requests) == 5 and again.meter.spent == first.meter.spent
        whole, said = ask(20)
        assert not any(one.problem for one in said) and len(there.requests) == 20
        assert whole.meter.spent.requests == 20 and whole.meter.spent.tokens_out == 200
