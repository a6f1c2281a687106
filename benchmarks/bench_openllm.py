"""`evaluate --task` against lm_eval alone, on a task of local data.

The task is made of Alpaca rows: which of two responses answers the instruction. lm_eval is called
as its documents have it, with the same batch size; model and task are loaded in both times.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

try:
    from benchmarks import _data, _report
except ImportError:  # run as a file
    import _data
    import _report

TASK = "which_response"


def write_task(shared: Path, folder: Path, items: int) -> Path:
    """Write items and the YAML file of a task."""
    path = shared / "data/train/alpaca_data.json"
    if path.is_file():
        rows = json.loads(path.read_text(encoding="utf-8"))
        rows = [row for row in rows[:: len(rows) // (2 * items)] if row["output"].strip()]
        texts = [(row["instruction"], row["output"][:300]) for row in rows]
    else:
        made = _data.generated(4 * items)
        texts = list(zip(made[::2], made[1::2], strict=True))
    pairs = zip(texts[::2], texts[1::2], strict=False)
    with (folder / "items.jsonl").open("w", encoding="utf-8") as out:
        for number, ((question, right), (_, wrong)) in enumerate(list(pairs)[:items]):
            answer = number % 2
            choices = [wrong, right] if answer else [right, wrong]
            row = {"question": question, "choices": choices, "answer": answer}
            out.write(json.dumps(row) + "\n")
    task = folder / f"{TASK}.yaml"
    task.write_text(
        f"task: {TASK}\ndataset_path: json\ndataset_kwargs:\n  data_files:\n"
        f"    test: {folder / 'items.jsonl'}\ntest_split: test\noutput_type: multiple_choice\n"
        'doc_to_text: "{{question}}"\ndoc_to_choice: "{{choices}}"\n'
        'doc_to_target: "{{answer}}"\nmetric_list:\n  - metric: acc\n',
        encoding="utf-8",
    )
    return task


def ours(task: Path, found: dict[str, float]) -> None:
    """Run the task as `evaluate --task` does."""
    from instructmine.contracts import Context
    from instructmine.modelref import ModelRef
    from instructmine.models.openllm import Harness, Task

    harness = Harness([Task(str(task))])
    ((_, score),) = harness.run(ModelRef("starter:lm"), context=Context("cpu", 1))
    found[_report.OURS] = score.value


def alone(task: Path, found: dict[str, float]) -> None:
    """Run it by lm_eval's own call; what it prints is swallowed on both sides."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    from instructmine.modelref import ModelRef

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        results = lm_eval.simple_evaluate(
            model="hf", model_args={"pretrained": str(ModelRef("starter:lm").folder()),
                                    "dtype": "float32"},
            tasks=[TASK], batch_size=8, device="cpu",
            task_manager=TaskManager(include_path=str(task.parent), include_defaults=False),
        )  # fmt: skip
    found["lm_eval"] = float(results["results"][TASK]["acc,none"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare; exit with an error where the accuracy differs."""
    options = _report.parser(main.__doc__ or "")
    options.set_defaults(rounds=3)
    options.add_argument("--items", type=int, default=200)
    given = options.parse_args(arguments)
    warnings.simplefilter("ignore")
    logging.disable()
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        os.environ["HF_HOME"] = place  # before datasets is imported: its copies of the items
        os.environ["HF_DATASETS_OFFLINE"] = "1"
        task = write_task(given.shared.resolve(), Path(place), given.items)

        import torch

        torch.set_num_threads(1)
        contenders: dict[str, Any] = {
            _report.OURS: lambda: ours(task, found),
            "lm_eval": lambda: alone(task, found),
        }
        for run in contenders.values():  # imports, and the items into the cache
            run()
        if found[_report.OURS] != found["lm_eval"]:
            sys.exit(f"the accuracy differs: {found}")
        turns = _report.take_turns(contenders, given.rounds)
    rows = [
        {"who": who, "items": given.items, "cpu seconds": took, "accuracy": found[who]}
        for who, took in turns.median.items()
    ]
    what = f"a task of {given.items} items, starter LM"
    comparison = _report.compared(
        turns, what, "lm_eval", packages=("lm_eval",),
        equality=f"the accuracy is {found['lm_eval']:.3f} in both",
    )  # fmt: skip
    _report.show(f"lm_eval on {what}, one thread", rows, given.out, [comparison])


if __name__ == "__main__":
    main()
