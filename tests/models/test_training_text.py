"""What is trained on: ids as scoring has them, the loss on assistant tokens and end tokens."""

import pytest

from instructmine.modelref import ModelRef
from instructmine.models.spec import ModelSpec
from instructmine.models.templates import TemplateRefusalError
from instructmine.models.tokens import load_tokenizer
from instructmine.models.training_text import TrainingTexts
from instructmine.pool import Example, Message
from tiny_models import CHATML

CHAT = Example(
    (
        Message("system", "Be brief."),
        Message("user", "What is the capital of France?"),
        Message("assistant", "Paris."),
        Message("user", "And a fruit?"),
        Message("assistant", "Apples, pears — naïve café"),
    )
)
SINGLE = Example.single("List three fruits.", "Apples, pears and plums.")


def texts(folder, max_length=None):
    spec = ModelSpec.read(ModelRef(str(folder)))
    tokenizer = load_tokenizer(spec)
    return TrainingTexts(spec, tokenizer, max_length), tokenizer


def trained(encoded, tokenizer):
    """The trained tokens as text, one string per run."""
    runs, last = [], None
    for place in encoded.targets:
        if last is None or place != last + 1:
            runs.append([])
        runs[-1].append(encoded.ids[place])
        last = place
    return [tokenizer.decode(run) for run in runs]


def test_every_assistant_turn_and_its_end_token_are_trained(tiny):
    encoder, tokenizer = texts(tiny("llama", template=CHATML))
    encoded = encoder.encode(CHAT)
    assert trained(encoded, tokenizer) == [
        "Paris.<|im_end|>", "Apples, pears — naïve café<|im_end|>"
    ]  # fmt: skip
    messages = [{"role": m.role, "content": m.content} for m in CHAT.messages]
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    assert encoded.ids == tokenizer(whole, add_special_tokens=False)["input_ids"]


def test_the_starter_template_ends_in_its_end_token():
    encoder, tokenizer = texts(ModelRef("starter:lm").folder())
    encoded = encoder.encode(SINGLE)
    assert trained(encoded, tokenizer) == [" Apples, pears and plums.<|eos|>"]
    assert tokenizer.decode(encoded.ids).startswith("<|bos|>User: List three fruits.")


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_model_without_template_gets_the_plain_one_between_start_and_end(tiny, kind):
    encoder, tokenizer = texts(tiny(kind))
    encoded = encoder.encode(SINGLE)
    start = tokenizer.bos_token or tokenizer.eos_token
    end = tokenizer.eos_token
    assert tokenizer.decode(encoded.ids) == (
        f"{start}### Instruction:\nList three fruits.\n\n"
        f"### Response:\nApples, pears and plums.{end}"
    )
    assert trained(encoded, tokenizer) == [f"Apples, pears and plums.{end}"]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "no_bos"])
def test_scoring_reads_the_ids_that_training_saw(tiny, kind):
    from instructmine.models.causal_lm import CausalLM

    folder = tiny(kind)
    encoded = texts(folder)[0].encode(SINGLE)
    (span,), _ = CausalLM.load(ModelRef(str(folder))).spans(SINGLE.turns)
    assert encoded.ids[: len(span.ids)] == span.ids
    assert encoded.targets[: len(span.response)] == list(range(span.start, span.end))


def test_a_long_text_loses_its_prompt_first_and_keeps_its_start(tiny):
    folder = tiny("llama", template=CHATML)
    whole = texts(folder)[0].encode(CHAT)
    cut = texts(folder, len(whole) - 9)[0].encode(CHAT)
    assert cut.cut and not whole.cut
    assert cut.ids == whole.ids[:1] + whole.ids[10:]
    assert [cut.ids[t] for t in cut.targets] == [
        whole.ids[t] for t in whole.targets if t == 0 or t >= 10
    ]


def test_a_response_longer_than_the_limit_loses_its_end(tiny):
    folder = tiny("llama", template=CHATML)
    cut = texts(folder, 6)[0].encode(SINGLE)
    whole = texts(folder)[0].encode(SINGLE)
    first = whole.targets[0]
    assert cut.ids == whole.ids[:1] + whole.ids[first : first + 5]
    assert cut.targets == [1, 2, 3, 4, 5]


def test_an_example_without_a_word_of_the_assistant_is_refused(tiny):
    encoder, _ = texts(tiny("gpt2"))
    silent = Example((Message("user", "Hello"), Message("assistant", "")))
    # Plain text ends in the end token, but nothing was said before it.
    with pytest.raises(TemplateRefusalError):
        encoder.encode(silent)
