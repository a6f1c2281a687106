"""Generation: equal to transformers', whatever the batch; ends, limits, memory, draws."""

import logging

import pytest
import torch

from instructmine.contracts import Context
from instructmine.errors import ModelError, UsageError
from instructmine.modelref import ModelRef
from instructmine.models import generate
from instructmine.models.generate import Generator, LocalAnswerer
from instructmine.models.loading import quiet
from instructmine.pool import Message
from instructmine.sampling import Sampling
from tiny_models import CHATML

CPU = Context(device="cpu", threads=1)
TEXTS = [
    "Hi", "List three fruits.", "What is the capital of France?",
    "Write a short story about a dog that finds a red ball in the park and takes it home. " * 4,
    "Explain how rain forms: warm air rises, cools down.", "Yes or no?",
]  # fmt: skip
HISTORIES = [(Message("user", text),) for text in TEXTS]


def generator(folder, **sampling):
    made = Sampling(**{"max_new_tokens": 20, **sampling})
    return Generator.load(ModelRef(str(folder)), made, context=CPU)


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt", "bloom", "no_bos", "gemma2"])
def test_a_greedy_answer_does_not_depend_on_its_batch(tiny, name):
    made = generator(tiny(name))
    together = dict(made.answer(HISTORIES))
    alone = {i: dict(made.answer([one]))[0] for i, one in enumerate(HISTORIES)}
    assert together == alone and set(together) == set(range(len(TEXTS)))


def test_answers_are_transformers_own(tiny):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tiny("llama", template=CHATML)
    found = dict(generator(folder).answer(HISTORIES))
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
        for index, text in enumerate(TEXTS):
            ids = tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], add_generation_prompt=True,
                return_tensors="pt", return_dict=True,
            )  # fmt: skip
            end = tokenizer.convert_tokens_to_ids("<|im_end|>")
            made = model.generate(
                **ids, max_new_tokens=20, do_sample=False, eos_token_id=[2, end], pad_token_id=0
            )
            text = tokenizer.decode(made[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
            assert found[index].text == text.strip()


def test_an_answer_ends_where_the_template_ends_a_turn(tiny):
    made = generator(tiny("llama", template=CHATML))
    end = made.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert made.ends == [2, end]
    assert generator(tiny("no_bos")).ends == [0, 2]
    stopped = made._read([50, 51, end, 0, 0], 20)
    assert (stopped.tokens, stopped.finish) == (2, "stop")
    assert made._read([50] * 20, 20).finish == "length"


def test_a_plain_model_does_not_go_on_to_ask_itself(tiny):
    made = generator(tiny("llama"))
    ids = made.tokenizer("It is.\n\n### Instruction:\nMore", add_special_tokens=False)["input_ids"]
    assert made._read(ids, 99).text == "It is."
    assert made.renderer.text(HISTORIES[0], add_generation_prompt=True).startswith("<s>###")


def test_draws_are_the_prompts_own(tiny):
    made = generator(tiny("llama"), temperature=1.0, top_p=0.9, seed=3)
    together = dict(made.answer(HISTORIES))
    backwards = dict(made.answer(HISTORIES[::-1]))
    assert [together[i] for i in range(6)] == [backwards[5 - i] for i in range(6)]
    other = generator(tiny("llama"), temperature=1.0, top_p=0.9, seed=4)
    assert dict(other.answer(HISTORIES)) != together
    cold = generator(tiny("llama"), temperature=1e-6)
    assert dict(cold.answer(HISTORIES)) == dict(generator(tiny("llama")).answer(HISTORIES))


def test_draws_follow_the_probabilities_within_top_p():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]])).repeat(4000, 1)
    draw = generate._OwnDraws(Sampling(temperature=1.0, top_p=0.9), range(4000))
    chosen = draw(None, logits).argmax(1)
    share = torch.bincount(chosen, minlength=4) / 4000
    assert torch.allclose(share, torch.tensor([0.5, 0.3, 0.15, 0.0]) / 0.95, atol=0.03)


def test_running_out_of_memory_halves_the_batch(tiny, monkeypatch):
    made = generator(tiny("llama"))
    wanted, sizes, own = dict(made.answer(HISTORIES)), [], made._generate

    def small(prompts, seeds, room):
        sizes.append(len(prompts))
        if len(prompts) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return own(prompts, seeds, room)

    monkeypatch.setattr(made, "_generate", small)
    assert dict(made.answer(HISTORIES)) == wanted
    assert max(sizes) > 2

    def never(*_):
        raise MemoryError

    monkeypatch.setattr(made, "_generate", never)
    assert all("does not fit in memory" in one.problem for _, one in made.answer(HISTORIES))


def test_a_prompt_without_room_is_said_so_and_one_with_little_is_answered_alone(tiny, caplog):
    made = generator(tiny("llama"))
    made.tokenizer.model_max_length = 512
    logging.getLogger("transformers").addHandler(caplog.handler)  # it hands nothing on
    tight = (Message("user", "ball " * 165),)
    full = (Message("user", "ball " * 600),)
    found = dict(made.answer([*HISTORIES, tight, full]))
    logging.getLogger("transformers").removeHandler(caplog.handler)
    assert not caplog.records  # the problem says it, no line on the terminal
    room = 512 - len(made.tokenizer(made.renderer.text(tight, add_generation_prompt=True),
                                    add_special_tokens=False)["input_ids"])  # fmt: skip
    assert 0 < room < 20 or found[6].tokens == 20
    assert found[6].tokens <= max(room, 20) and not found[6].problem
    assert "512 tokens that the model reads" in found[7].problem
    assert {i: found[i] for i in range(6)} == dict(made.answer(HISTORIES))


def test_a_template_that_refuses_is_a_problem_of_that_prompt_alone(tiny):
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    made = generator(tiny("llama", template=template + CHATML))
    assert not made.accepts_system and generator(tiny("llama")).accepts_system
    found = dict(made.answer([(Message("system", "Be brief."), *HISTORIES[0]), HISTORIES[1]]))
    assert "no system" in found[0].problem and not found[1].problem


def test_what_is_no_causal_lm_is_one_line(tiny):
    with pytest.raises(ModelError, match="not a causal LM"):
        LocalAnswerer(model=ModelRef(str(tiny("bert")))).identity()


@pytest.mark.parametrize("wrong", [{"max_new_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}])
def test_what_is_no_sampling_is_one_line(wrong):
    with pytest.raises(UsageError):
        Sampling(**wrong)


def test_a_seed_is_identity_only_where_something_is_drawn():
    assert Sampling(seed=1).identity() == Sampling(seed=2).identity()
    warm = [Sampling(seed=n, temperature=0.7).identity() for n in (1, 2)]
    assert warm[0] != warm[1]
