"""Runs lm-evaluation-harness tasks, quietly: the four of the Open LLM Leaderboard, or any other."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instructmine.contracts import Context
from instructmine.errors import InstructmineError, MissingExtraError, ModelError, UsageError
from instructmine.modelref import ModelRef
from instructmine.models.causal_lm import require_causal
from instructmine.models.loading import quiet, require_safetensors, torch_device
from instructmine.models.spec import ModelSpec

_METRICS = ("acc_norm", "acc", "exact_match", "f1", "mc2", "bleu_max", "word_perplexity")


@dataclass(frozen=True)
class Task:
    """One task: its name in lm_eval or a YAML file, its examples in the prompt, its metric.

    None leaves the task its own.
    """

    name: str
    shots: int | None = None
    metric: str | None = None


# The Open LLM Leaderboard of 2023, on which the figures of the InstructMining paper are.
OPENLLM = (
    Task("arc_challenge", 25, "acc_norm"),
    Task("hellaswag", 10, "acc_norm"),
    Task("mmlu", 5, "acc"),
    Task("truthfulqa_mc2", 0, "acc"),
)


@dataclass(frozen=True)
class TaskScore:
    """One model on one task; higher is better for all of OpenLLM's. stderr: None if not known."""

    task: str
    metric: str
    value: float
    stderr: float | None
    shots: int
    items: int
    version: str

    def to_json(self) -> dict[str, Any]:
        """Return JSON-like values."""
        return dict(vars(self))


class Harness:
    """lm_eval with its tasks loaded, before any model is."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        """Load tasks and their data. Raises UsageError, MissingExtraError, InstructmineError."""
        try:
            with _silence():
                from lm_eval.tasks import TaskManager
        except ImportError as error:
            raise MissingExtraError(error.name or "lm_eval", "openllm", "OpenLLM") from error
        self.tasks = list(tasks)
        self._managers: dict[Path | None, Any] = {}  # one reads thousands of files
        for task in tasks:
            name, folder = _place(task.name)
            try:
                with _silence():
                    if folder not in self._managers:
                        self._managers[folder] = TaskManager(
                            include_path=str(folder) if folder else None,
                            include_defaults=not folder,
                        )
                    manager = self._managers[folder]
                    if name not in manager.all_tasks:
                        raise UsageError(
                            f"lm_eval knows no task '{task.name}'; see lm_eval ls tasks, or give "
                            "the path of a YAML file"
                        )
                    manager.load_task_or_group([name])
            except InstructmineError:
                raise
            except Exception as error:
                raise _task_error(task.name, error) from error

    def run(
        self, model: ModelRef, *, context: Context, limit: int | None = None, dtype: str = "float32"
    ) -> Iterator[tuple[Task, TaskScore]]:
        """Yield the score of a model on every task. Raises ModelError for one that will not load.

        limit: items of each task, for trying out.
        """
        import lm_eval
        from lm_eval.models.huggingface import HFLM

        spec = ModelSpec.read(model)
        require_causal(spec)
        require_safetensors(spec)
        device = torch_device(context)
        with _silence(), quiet():
            try:
                opened = HFLM(
                    pretrained=str(spec.folder), device=str(device), dtype=dtype, batch_size=8,
                    trust_remote_code=False, use_fast_tokenizer=True,
                )  # fmt: skip
            except Exception as error:
                raise ModelError(
                    f"model '{spec.name}' cannot be loaded by lm_eval ({type(error).__name__}); "
                    "give a folder that holds a causal LM"
                ) from error
        for task in self.tasks:
            name, folder = _place(task.name)
            with _silence(), quiet():
                try:
                    found = lm_eval.simple_evaluate(
                        opened, tasks=[name], num_fewshot=task.shots, limit=limit,
                        task_manager=self._managers[folder], bootstrap_iters=1000,
                        log_samples=False,
                        random_seed=0, numpy_random_seed=1234, torch_random_seed=1234,
                        fewshot_random_seed=1234,
                    )  # fmt: skip
                except Exception as error:
                    raise _task_error(task.name, error) from error
            yield task, _score(task, name, found)


def version() -> str:
    """Return lm_eval's version. Raises MissingExtraError where it is not installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("lm_eval")
    except PackageNotFoundError as error:
        raise MissingExtraError("lm_eval", "openllm", "OpenLLM") from error


def _place(name: str) -> tuple[str, Path | None]:
    """Return a task's name and, for a YAML file, the folder that it and its like stand in."""
    if not name.endswith((".yaml", ".yml")):
        return name, None
    import yaml

    path = Path(name)
    try:
        stated = yaml.load(path.read_text(encoding="utf-8"), Loader=_names_loader())
        found = stated["task"]
    except (OSError, yaml.YAMLError, TypeError, KeyError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{name} is no lm_eval task ({type(error).__name__}); give a YAML file with `task:`"
        ) from error
    return str(found), path.resolve().parent


def _names_loader() -> Any:
    import yaml

    class Names(yaml.SafeLoader):
        """Reads a task file for its name; lm_eval's own tags are nothing to it."""

    Names.add_multi_constructor("!", lambda loader, suffix, node: None)
    return Names


def _score(task: Task, name: str, found: Mapping[str, Any]) -> TaskScore:
    """Read the wanted metric out of lm_eval's results, which name them `metric,filter`."""
    values = found.get("groups", {}).get(name) or found["results"][name]
    plain = {key: value for key, value in values.items() if "," in key and "stderr" not in key}
    wanted = [task.metric] if task.metric else list(_METRICS)
    key = next((k for m in wanted for k in plain if k.partition(",")[0] == m), None)
    key = key or next(iter(plain), None)
    if key is None:
        raise UsageError(f"task '{task.name}' gives no number; choose another")
    metric, _, filtered = key.partition(",")
    error = values.get(f"{metric}_stderr,{filtered}")
    items = found.get("n-samples", {})
    shots = found.get("n-shot", {})
    return TaskScore(
        task=name,
        metric=metric,
        value=float(plain[key]),
        stderr=float(error) if isinstance(error, (int, float)) else None,
        shots=max((int(shots[k]) for k in shots), default=task.shots or 0),
        items=sum(int(one["effective"]) for one in items.values()),
        version=str(found.get("versions", {}).get(name, "")),
    )


def _task_error(name: str, error: Exception) -> InstructmineError:
    """Say in one line why a task cannot be run: mostly that its data cannot be fetched."""
    text = f"{type(error).__name__}: {error}"
    signs = ("Connection", "offline", "Offline", "LocalEntryNotFound", "couldn't reach", "Couldn't")
    if any(sign in text for sign in signs):
        return InstructmineError(
            f"the data of task '{name}' cannot be fetched; check the network (and HF_HUB_OFFLINE), "
            "or give --task the path of a YAML file with local data"
        )
    line = " ".join(str(error).split())[:160]
    return InstructmineError(
        f"task '{name}' fails ({type(error).__name__}: {line}); mend it, or leave it out"
    )


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep lm_eval's prints, bars, logs and warnings from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    handlers, level = logging.root.handlers[:], logging.root.level  # it sets its own at import
    sink = io.StringIO()
    tokenizers = os.environ.get("TOKENIZERS_PARALLELISM")  # and this
    try:
        with (
            contextlib.redirect_stdout(sink),
            contextlib.redirect_stderr(sink),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
        if tokenizers is not None:
            os.environ["TOKENIZERS_PARALLELISM"] = tokenizers
