"""One trial: fine-tune on a subset, measure the loss, keep the result.

    WORKDIR/trials/<key>/training.json     what training took, or why it failed
    WORKDIR/trials/<key>/loss-<key>.json   loss per prompt of one eval set
    WORKDIR/trials/<key>/model/            the checkpoint, where it is kept

The key is the digest of trainer, seed and example ids, so that whatever asks for the same
training again, in this run or in another command, finds it.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from instructmine.contracts import Checkpoint, Context, Evaluator, Resources, Trainer, Worker
from instructmine.evals import EvalSet, SetLoss
from instructmine.files import write_text
from instructmine.identity import digest, ids_digest
from instructmine.modelref import ModelRef
from instructmine.pool import Example

FACTS, MODEL = "training.json", "model"
UNTRAINED = {"steps": 0, "epochs": 0.0, "tokens": 0, "response_tokens": 0, "seconds": 0.0}


@dataclass(frozen=True)
class TrialJob:
    """A subset to train on with one seed; without examples the base model is measured as it is."""

    key: str
    seed: int
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class TrialResult:
    """What came out. losses: eval set → its loss; empty where `error` says why."""

    key: str
    facts: Mapping[str, Any]
    losses: Mapping[str, SetLoss]
    folder: Path | None = None

    @property
    def error(self) -> str | None:
        """Why there is no loss: training diverged, or the model's loss is no number."""
        if "error" in self.facts:
            return str(self.facts["error"])
        for name, found in self.losses.items():
            if not math.isfinite(found.loss):
                return f"diverged: the loss on {name} is not a number"
        return None


@dataclass(frozen=True)
class TrialRunner(Worker):
    """Runs trials of one trainer and one evaluator; a worker for the engine. Picklable.

    keep: whether checkpoints stay. root: the folder that results are kept in.
    """

    trainer: Trainer
    evaluator: Evaluator
    sets: tuple[EvalSet, ...]
    root: Path
    context: Context
    keep: bool = False

    def key(self, ids: Iterable[bytes], seed: int) -> str:
        """Return the key of a training; the order of the ids does not matter."""
        return digest([self.trainer.identity(), ids_digest(ids), seed])

    @property
    def resources(self) -> Resources:
        """What the trainer asks for; no GPU where training is to be on the CPU."""
        gpus = 0.0 if self.context.device == "cpu" else self.trainer.gpus
        return Resources(self.trainer.cpus, gpus)

    def give_up(self, job: TrialJob, reason: str) -> TrialResult:
        """Return a failed trial that is not kept: with more memory it may well succeed."""
        return TrialResult(job.key, {**UNTRAINED, "error": reason}, {})

    def __call__(self, job: TrialJob) -> TrialResult:
        """Do what is missing of a trial; two processes never do the same one at once."""
        folder = self.root / job.key
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            if (done := self.find(job.key)) is not None:
                return done
            if not job.examples:
                _write_json(folder / FACTS, UNTRAINED)
                self._evaluate(folder, self.trainer.base_model)
                return self._found(job.key)
            model = folder / MODEL
            if not (model.is_dir() and (folder / FACTS).exists()):
                trained = self.trainer.train(
                    job.examples, seed=job.seed, folder=model, context=self.context
                )
                _write_json(folder / FACTS, {**trained.facts, "kept": self.keep})
            facts = _read_json(folder / FACTS)
            if "error" not in facts:  # a model that an earlier run was to keep stays
                keep = self.keep or facts["kept"]
                self._evaluate(folder, Checkpoint(model, facts).model, remove=not keep)
        return self._found(job.key)

    def _evaluate(self, folder: Path, model: ModelRef, *, remove: bool = False) -> None:
        missing = [one for one in self.sets if not self._loss_file(folder, one).exists()]
        losses = self.evaluator.evaluate(model, missing, context=self.context)
        if remove:  # before the losses, which say that the trial is finished
            shutil.rmtree(folder / MODEL, ignore_errors=True)
        for one, found in zip(missing, losses, strict=True):
            _write_json(self._loss_file(folder, one), found.to_json())

    def _found(self, key: str) -> TrialResult:
        found = self.find(key)
        assert found is not None
        return found

    def find(self, key: str) -> TrialResult | None:
        """Return a finished trial, or None while anything of it is missing."""
        folder = self.root / key
        if not (folder / FACTS).exists():
            return None
        facts = _read_json(folder / FACTS)
        model = folder / MODEL
        if "error" in facts:
            return TrialResult(key, facts, {})
        files = {one.name: self._loss_file(folder, one) for one in self.sets}
        kept = self.keep and facts != UNTRAINED
        if not all(path.exists() for path in files.values()) or (kept and not model.is_dir()):
            return None
        losses = {name: SetLoss.from_json(_read_json(path)) for name, path in files.items()}
        return TrialResult(key, facts, losses, model if kept else None)

    def _loss_file(self, folder: Path, one: EvalSet) -> Path:
        return folder / f"loss-{digest([self.evaluator.identity(), one.digest])[:16]}.json"


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(value, indent=1) + "\n")


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
