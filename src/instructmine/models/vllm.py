"""Answers of a model through vLLM, where that is installed. It batches by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from instructmine.contracts import Answerer, Context
from instructmine.errors import MissingExtraError
from instructmine.modelref import ModelRef
from instructmine.models.spec import ModelSpec, template_identity
from instructmine.pool import Message
from instructmine.sampling import Sampling
from instructmine.spending import Meter
from instructmine.verdicts import Answer


@dataclass(frozen=True, kw_only=True)
class VllmAnswerer(Answerer):
    """A model folder or hub id, run by vLLM with its own chat template."""

    version = 1

    model: ModelRef
    sampling: Sampling = field(default_factory=Sampling)

    def identity(self) -> dict[str, Any]:
        """The fields, with the template in force."""
        template = template_identity(ModelSpec.read(self.model).template())
        return {**super().identity(), "template": template}

    def open(self, context: Context, meter: Meter) -> _VllmAnswering:
        """Load the model. Raises MissingExtraError where vLLM is not installed."""
        try:
            import vllm
        except ImportError as error:
            raise MissingExtraError("vllm", "vllm", "a model named vllm:…") from error
        return _VllmAnswering(vllm, self)


class _VllmAnswering:
    def __init__(self, vllm: Any, config: VllmAnswerer) -> None:
        spec = ModelSpec.read(config.model)
        sampling = config.sampling
        self.template = spec.template().source
        self.model = vllm.LLM(model=str(spec.folder), trust_remote_code=False)
        self.parameters = vllm.SamplingParams(
            temperature=sampling.temperature, top_p=sampling.top_p,
            seed=sampling.seed, max_tokens=sampling.max_new_tokens,
        )  # fmt: skip

    def answer(self, histories: Sequence[tuple[Message, ...]]) -> Iterator[tuple[int, Answer]]:
        chats = [[{"role": m.role, "content": m.content} for m in one] for one in histories]
        found = self.model.chat(chats, self.parameters, chat_template=self.template, use_tqdm=False)
        for index, one in enumerate(found):
            made = one.outputs[0]
            finish = "length" if made.finish_reason == "length" else "stop"
            yield index, Answer(made.text.strip(), len(made.token_ids), finish)
