"""Scores of models on lm-evaluation-harness tasks, kept in the work folder."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from instructmine.files import write_text
from instructmine.identity import digest
from instructmine.modelref import ModelRef
from instructmine.stages._run import Run

MEAN = "mean of the four"


def openllm_results(
    run: Run,
    models: Mapping[str, ModelRef],
    *,
    openllm: bool,
    tasks: Sequence[str],
    limit: int | None,
) -> list[dict[str, Any]]:
    """Return one entry per model and task, and per model the mean over OpenLLM's four.

    Scores of tasks by name are kept; a task in a YAML file is run anew, as its data may have
    changed. Raises UsageError, MissingExtraError, InstructmineError before a model is loaded.
    """
    from instructmine.models import openllm as harness_module

    wanted = [*(harness_module.OPENLLM if openllm else ())]
    wanted += [harness_module.Task(name) for name in tasks]
    version = harness_module.version()
    entries, harness = [], None
    for done, (name, model) in enumerate(models.items()):
        run.report("models on lm_eval tasks", done, len(models))
        kept: dict[str, Any] = {}
        files = {}
        for task in wanted:
            stated = [model.identity(), vars(task), limit, version]
            files[task.name] = run.workdir / "openllm" / f"{digest(stated)}.json"
            if not task.name.endswith((".yaml", ".yml")) and files[task.name].exists():
                kept[task.name] = json.loads(files[task.name].read_text(encoding="utf-8"))
        missing = [task for task in wanted if task.name not in kept]
        if missing:
            if harness is None or harness.tasks != missing:
                harness = harness_module.Harness(missing)
            for task, score in harness.run(model, context=run.context, limit=limit):
                kept[task.name] = score.to_json()
                write_text(files[task.name], json.dumps(kept[task.name]) + "\n")
        entries += [{"model": name, **kept[task.name]} for task in wanted]
        if openllm:
            entries.append(_mean(name, [kept[task.name] for task in harness_module.OPENLLM]))
    run.report("models on lm_eval tasks", len(models), len(models))
    return entries


def _mean(name: str, scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the mean of tasks; its error treats them as independent."""
    errors = [one["stderr"] for one in scores]
    known = all(error is not None for error in errors)
    return {
        "model": name,
        "task": MEAN,
        "metric": "",
        "value": sum(one["value"] for one in scores) / len(scores),
        "stderr": math.sqrt(sum(e**2 for e in errors)) / len(scores) if known else None,
        "shots": None,
        "items": sum(one["items"] for one in scores),
        "version": "",
    }
