"""Answers of a causal language model, generated in batches.

A batch holds prompts of like length, padded on the left; a row's answer is chosen from its own
logits and its own random numbers alone, so neighbours change no more than the last bits of the
logits. Prompts that leave less room than asked for are answered singly.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from instructmine.contracts import Answerer, Context, execution
from instructmine.identity import digest
from instructmine.modelref import ModelRef
from instructmine.models.batching import out_of_memory, plan
from instructmine.models.causal_lm import require_causal
from instructmine.models.loading import load_model, quiet
from instructmine.models.spec import ModelSpec, template_identity
from instructmine.models.templates import Renderer, TemplateRefusalError
from instructmine.models.tokens import load_tokenizer
from instructmine.models.training_text import training_template
from instructmine.pool import Message
from instructmine.sampling import Sampling
from instructmine.spending import Meter
from instructmine.verdicts import Answer

CPU_CELLS = 16_384  # positions held of one batch, prompts and answers, on a CPU
GPU_CELLS = 262_144
_PLAIN_STOP = "\n\n### Instruction:"  # where a model without a chat template asks itself more


@dataclass(frozen=True, kw_only=True)
class LocalAnswerer(Answerer):
    """A model in a folder, run through transformers.

    batch_cells: positions of one batch, prompts and answers together; halved when memory runs out.
    """

    version = 1

    model: ModelRef
    sampling: Sampling = Sampling()
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    batch_cells: int | None = execution(None)

    def identity(self) -> dict[str, Any]:
        """The fields, with the template in force."""
        spec = ModelSpec.read(self.model)
        require_causal(spec)
        return {**super().identity(), "template": template_identity(spec.template())}

    def open(self, context: Context, meter: Meter) -> Generator:
        """Load the model. Raises ModelError where it is no causal LM."""
        return Generator.load(
            self.model, self.sampling, dtype=self.dtype, context=context,
            batch_cells=self.batch_cells,
        )  # fmt: skip


class Generator:
    """A causal LM that answers."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        spec: ModelSpec,
        sampling: Sampling,
        batch_cells: int | None = None,
    ) -> None:
        self.model = model
        self.spec = spec
        self.sampling = sampling
        self.tokenizer = tokenizer
        template = training_template(spec, tokenizer)
        self.renderer = Renderer(template, tokenizer.special_tokens_map)
        self.plain = template.origin == "plain"
        self.limit = spec.max_length(None)
        own = CPU_CELLS if model.device.type == "cpu" else GPU_CELLS
        self.cells = batch_cells or own
        self.pad = tokenizer.pad_token_id or 0
        self.ends = self._end_ids()

    @classmethod
    def load(
        cls,
        model: ModelRef,
        sampling: Sampling,
        *,
        dtype: str = "float32",
        context: Context | None = None,
        batch_cells: int | None = None,
    ) -> Generator:
        """Load a model by name. Raises ModelError where it is no causal LM."""
        from transformers import AutoModelForCausalLM

        spec = ModelSpec.read(model)
        require_causal(spec)
        loaded = load_model(
            AutoModelForCausalLM, spec, dtype=dtype, context=context or Context(),
            purpose="a causal LM",
        )  # fmt: skip
        return cls(loaded, load_tokenizer(spec), spec, sampling, batch_cells)

    def _end_ids(self) -> list[int]:
        """Return the tokens that end an answer: EOS, and what the template writes behind one."""
        found = self.model.generation_config.eos_token_id
        ends = set(found if isinstance(found, list) else [found]) - {None}
        if self.tokenizer.eos_token_id is not None:
            ends.add(self.tokenizer.eos_token_id)
        try:
            after = self.renderer.turn((Message("user", "x"),), "x").after
        except TemplateRefusalError:
            return sorted(ends)
        first = self.tokenizer(after.lstrip(), add_special_tokens=False)["input_ids"][:1]
        return sorted(ends | (set(first) & set(self.tokenizer.all_special_ids)))

    @property
    def accepts_system(self) -> bool:
        """Whether the chat template takes a system message."""
        try:
            self.renderer.text((Message("system", "x"), Message("user", "x")))
        except TemplateRefusalError:
            return False
        return True

    # ── answering ───────────────────────────────────────────────────────────────────────────

    def answer(self, histories: Sequence[tuple[Message, ...]]) -> Iterator[tuple[int, Answer]]:
        """Yield (index, answer) batch by batch, longest prompts first."""
        prompts: dict[int, list[int]] = {}
        for index, history in enumerate(histories):
            try:
                text = self.renderer.text(history, add_generation_prompt=True)
            except TemplateRefusalError as error:
                yield index, Answer("", problem=f"the chat template refuses it: {error}")
                continue
            # Not verbose: what is too long is the answer's problem below, not a line in a log.
            ids = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            if self.limit is not None and len(ids) >= self.limit:
                why = f"its prompt is longer than the {self.limit} tokens that the model reads"
                yield index, Answer("", problem=why)
                continue
            prompts[index] = ids
        room = {i: self._room(ids) for i, ids in prompts.items()}
        tight = [i for i in prompts if room[i] < self.sampling.max_new_tokens]
        # A tight prompt has a limit of its own, so it cannot share a batch.
        pending = [*self._plan(prompts, tight), *([i] for i in tight)]
        while pending:
            batch = pending.pop(0)
            made = self._attempt([prompts[i] for i in batch], histories, batch, room[batch[0]])
            if made is not None:
                yield from zip(batch, made, strict=True)
            elif len(batch) == 1:
                yield batch[0], Answer("", problem="it does not fit in memory")
            else:
                most = max(len(prompts[i]) + room[i] for i in batch) * len(batch)
                self.cells = max(1, min(self.cells, most) // 2)
                rest = {i: prompts[i] for one in [batch, *pending] for i in one}
                alone = [i for i in rest if i in tight]
                pending = [*self._plan(rest, alone), *([i] for i in alone)]

    def _plan(self, prompts: dict[int, list[int]], without: Sequence[int]) -> list[list[int]]:
        left_out = set(without)
        chosen = [index for index in prompts if index not in left_out]
        lengths = [len(prompts[i]) + self.sampling.max_new_tokens for i in chosen]
        return [[chosen[place] for place in batch] for batch in plan(lengths, self.cells)]

    def _room(self, ids: Sequence[int]) -> int:
        most = self.sampling.max_new_tokens
        return most if self.limit is None else min(most, self.limit - len(ids))

    def _attempt(
        self,
        prompts: Sequence[Sequence[int]],
        histories: Sequence[tuple[Message, ...]],
        batch: Sequence[int],
        room: int,
    ) -> list[Answer] | None:
        """Return the answers of a batch, or None where memory ran out."""
        seeds = [_seed(self.sampling.seed, histories[i]) for i in batch]
        try:
            with torch.inference_mode(), quiet():
                return self._generate(prompts, seeds, room)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        gc.collect()
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _generate(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], room: int
    ) -> list[Answer]:
        longest = max(map(len, prompts))
        ids = torch.full((len(prompts), longest), self.pad, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = torch.tensor(prompt)
            mask[row, longest - len(prompt) :] = 1
        options: dict[str, Any] = {}
        if self.sampling.temperature > 0:
            options["logits_processor"] = [_OwnDraws(self.sampling, seeds)]
        device = self.model.device
        found = self.model.generate(
            input_ids=ids.to(device), attention_mask=mask.to(device), max_new_tokens=room,
            do_sample=False, num_beams=1, temperature=None, top_p=None, top_k=None,
            eos_token_id=self.ends or None, pad_token_id=self.pad, **options,
        )  # fmt: skip
        return [self._read(row, room) for row in found[:, longest:].tolist()]

    def _read(self, ids: list[int], room: int) -> Answer:
        """Cut an answer where it ends, and say how it ended."""
        ends = set(self.ends)
        stop = next((place for place, token in enumerate(ids) if token in ends), None)
        kept = ids if stop is None else ids[:stop]
        text = self.tokenizer.decode(kept, skip_special_tokens=True)
        finish = "length" if stop is None and len(kept) >= room else "stop"
        if self.plain and _PLAIN_STOP in text:
            text, finish = text.partition(_PLAIN_STOP)[0], "stop"
        return Answer(text.strip(), tokens=len(kept), finish=finish)


class _OwnDraws:
    """Draws each row's next token with the row's own random numbers, by its inverse CDF.

    It leaves one token possible, so that the search that follows takes it.
    """

    def __init__(self, sampling: Sampling, seeds: Sequence[int]) -> None:
        self.sampling = sampling
        self.rngs = [np.random.default_rng(seed) for seed in seeds]

    def __call__(self, _ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        chances = torch.softmax(scores.float() / self.sampling.temperature, dim=-1)
        chances, order = chances.sort(dim=-1, descending=True, stable=True)
        reached = chances.cumsum(dim=-1)
        inside = reached - chances < self.sampling.top_p  # the first one always is
        reached = torch.where(inside, reached, torch.inf)
        total = torch.where(inside, chances, 0).sum(dim=-1)
        drawn = torch.tensor([rng.random() for rng in self.rngs], device=scores.device)
        place = (reached < (drawn * total)[:, None]).sum(dim=-1, keepdim=True)
        place = torch.minimum(place, inside.sum(dim=-1, keepdim=True) - 1)
        chosen = order.gather(1, place)
        return torch.full_like(scores, -torch.inf).scatter(1, chosen, 0.0)


def _seed(seed: int, history: Sequence[Message]) -> int:
    """Return the seed of one prompt: the same whoever stands beside it."""
    return int(digest([seed, [[m.role, m.content] for m in history]])[:16], 16)
