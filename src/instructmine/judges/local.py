"""A causal LM on this machine as the judge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from instructmine.contracts import Context, Judge, execution
from instructmine.judge_prompt import JudgePrompt, load_prompt, read_reply
from instructmine.modelref import ModelRef
from instructmine.models.spec import ModelSpec, template_identity
from instructmine.pool import Message
from instructmine.sampling import Sampling
from instructmine.spending import Meter, estimated_tokens
from instructmine.verdicts import Answer, Question, Usage, Verdict

if TYPE_CHECKING:
    from instructmine.models.generate import Generator

TYPICAL_REPLY = 120  # tokens, for estimates


@dataclass(frozen=True, kw_only=True)
class Local(Judge):
    """Asks a model folder, greedily. The starter LM serves for trying out: it cannot judge.

    model: a folder, a hub id or `starter:lm`. prompt: `default` or a TOML file.
    max_tokens: of a reply; one that is cut is malformed.
    """

    version = 1

    model: ModelRef = ModelRef("starter:lm")
    prompt: str = "default"
    dtype: str = "float32"
    max_tokens: int = 512
    batch_cells: int | None = execution(None)

    def identity(self) -> dict[str, Any]:
        """The fields, with the prompt's digest for its name, and the chat template."""
        return {
            **super().identity(),
            "prompt": load_prompt(self.prompt).identity(),
            "template": template_identity(ModelSpec.read(self.model).template()),
        }

    def estimate(self, question: Question) -> Usage:
        """Estimate one question's usage from the text to be read."""
        sent = load_prompt(self.prompt).messages(question)
        tokens = sum(estimated_tokens(m.content) for m in sent)
        return Usage(1, tokens, min(TYPICAL_REPLY, self.max_tokens))

    def open(self, context: Context, meter: Meter) -> _LocalJudging:
        """Load the model. Raises ModelError where it is no causal LM."""
        from instructmine.models.generate import Generator

        generator = Generator.load(
            self.model, Sampling(max_new_tokens=self.max_tokens), dtype=self.dtype,
            context=context, batch_cells=self.batch_cells,
        )  # fmt: skip
        return _LocalJudging(generator, load_prompt(self.prompt), meter)


class _LocalJudging:
    def __init__(self, generator: Generator, prompt: JudgePrompt, meter: Meter) -> None:
        self.generator = generator
        self.prompt = prompt
        self.meter = meter
        self._one_role = not generator.accepts_system

    def _fit(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """Put the system message in front of the user's where the template knows no such role."""
        if not self._one_role or messages[0].role != "system":
            return messages
        system, user, *rest = messages
        return (Message("user", f"{system.content}\n\n{user.content}"), *rest)

    def judge(self, questions: Sequence[Question]) -> Iterator[tuple[int, Verdict]]:
        """Yield verdicts batch by batch; unreadable replies are asked about once more."""
        asked = [i for i in range(len(questions)) if self.meter.reserve(Usage(1))]
        again: dict[int, Verdict] = {}
        sent = [self._fit(self.prompt.messages(questions[i])) for i in asked]
        for place, answer in self.generator.answer(sent):
            index = asked[place]
            verdict = _verdict(questions[index], answer)
            self.meter.settle(Usage(1), verdict.usage)
            if verdict.problem == "malformed" and self.meter.reserve(Usage(1)):
                again[index] = verdict
            else:
                yield index, verdict
        indices = list(again)
        sent = [self._fit(self.prompt.again(questions[i], again[i].text)) for i in indices]
        for place, answer in self.generator.answer(sent):
            first = again[indices[place]]
            second = _verdict(questions[indices[place]], answer)
            self.meter.settle(Usage(1), second.usage)
            if second.problem == "too long":  # what failed is the first reply
                second = first
            text = f"{first.text}\n\n[asked again]\n\n{answer.text}"
            usage = first.usage + second.usage
            yield indices[place], Verdict(**{**vars(second), "text": text, "usage": usage})


def _verdict(question: Question, answer: Answer) -> Verdict:
    usage = Usage(1, 0, answer.tokens)
    if answer.problem:
        return Verdict(problem="too long", text=answer.problem, usage=usage)
    if answer.finish == "length":
        return Verdict(problem="malformed", text=answer.text, usage=usage)
    read = read_reply(question, answer.text)
    return Verdict(read.outcome, read.grade, read.problem, answer.text, usage=usage)
