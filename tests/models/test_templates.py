"""Chat templates: as transformers renders them, with the response's place known."""

import pytest

from instructmine.models.templates import PLAIN, ChatTemplate, Renderer, TemplateRefusalError
from instructmine.models.tokens import TokenSpan
from instructmine.pool import Message
from tiny_models import CHATML

LLAMA2 = (
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + message['content'].strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}"
    "{{ ' '  + message['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
GENERATION = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ 'A: ' }}{% generation %}"
    "{{ m.content + eos_token }}{% endgeneration %}{% else %}{{ 'U: ' + m.content + '\n' }}"
    "{% endif %}{% endfor %}"
)
NAMESPACE = (
    "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}"
    "{% if loop.first %}{% continue %}{% endif %}"
    "{{ ns.n ~ m.content | tojson if m.role == 'user' else m.content }}{% endfor %}"
)
MESSAGES = (
    Message("user", "  What is “it”? "),
    Message("assistant", "Yes."),
    Message("user", "Why?"),
)
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


@pytest.mark.parametrize("source", [CHATML, LLAMA2, GENERATION, NAMESPACE, PLAIN.source])
@pytest.mark.parametrize("response", ["Because it is.", "  blanks around \n", "Yes.", "s"])
def test_renders_as_transformers_does(tiny, source, response):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny("llama"))
    messages = [{"role": m.role, "content": m.content} for m in MESSAGES]
    messages.append({"role": "assistant", "content": response})
    wanted = tokenizer.apply_chat_template(messages, chat_template=source, tokenize=False)
    text = Renderer(ChatTemplate(source, "model"), tokenizer.special_tokens_map).turn(
        MESSAGES, response
    )
    assert text.before + text.response + text.after == wanted
    assert text.response.strip() == response.strip()


def test_plain_template_has_headings_and_no_special_tokens():
    history = (Message("system", "Be kind."), Message("user", "hi"))
    text = Renderer(PLAIN, TOKENS).turn(history, "Hello.")
    assert text.before == "Be kind.\n\n### Instruction:\nhi\n\n### Response:\n"
    assert text.after == ""
    prompt = Renderer(PLAIN, TOKENS).text(history, add_generation_prompt=True)
    assert prompt == text.before


def test_the_date_does_not_change_a_rendering():
    template = ChatTemplate("{{ strftime_now('%d %b %Y') }}{{ messages[-1].content }}", "model")
    assert Renderer(template, TOKENS).turn((), "x").before == "26 Jul 2024"


def test_refusals_are_told_apart():
    with pytest.raises(TemplateRefusalError, match="roles must alternate"):
        Renderer(ChatTemplate("{{ raise_exception('roles must alternate') }}", "model"), {}).text(
            MESSAGES
        )
    with pytest.raises(TemplateRefusalError, match="leaves the response out"):
        Renderer(ChatTemplate("{{ messages[0].content }}", "model"), {}).turn(MESSAGES, "x")


def test_templates_cannot_reach_out():
    evil = ChatTemplate("{{ ''.__class__.__mro__[1].__subclasses__() }}{{ messages }}", "model")
    with pytest.raises(TemplateRefusalError):
        Renderer(evil, {}).text(MESSAGES)


@pytest.mark.parametrize(
    ("limit", "wanted", "start", "end"),
    [
        (9, [0, 1, 2, 3, 4, 5, 6, 7, 8], 4, 7),
        (8, [0, 2, 3, 4, 5, 6, 7, 8], 3, 6),
        (6, [0, 4, 5, 6, 7, 8], 1, 4),
        (5, [0, 4, 5, 7, 8], 1, 3),
        (4, [0, 4, 7, 8], 1, 2),
        (None, [0, 1, 2, 3, 4, 5, 6, 7, 8], 4, 7),
    ],
)
def test_cutting(limit, wanted, start, end):
    span = TokenSpan(list(range(9)), 4, 7).fit(limit, keep=1)
    assert (span.ids, span.start, span.end) == (wanted, start, end)
    assert span.cut == (len(wanted) < 9)
