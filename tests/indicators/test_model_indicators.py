"""Indicators that read models: definitions, identities, conversations, cheap imports."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from instructmine.contracts import Batch, Context
from instructmine.errors import ModelError, UsageError
from instructmine.identity import digest
from instructmine.indicators.embedding import Embedding
from instructmine.indicators.length import Length
from instructmine.indicators.perplexity import Perplexity
from instructmine.indicators.reward import Reward
from instructmine.indicators.unieval import Unieval, question_text
from instructmine.modelref import ModelRef
from instructmine.models.causal_lm import CausalLM
from instructmine.pool import Example, Message, Turn
from tiny_models import CHATML

CPU = Context(device="cpu")
ONE = Example.single("Name three fruits.", "Apples, pears and plums.")
CHAT = Example(
    (
        Message("user", "Hi, who wrote Hamlet?"),
        Message("assistant", "William Shakespeare."),
        Message("user", "When?"),
        Message("assistant", "Around 1600."),
    )
)


def ref(folder):
    return ModelRef(str(folder))


def score(indicator, examples, columns=None):
    columns = columns or [column.name for column in indicator.columns]
    ids = np.array([example.id for example in examples], dtype="S32")
    return indicator.open(CPU, columns).score(Batch(ids, tuple(examples)))


def test_importing_indicators_imports_no_model_library():
    code = (
        "import sys, instructmine.testing\n"
        "from instructmine import plugins\n"
        "from instructmine.contracts import Indicator\n"
        "[plugins.load('indicators', n, Indicator) for n in plugins.names('indicators')]\n"
        "import instructmine.models.spec, instructmine.models.templates\n"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'tokenizers', 'jinja2'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_length_and_static_embeddings_need_no_torch(tiny):
    code = (
        "import sys, numpy as np\n"
        "from instructmine.contracts import Batch, Context\n"
        "from instructmine.indicators.embedding import Embedding\n"
        "from instructmine.indicators.length import Length\n"
        "from instructmine.modelref import ModelRef\n"
        "from instructmine.pool import Example\n"
        "batch = Batch(np.array([b'x']), (Example.single('a', 'b'),))\n"
        f"Length(tokenizer=ModelRef({str(tiny('llama'))!r})).open(Context(), ['input_length'])"
        ".score(batch)\n"
        f"Embedding(model=ModelRef({str(tiny('static'))!r})).open(Context(), ['embedding'])"
        ".score(batch)\n"
        "print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_length_counts_tokens_and_nothing_special(tiny):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny("llama"))
    found = score(Length(tokenizer=ref(tiny("llama"))), [ONE, Example.single("x", "")])
    for column, text in (("input_length", ONE.prompt), ("output_length", ONE.response)):
        assert found.values[column][0] == len(tokenizer(text, add_special_tokens=False).input_ids)
    assert found.values["output_length"][1] == 0 and not found.reasons
    logged = found.values["log_output_length"]
    assert logged.tolist() == np.log1p(found.values["output_length"]).tolist() and logged[1] == 0


def test_lengths_identity_is_the_tokenizers(tiny):
    same = Length(tokenizer=ref(tiny("llama", causal=False)))  # other weights
    assert same.identity() == Length(tokenizer=ref(tiny("llama"))).identity()
    assert same.identity() != Length(tokenizer=ref(tiny("gpt2"))).identity()


def test_perplexity_and_ifd_are_as_defined(tiny):
    model = CausalLM.load(ref(tiny("llama")), context=CPU)
    loss = model.response_loss(ONE.turns, conditioned=True, unconditioned=True)
    given, alone = loss.conditioned[0], loss.unconditioned[0]
    found = score(Perplexity(model=ref(tiny("llama"))), [ONE]).values
    assert found["perplexity"][0] == pytest.approx(np.exp(given), rel=1e-6)
    assert found["ifd"][0] == pytest.approx(np.exp(given) / np.exp(alone), rel=1e-6)
    free = score(Perplexity(model=ref(tiny("llama")), conditioned=False), [ONE]).values
    assert free["perplexity"][0] == pytest.approx(np.exp(alone), rel=1e-6)
    assert free["ifd"][0] == pytest.approx(found["ifd"][0], rel=1e-6)


def test_the_unconditioned_pass_runs_only_for_ifd(tiny):
    indicator = Perplexity(model=ref(tiny("llama")))
    batch = Batch(np.array([ONE.id.encode()]), (ONE,))
    tokens = {}
    for columns in (("perplexity",), ("perplexity", "ifd")):
        opened = indicator.open(CPU, columns)
        opened.score(batch)
        tokens[columns] = opened.scorer.model.runner.real_tokens
    response = int(score(Length(tokenizer=ref(tiny("llama"))), [ONE]).values["output_length"][0])
    assert tokens["perplexity", "ifd"] == tokens[("perplexity",)] + response + 1


@pytest.mark.parametrize("aggregate", ["mean", "last", "max"])
def test_conversations_are_scored_turn_by_turn(tiny, aggregate):
    indicator = Reward(model=ref(tiny("openassistant")), turns=aggregate)
    first = Example(CHAT.messages[:2])
    alone = score(indicator, [first]).values["reward"][0]
    last = score(dataclasses.replace(indicator, turns="last"), [CHAT]).values["reward"][0]
    wanted = {"mean": (alone + last) / 2, "last": last, "max": max(alone, last)}[aggregate]
    assert score(indicator, [CHAT]).values["reward"][0] == pytest.approx(wanted, abs=1e-5)


def test_last_reads_no_other_turn(tiny):
    empty_first = Example((CHAT.messages[0], Message("assistant", " "), *CHAT.messages[2:]))
    indicator = Reward(model=ref(tiny("openassistant")))
    assert score(indicator, [empty_first]).reasons == {0: "turn 1: empty response"}
    found = score(dataclasses.replace(indicator, turns="last"), [empty_first])
    assert not found.reasons and np.isfinite(found.values["reward"][0])


def test_unievals_inputs_are_literal():
    turn = Turn((Message("user", "Hi"), Message("assistant", "Yo"), Message("user", "Go")), "Ok.")

    def text(name):
        parts = question_text(name, turn)
        return parts.before + parts.response + parts.after

    assert text("naturalness") == (
        "question: Is this a natural response in the dialogue? </s> response: Ok."
    )
    assert text("understandability") == (
        "question: Is this an understandable response in the dialogue? </s> response: Ok."
    )
    assert text("coherence") == (
        "question: Is this a coherent response given the dialogue history? </s> response: Ok. "
        "</s> dialogue history: Hi\nYo\nGo"
    )


def test_unieval_computes_the_asked_columns_alone(tiny):
    indicator = Unieval(model=ref(tiny("t5")))
    everything = score(indicator, [ONE, CHAT])
    opened = indicator.open(CPU, ["coherence"])
    found = opened.score(Batch(np.array([b"a", b"b"]), (ONE, CHAT)))
    assert list(found.values) == ["coherence"]
    np.testing.assert_allclose(found.values["coherence"], everything.values["coherence"], atol=1e-6)


def test_embedding_reads_the_text_it_is_told(tiny):
    system = Example.single("Name three fruits.", "Apples, pears and plums.", system="Be kind.")
    indicator = Embedding(model=ref(tiny("static")))
    vectors = {
        text: score(dataclasses.replace(indicator, text=text), [ONE, system]).values["embedding"]
        for text in ("pair", "prompt", "response")
    }
    for found in vectors.values():
        np.testing.assert_array_equal(found[0], found[1])  # system messages have no say
    assert not np.allclose(vectors["prompt"][0], vectors["response"][0])
    whole = score(
        dataclasses.replace(indicator, text="response"),
        [Example.single("", "Name three fruits.\nApples, pears and plums.")],
    )
    np.testing.assert_allclose(whole.values["embedding"][0], vectors["pair"][0], atol=1e-6)


def test_embedding_of_an_empty_text_is_null_with_a_reason(tiny):
    empty = Example.single("", "")
    indicator = Embedding(model=ref(tiny("static")))
    assert score(indicator, [ONE, empty]).reasons == {1: "empty response"}
    prompts = score(dataclasses.replace(indicator, text="prompt"), [ONE, empty])
    assert prompts.reasons == {1: "empty prompt"}
    assert np.isnan(prompts.values["embedding"][1]).all()


def test_truncation_is_reported(tiny):
    long = Example.single("word " * 400, "Apples and pears.")
    for indicator in (
        Perplexity(model=ref(tiny("llama")), max_length=64),
        Reward(model=ref(tiny("openassistant")), max_length=64),
        Embedding(model=ref(tiny("llama")), max_length=64),
    ):
        found = score(indicator, [ONE, long])
        assert found.truncated == {1} and not found.reasons


INDICATORS = {
    "perplexity": lambda tiny, **o: Perplexity(model=ref(tiny("llama")), **o),
    "reward": lambda tiny, **o: Reward(model=ref(tiny("openassistant")), **o),
    "unieval": lambda tiny, **o: Unieval(model=ref(tiny("t5")), **o),
    "embedding": lambda tiny, **o: Embedding(model=ref(tiny("llama")), **o),
}


@pytest.mark.parametrize("name", INDICATORS)
def test_identity_holds_what_numbers_depend_on(tiny, name):
    build = INDICATORS[name]
    plain = digest(build(tiny).identity())
    assert digest(build(tiny, dtype="bfloat16").identity()) != plain
    assert digest(build(tiny, max_length=50).identity()) != plain
    assert digest(build(tiny, batch_tokens=9).identity()) == plain
    assert "truncation" in build(tiny).identity()


def test_the_limit_in_force_is_identity_however_it_was_said(tiny):
    plain, said = (
        Perplexity(model=ref(tiny("llama"))),
        Perplexity(model=ref(tiny("llama")), max_length=512),
    )
    assert plain.identity() == said.identity()


def test_the_template_and_the_start_token_are_identity(tiny):
    identity = Perplexity(model=ref(tiny("llama"))).identity()
    chat = Perplexity(model=ref(tiny("llama", template=CHATML))).identity()
    assert identity["template"]["origin"] == "plain" and chat["template"]["origin"] == "model"
    assert identity["start"] == "bos: <s>"
    assert Perplexity(model=ref(tiny("no_bos"))).identity()["start"] == "eos: <|endoftext|>"


def test_unknown_names_are_one_line_errors(tiny):
    with pytest.raises(UsageError, match="no dtype is called 'half'; known: float32"):
        Perplexity(model=ref(tiny("llama")), dtype="half").open(CPU, ["perplexity"])
    with pytest.raises(UsageError, match="device 'tpu9' cannot be used here"):
        Perplexity(model=ref(tiny("llama"))).open(Context(device="tpu9"), ["perplexity"])
    with pytest.raises(ModelError, match="does not exist"):
        Unieval(model=ModelRef("./nowhere")).open(CPU, ["coherence"])


def test_nothing_is_printed(tiny, capfd):
    score(Perplexity(model=ref(tiny("llama"))), [ONE, CHAT])
    score(Embedding(model=ref(tiny("sentence_bert"))), [ONE, CHAT])
    score(Embedding(model=ref(tiny("bert"))), [ONE, CHAT])
    score(Reward(model=ref(tiny("openassistant"))), [ONE, CHAT])
    score(Unieval(model=ref(tiny("t5"))), [ONE, CHAT])
    out, err = capfd.readouterr()
    assert not out and not err
