"""Judges on this machine: a reward model, and a causal LM that is asked in words."""

import pytest

from instructmine import plugins
from instructmine.contracts import Context, Judge
from instructmine.errors import ModelError, UsageError
from instructmine.judges.local import Local
from instructmine.judges.reward import Reward
from instructmine.judging import Bench
from instructmine.modelref import ModelRef
from instructmine.pool import Message, Turn
from instructmine.spending import Limits
from instructmine.verdicts import Answer, Question
from judge_server import question
from tiny_models import CHATML

CPU = Context(device="cpu", threads=1)
GOOD = "The capital of France is Paris. It lies on the Seine."
BAD = "capital capital capital capital capital"
ASKED = (Message("user", "What is the capital of France?"),)


def bench(judge, tmp_path, **options):
    return Bench(judge, tmp_path, CPU, **options)


def test_they_are_found_by_name():
    assert set(plugins.names("judges")) >= {"endpoint", "local", "reward"}
    assert all(plugins.load("judges", name, Judge) for name in plugins.names("judges"))


def test_the_higher_reward_wins_in_any_order(tmp_path):
    judge = bench(Reward(), tmp_path)
    pairs = [Question.pair(ASKED, GOOD, BAD), Question.pair(ASKED, BAD, GOOD)]
    found = judge.compare([*pairs, Question.pair(ASKED, GOOD, GOOD)])
    assert [one.result for one in found] == ["win", "loss", "tie"]
    assert found[0].backward is None and found[0].forward.scores[0] > found[0].forward.scores[1]
    assert found[0].forward.scores == found[1].forward.scores[::-1]
    assert judge.meter.spent.requests == 3


def test_rewards_within_the_margin_are_a_tie(tmp_path):
    found = bench(Reward(margin=1e6), tmp_path).compare([Question.pair(ASKED, GOOD, BAD)])
    assert found[0].result == "tie"
    assert Reward(margin=1.0).identity() != Reward().identity()


def test_an_answer_without_a_reward_has_no_verdict(tmp_path):
    (found,) = bench(Reward(), tmp_path).compare([Question.pair(ASKED, GOOD, "")])
    assert found.result is None and found.problem == "malformed"
    assert "no tokens" in found.forward.text


def test_a_reward_model_gives_no_grades(tmp_path):
    with pytest.raises(UsageError, match="'reward' compares and gives no grades"):
        bench(Reward(), tmp_path).verdicts([Question(Turn(ASKED, GOOD))])


def test_a_model_that_cannot_judge_says_nothing(tmp_path):
    judge = bench(Local(max_tokens=16), tmp_path)
    found = judge.compare([question(1), question(2)])
    assert [one.result for one in found] == [None, None]
    assert {one.problem for one in found} == {"malformed"}
    assert found[0].forward.usage.requests == 2 and "[asked again]" in found[0].forward.text
    again = bench(Local(max_tokens=16), tmp_path)
    assert again.compare([question(1), question(2)]) == found and again._opened is None


@pytest.mark.parametrize("roles", ["all", "no system"])
def test_what_a_model_says_is_read(tiny, tmp_path, monkeypatch, roles):
    from instructmine.models.generate import Generator

    sent, replies = [], iter(["So.\nVERDICT: 2", "Hm.", "VERDICT: 1", "VERDICT: TIE"])

    def answer(self, histories):
        sent.extend(histories)
        for index in range(len(histories)):
            yield index, Answer(next(replies), tokens=3)

    monkeypatch.setattr(Generator, "answer", answer)
    refuse = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    template = CHATML if roles == "all" else refuse + CHATML
    judge = Local(model=ModelRef(str(tiny("llama", template=template))))
    found = bench(judge, tmp_path).compare([question(1)])
    assert [found[0].forward.outcome, found[0].backward.outcome] == ["second", "first"]
    assert found[0].result == "loss"
    assert [m.role for m in sent[0]] == (["system", "user"] if roles == "all" else ["user"])
    assert sent[2][-2].content == "Hm." and "VERDICT" in sent[2][-1].content


def test_a_question_that_is_too_long_is_recorded(tmp_path):
    (found,) = bench(Local(max_tokens=16), tmp_path).verdicts([question(1, a="word " * 3000)])
    assert found.problem == "too long" and "1024 tokens that the model reads" in found.text


def test_limits_hold_for_them_too(tmp_path):
    judge = bench(Reward(), tmp_path, limits=Limits(max_requests=2))
    pairs = [Question.pair(ASKED, GOOD, f"{BAD} {n}") for n in range(5)]
    assert sum(one is not None for one in judge.compare(pairs)) == 2
    assert sum(one is not None for one in bench(Reward(), tmp_path).compare(pairs)) == 5


def test_a_model_that_is_no_judge_is_one_line(tiny, tmp_path):
    with pytest.raises(ModelError, match="not a reward model"):
        bench(Reward(model=ModelRef("starter:lm")), tmp_path).compare([question(1)])
    with pytest.raises(ModelError, match="not a causal LM"):
        bench(Local(model=ModelRef("starter:reward")), tmp_path).compare([question(1)])
