import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructmine.contracts import Batch, Context
from instructmine.errors import UsageError
from instructmine.indicators.mtld import Mtld, mtld, words
from instructmine.pool import Example, Message

WORDS = ["the", "a", "of", "to", "and", "cat", "dog", "runs", "walks", "far", "away", "never"]


@pytest.fixture(scope="module")
def oracle():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lexicalrichness import LexicalRichness
    return lambda text, threshold=0.72: LexicalRichness(text).mtld(threshold)


def score(texts, **options):
    examples = [Example.single("q", text) for text in texts]
    ids = np.array([example.id for example in examples], dtype="S32")
    return Mtld(**options).open(Context(), ("mtld",)).score(Batch(ids, examples))


@pytest.mark.parametrize(
    "text",
    [
        "One",
        "one one",
        "The cat saw the dog, and the dog saw the cat; then the cat ran.",
        "No word occurs twice here",
        "A well-known, state-of-the-art e-mail – sent — at 10:30 on 2024-01-02, costs $3.50!",
        "naïve café — “quoted” naïve CAFÉ İstanbul ǅ ß ẞ",
        "Привет, мир! Привет, мир! Как дела, мир?",
        "你好，世界。你好，世界。",
        "नमस्ते दुनिया नमस्ते दुनिया",
        "مرحبا بالعالم مرحبا بالعالم",
        "tabs\tand\nnew lines\x0b\x0c\x1c\x1d\x1e\x1f\x85 \u00a0 \u2028 \u3000 all split all",
        "`code_with_underscores` = {'a': [1, 2]} # comment\\n",
        "١٢٣ Arabic digits stay ١٢٣",
        "lone \ud800 surrogate \ud800",
    ],
)
def test_equals_lexicalrichness(oracle, text):
    assert mtld(text) == oracle(text)


@given(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=300), st.sampled_from([0.6, 0.72, 0.9])
)
@settings(max_examples=150, deadline=None)
def test_equals_lexicalrichness_on_any_words(oracle, tokens, threshold):
    text = " ".join(tokens)
    assert mtld(text, threshold) == oracle(text, threshold)


@given(st.text(max_size=80))
@settings(max_examples=300, deadline=None)
def test_equals_lexicalrichness_on_any_text(oracle, text):
    try:
        expected = oracle(text)
    except ZeroDivisionError:
        expected = None
    assert mtld(text) == expected


def test_equals_lexicalrichness_on_alpaca(oracle, shared_data):
    import json

    rows = json.loads((shared_data / "train" / "alpaca_data.json").read_text(encoding="utf-8"))
    texts = [row["output"] for row in rows[::100] if words(row["output"])]
    assert len(texts) > 450
    assert [mtld(text) for text in texts] == [oracle(text) for text in texts]


@pytest.mark.parametrize("text", ["", "   ", "12 + 3 = 15", "...", "—–-"])
def test_no_words_is_missing_with_a_reason(text):
    scored = score(["some words", text])
    assert math.isnan(scored.values["mtld"][1])
    assert set(scored.reasons) == {1}
    assert scored.reasons[1] in ("no words in the response", "empty response")


def test_every_turn_counts_and_only_the_response_is_read(oracle):
    example = Example(
        (
            Message("user", "a a a a a a"),
            Message("assistant", "the cat the dog the cat"),
            Message("user", "more"),
            Message("assistant", "every word is new"),
        )
    )
    batch = Batch(np.array([example.id], dtype="S32"), [example])
    turns = [oracle("the cat the dog the cat"), oracle("every word is new")]
    for how, expected in {"mean": np.mean(turns), "last": turns[1], "max": max(turns)}.items():
        scorer = Mtld(turns=how).open(Context(), ("mtld",))
        assert scorer.score(batch).values["mtld"].tolist() == [expected]


@pytest.mark.parametrize("threshold", [0, 1, 1.5])
def test_an_impossible_threshold_is_refused(threshold):
    with pytest.raises(UsageError, match="threshold"):
        Mtld(threshold=threshold)
