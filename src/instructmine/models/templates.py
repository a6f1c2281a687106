"""How a conversation becomes the text a model reads: chat templates, rendered the same always.

A template is Jinja source, as `transformers` defines it: it sees `messages`, the special tokens
and `add_generation_prompt`. Rendering here differs from `transformers` in one thing: the date is
fixed, since templates that print today's would give other scores tomorrow.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from instructmine.pool import Message

DATE = datetime(2024, 7, 26, tzinfo=UTC)  # the date that Llama's templates fall back to
_MARK = "\ue000response\ue001"  # private-use characters: never in a template or its constants


@dataclass(frozen=True)
class ChatTemplate:
    """Jinja source and where it comes from: "model", "plain" or "openassistant"."""

    source: str
    origin: str


# For base models that have no template: headings that need no special token.
PLAIN = ChatTemplate(
    source=(
        "{%- for message in messages -%}"
        "{%- if message.role == 'system' -%}{{ message.content }}"
        "{%- elif message.role == 'assistant' -%}{{ '### Response:\n' + message.content }}"
        "{%- elif message.role == 'tool' -%}{{ '### Tool:\n' + message.content }}"
        "{%- else -%}{{ '### Instruction:\n' + message.content }}{%- endif -%}"
        "{%- if not loop.last -%}{{ '\n\n' }}{%- endif -%}"
        "{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{ '\n\n### Response:\n' }}{%- endif -%}"
    ),
    origin="plain",
)

# What the OpenAssistant reward models were trained on. They know two roles, so a system message
# opens the prompter's turn that follows it.
OPENASSISTANT = ChatTemplate(
    source=(
        "{%- set ns = namespace(system='') -%}"
        "{%- for message in messages -%}"
        "{%- if message.role == 'system' -%}"
        "{%- set ns.system = ns.system + message.content + '\n\n' -%}"
        "{%- elif message.role == 'assistant' -%}"
        "{{ '<|assistant|>' + message.content + '<|endoftext|>' }}"
        "{%- else -%}"
        "{{ '<|prompter|>' + ns.system + message.content + '<|endoftext|>' }}"
        "{%- set ns.system = '' -%}"
        "{%- endif -%}"
        "{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{ '<|assistant|>' }}{%- endif -%}"
    ),
    origin="openassistant",
)


@dataclass(frozen=True)
class Rendered:
    """A conversation as text, with the place of the last response in it."""

    before: str
    response: str
    after: str


class TemplateRefusalError(ValueError):
    """A template does not accept a conversation (for instance a system message)."""


class Renderer:
    """Renders conversations with one template and one tokenizer's special tokens."""

    def __init__(self, template: ChatTemplate, special_tokens: Mapping[str, Any]) -> None:
        self.template = template
        self._tokens = {k: v for k, v in special_tokens.items() if isinstance(v, str)}
        self._compiled = _compile(template.source)
        self._strips_left, self._strips_right = self._probe()

    def text(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> str:
        """Render messages. Raises TemplateRefusalError where the template does not accept them."""
        from jinja2.exceptions import TemplateError

        plain = [{"role": m.role, "content": m.content} for m in messages]
        try:
            return self._compiled.render(
                messages=plain, add_generation_prompt=add_generation_prompt, **self._tokens
            )
        except (TemplateError, TypeError) as error:
            raise TemplateRefusalError(str(error)) from error

    def turn(self, history: Sequence[Message], response: str) -> Rendered:
        """Render a history and its response so that the response's place is known exactly.

        The response is rendered as a mark and put in afterwards: searching for its words would
        find them in the prompt, and rendering the prompt alone would end differently in templates
        that write something between.
        """
        whole = self.text((*history, Message("assistant", _MARK)))
        before, mark, after = whole.rpartition(_MARK)
        if not mark:
            raise TemplateRefusalError("it leaves the response out")
        response = response.lstrip() if self._strips_left else response
        return Rendered(before, response.rstrip() if self._strips_right else response, after)

    def conversation(self, messages: Sequence[Message]) -> tuple[str, list[tuple[int, int]]]:
        """Render messages; returns the text and where in it each assistant message stands.

        Raises TemplateRefusalError where the template does not accept them all.
        """
        said = [m.content for m in messages if m.role == "assistant"]
        marked = [Message(m.role, _MARK) if m.role == "assistant" else m for m in messages]
        parts = self.text(marked).split(_MARK)
        if len(parts) != len(said) + 1:
            raise TemplateRefusalError("it leaves a response out")
        text, places = parts[0], []
        for response, rest in zip(said, parts[1:], strict=True):
            response = response.lstrip() if self._strips_left else response
            response = response.rstrip() if self._strips_right else response
            places.append((len(text), len(text) + len(response)))
            text += response + rest
        return text, places

    def _probe(self) -> tuple[bool, bool]:
        """Find out whether the template strips the blanks around a response."""
        messages = (Message("user", "x"), Message("assistant", f"\t{_MARK}\t"))
        try:
            text = self.text(messages)
        except TemplateRefusalError:
            return (False, False)
        return (f"\t{_MARK}" not in text, f"{_MARK}\t" not in text)


@functools.lru_cache(maxsize=16)
def _compile(source: str) -> Any:
    import jinja2.ext
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_generation_tag(), jinja2.ext.loopcontrols],
    )

    def refuse(message: str) -> None:
        raise jinja2.exceptions.TemplateError(message)

    def to_json(value: Any, indent: int | None = None, **_: Any) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent)

    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = DATE.strftime
    return environment.from_string(source)


@functools.cache
def _generation_tag() -> type:
    """Return the extension for `{% generation %}`, which marks text and writes nothing."""
    import jinja2.ext
    import jinja2.nodes

    class GenerationTag(jinja2.ext.Extension):
        tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return jinja2.nodes.Scope(body).set_lineno(line)

    return GenerationTag
