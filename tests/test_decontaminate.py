import json

import pytest

from instructmine.decontaminate import Decontaminator, EvalPrompt
from instructmine.pool import Example, Message

LONG = "Suggest three quiet places in the old town where a tired family could rest for an hour"


def check(text, *prompts):
    held = [
        EvalPrompt("eval.jsonl", row, tuple(p) if isinstance(p, tuple) else (p,))
        for row, p in enumerate(prompts)
    ]
    example = Example.single(text, "whatever") if isinstance(text, str) else text
    found = Decontaminator(held).check(example)
    return found and (str(found), round(found.share, 3))


def test_the_same_prompt_is_found_whatever_its_case_and_punctuation():
    text = LONG.upper().replace(" ", ",  ") + "?!"
    assert check(text, "Nothing of that kind is asked for in this one here", LONG) == (
        "eval.jsonl:1",
        1.0,
    )


def test_more_than_half_of_the_words_must_be_covered():
    words = LONG.split()
    eight, filler = words[:8], [f"other{i}" for i in range(20)]
    assert check(" ".join(eight + filler[:8]), LONG) is None  # exactly half
    assert check(" ".join(eight + filler[:7]), LONG) == ("eval.jsonl:0", round(8 / 15, 3))
    assert check(" ".join(filler[:3] + words[:12] + filler[3:8]), LONG) == ("eval.jsonl:0", 0.6)


def test_seven_shared_words_are_not_enough():
    assert check(" ".join([*LONG.split()[:7], "besides"]), LONG) is None


def test_word_order_counts():
    assert check(" ".join(reversed(LONG.split())), LONG) is None


def test_the_row_that_covers_most_is_named():
    words = LONG.split()
    part = " ".join(words[:9]) + " something else entirely follows here my friend"
    assert check(LONG, part, LONG, part) == ("eval.jsonl:1", 1.0)


def test_short_prompts_are_compared_as_a_whole():
    assert check("Prove the Pythagorean Theorem.", "prove the pythagorean theorem") == (
        "eval.jsonl:0",
        1.0,
    )
    assert check("Prove the theorem.", "prove the pythagorean theorem") is None
    assert check("Prove it", LONG + " prove it") is None


def test_every_eval_message_counts_and_a_follow_up_of_the_pool_does_not():
    turns = ("What is the Pythagorean theorem about in the end, say to a child", "Prove it.")
    assert check("Prove it", turns) == ("eval.jsonl:0", 1.0)
    follow_up = Example(
        (Message("user", "Is this so?"), Message("assistant", "Yes."), Message("user", "Prove it."))
    )
    assert check(follow_up, turns) is None


def test_one_contaminated_message_of_a_conversation_is_enough():
    example = Example(
        (
            Message(
                "user", "Tell me about trees and rivers and everything that lives in them " * 4
            ),
            Message("assistant", "Yes."),
            Message("user", LONG),
            Message("assistant", "No."),
        )
    )
    assert check(example, LONG) == ("eval.jsonl:0", 1.0)


def test_responses_and_system_messages_are_not_looked_at():
    assert check(Example.single("Hello there", LONG, system=LONG), LONG) is None


@pytest.mark.parametrize("text", ["", "...", "🙂"])
def test_a_prompt_without_words_matches_nothing(text):
    assert check(text, text, LONG) is None
    assert check(LONG, text) is None


def test_no_eval_prompts():
    assert check(LONG) is None
    assert len(Decontaminator([])) == 0


def test_the_known_overlaps_of_alpaca_are_found(shared_data):
    rows = json.loads((shared_data / "train" / "alpaca_data.json").read_text(encoding="utf-8"))
    lines = (shared_data / "eval" / "mt_bench_question.jsonl").read_text("utf-8").split("\n")
    mt_bench = [
        EvalPrompt("mt", n, tuple(json.loads(line)["turns"]))
        for n, line in enumerate(lines)
        if line
    ]
    lines = (shared_data / "eval" / "lima_test_set.jsonl").read_text("utf-8").split("\n")
    lima = [
        EvalPrompt("lima", n, (json.loads(line)["conversations"],))
        for n, line in enumerate(lines)
        if line
    ]
    held = Decontaminator(mt_bench + lima)
    found = [
        contamination
        for row in rows
        if (
            contamination := held.check(Example.single(f"{row['instruction']}\n{row['input']}", ""))
        )
    ]
    whole = [str(one) for one in found if one.share == 1]
    assert sorted(whole) == ["lima:164", "lima:165", "lima:166", "lima:167", "mt:18"]
    assert len(found) < 20  # and a few prompts that share most of their words
