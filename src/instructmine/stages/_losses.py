"""The loss of models on eval sets, kept in the work folder, and their paired differences."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instructmine.contracts import Evaluator
from instructmine.evals import EvalSet, SetLoss
from instructmine.files import write_text
from instructmine.identity import digest
from instructmine.intervals import bootstrap_difference
from instructmine.modelref import ModelRef
from instructmine.stages._run import Run


@dataclass(frozen=True)
class Losses:
    """Losses of models on sets, found or computed."""

    run: Run
    evaluator: Evaluator
    models: Mapping[str, ModelRef]
    sets: Sequence[EvalSet]

    def missing(self, name: str) -> list[EvalSet]:
        """Return the sets on which a model's loss is not known."""
        return [one for one in self.sets if not self._file(name, one).exists()]

    def measure(self) -> dict[tuple[str, str], SetLoss]:
        """Return the loss by (model, set), computing what is missing, a model at a time."""
        found = {}
        for done, (name, model) in enumerate(self.models.items()):
            self.run.report("loss of models", done, len(self.models))
            missing = self.missing(name)
            losses = ()
            if missing:
                losses = self.evaluator.evaluate(model, missing, context=self.run.context)
            for one, loss in zip(missing, losses, strict=True):
                write_text(self._file(name, one), json.dumps(loss.to_json()) + "\n")
            for one in self.sets:
                text = self._file(name, one).read_text(encoding="utf-8")
                found[name, one.name] = SetLoss.from_json(json.loads(text))
        self.run.report("loss of models", len(self.models), len(self.models))
        return found

    def _file(self, name: str, one: EvalSet) -> Path:
        key = digest([self.evaluator.identity(), self.models[name].identity(), one.digest])
        return self.run.workdir / "losses" / f"{key}.json"


def loss_results(
    losses: Mapping[tuple[str, str], SetLoss], against: str, seed: int
) -> list[dict[str, Any]]:
    """Return one entry per model and set, with the paired difference from `against`."""
    entries = []
    for (name, set_name), found in losses.items():
        entry: dict[str, Any] = {
            "model": name,
            "eval": set_name,
            "loss": found.loss,
            "se": found.se if len(found.losses) > 1 else None,
            "prompts": len(found.losses),
            "tokens": sum(found.tokens),
            "truncated": found.truncated,
            "against": None,
            "difference": None,
        }
        if name != against:
            other = losses[against, set_name]
            gap = bootstrap_difference(found.losses, other.losses, seed=seed)
            entry |= {"against": against, "difference": vars(gap)}
        entries.append(entry)
    return entries


def loss_rows(
    losses: Mapping[tuple[str, str], SetLoss], sets: Sequence[EvalSet]
) -> list[dict[str, Any]]:
    """Return one row per model, set and prompt."""
    by_name = {one.name: one for one in sets}
    return [
        {
            "kind": "loss", "model": name, "eval": set_name, "place": item.place,
            "loss": loss, "tokens": tokens,
        }
        for (name, set_name), found in losses.items()
        for item, loss, tokens in zip(
            by_name[set_name].items, found.losses, found.tokens, strict=True
        )
    ]  # fmt: skip
