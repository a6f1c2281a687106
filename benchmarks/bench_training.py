"""Fine-tuning against a bare loop and transformers' Trainer, and trials per hour.

    python -m benchmarks.bench_training --rows 128 --out build/bench/training.json

The bare loop trains on the same token ids in the same micro-batches with the same optimiser and
schedule, and does nothing else. The Trainer gets the same ids and labels in batches of 8 with
accumulation to the same effective batch, as its documentation has it. All compute in float32 or
all in bfloat16. The first training loss is compared before anything is timed. Trials per hour are
wall-clock, whole trials with loading, evaluation and saving, in one and in two processes of one
thread each.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

try:
    from benchmarks import _data, _report
except ImportError:  # run as a file
    import _data
    import _report

RATE, SEED = 1e-3, 7


def examples(shared: Path, rows: int) -> list[Any]:
    """Read Alpaca examples, evenly over the file, or make some."""
    from instructmine.pool import Example

    path = shared / "data/train/alpaca_data.json"
    if not path.is_file():
        made = _data.generated(2 * rows)
        return [Example.single(a, b) for a, b in zip(made[::2], made[1::2], strict=True)]
    records = [row for row in json.loads(path.read_text(encoding="utf-8")) if row["output"].strip()]
    chosen = records[:: len(records) // rows][:rows]
    return [
        Example.single(f"{row['instruction']}\n{row['input']}".strip(), row["output"])
        for row in chosen
    ]


class Contenders:
    """Three ways of the same training: one epoch in effective batches of `batch` examples."""

    def __init__(self, pool: Sequence[Any], batch: int, precision: str) -> None:
        from instructmine.modelref import ModelRef
        from instructmine.models.spec import ModelSpec
        from instructmine.models.tokens import load_tokenizer
        from instructmine.models.training_text import TrainingTexts, encode_all

        self.pool, self.batch, self.precision = pool, batch, precision
        self.base = ModelRef("starter:lm")
        spec = ModelSpec.read(self.base)
        texts = TrainingTexts(spec, load_tokenizer(spec), None)
        self.rows, _ = encode_all(texts, sorted(pool, key=lambda one: one.id))
        self.tokens = sum(map(len, self.rows))
        self.steps = math.ceil(len(self.rows) / batch)
        self.losses: dict[str, float] = {}
        self.folder = Path(tempfile.mkdtemp())

    def ours(self, steps: int | None = None) -> None:
        """The trainer `sft`, saving included."""
        from instructmine.contracts import Context
        from instructmine.trainers.sft import Sft

        trainer = Sft(
            base_model=self.base, epochs=1, steps=steps, batch_size=self.batch,
            learning_rate=RATE, precision=self.precision,
        )  # fmt: skip
        made = trainer.train(
            self.pool, seed=SEED, folder=self.folder / "ours", context=Context("cpu", 1)
        )
        self.losses["instructmine"] = made.facts["train_loss"]

    def bare(self, steps: int | None = None) -> None:
        """The loop that everyone writes first, in our micro-batches."""
        import numpy as np
        import torch
        from transformers import AutoModelForCausalLM, get_cosine_schedule_with_warmup

        from instructmine.models.batching import plan
        from instructmine.models.finetune import CPU_MICRO_TOKENS

        steps = steps or self.steps
        model = AutoModelForCausalLM.from_pretrained(self.base.folder(), dtype="float32").train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0, fused=True)
        schedule = get_cosine_schedule_with_warmup(optimizer, 1, steps)
        order = np.random.default_rng([SEED, 0]).permutation(len(self.rows))
        for step in range(steps):
            rows = [self.rows[i] for i in order[step * self.batch : (step + 1) * self.batch]]
            count, total = sum(len(row.targets) for row in rows), 0.0
            for micro in plan([len(row) for row in rows], CPU_MICRO_TOKENS):
                ids, labels = self._padded([rows[i] for i in micro])
                with self._autocast():
                    logits = model(input_ids=ids).logits
                loss = torch.nn.functional.cross_entropy(
                    logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), reduction="sum"
                ) / count  # fmt: skip
                loss.backward()
                total += float(loss.detach())
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        self.losses["bare loop"] = total

    def trainer(self, steps: int | None = None) -> None:
        """transformers.Trainer, batches of 8 with accumulation."""
        import torch
        from transformers import AutoModelForCausalLM, PrinterCallback, Trainer, TrainingArguments

        model = AutoModelForCausalLM.from_pretrained(self.base.folder(), dtype="float32")
        arguments = TrainingArguments(
            output_dir=str(self.folder / "trainer"), num_train_epochs=1, max_steps=steps or -1,
            per_device_train_batch_size=8, gradient_accumulation_steps=self.batch // 8,
            learning_rate=RATE, lr_scheduler_type="cosine", seed=SEED, save_strategy="no",
            report_to=[], disable_tqdm=True, logging_strategy="no", use_cpu=True,
            bf16=self.precision == "bfloat16", dataloader_pin_memory=False,
        )  # fmt: skip

        def collate(rows: list[Any]) -> dict[str, torch.Tensor]:
            ids, labels = self._padded(rows)
            lengths = torch.tensor([[len(row)] for row in rows])
            mask = (torch.arange(ids.shape[1]) < lengths).long()
            return {"input_ids": ids, "labels": labels, "attention_mask": mask}

        class Plain(Trainer):
            def _get_train_sampler(self, *_: Any) -> None:
                return None  # in file order: the loss of the first step is compared elsewhere

        made = Plain(model=model, args=arguments, train_dataset=self.rows, data_collator=collate)
        made.remove_callback(PrinterCallback)  # prints a line into our table
        made.train()

    @staticmethod
    def _padded(rows: Sequence[Any]) -> tuple[Any, Any]:
        import torch

        longest = max(map(len, rows))
        ids = torch.zeros((len(rows), longest), dtype=torch.long)
        labels = torch.full((len(rows), longest), -100)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row.ids)
            labels[number, row.targets] = torch.tensor(row.ids)[row.targets]
        return ids, labels

    def _autocast(self) -> Any:
        import torch

        bf16 = self.precision == "bfloat16"
        return torch.autocast("cpu", torch.bfloat16) if bf16 else contextlib.nullcontext()


def bench_loops(options: argparse.Namespace) -> tuple[list[dict[str, Any]], list[Any]]:
    """Tokens per CPU second of the three, in both precisions; and the comparisons."""
    pool = examples(options.shared, options.rows)
    table: list[dict[str, Any]] = []
    comparisons: list[Any] = []
    for precision in ("float32", "bfloat16"):
        made = Contenders(pool, options.batch, precision)
        made.ours(steps=1)
        made.bare(steps=1)
        difference = abs(made.losses["instructmine"] - made.losses["bare loop"])
        if difference > (1e-5 if precision == "float32" else 1e-2):
            sys.exit(f"the first loss differs from the bare loop's by {difference} ({precision})")
        turns = _report.take_turns(
            {
                "instructmine": made.ours,
                "bare loop": made.bare,
                "transformers Trainer": made.trainer,
            },
            options.rounds,
        )
        seconds = turns.median
        comparisons += [
            _report.compared(
                turns, f"one epoch over {len(pool)} examples, {precision}", who, how=how,
                equality=equality, packages=("transformers", "torch"),
            )
            for who, how, equality in (
                ("bare loop", _report.PLAIN, f"the first loss differs by {difference:.0e}"),
                ("transformers Trainer", _report.SHIPPED, "the same ids, labels and batch size"),
            )
        ]  # fmt: skip
        table += [
            {
                "who": who,
                "precision": precision,
                "tokens/s": round(made.tokens / took),
                "time, of the bare loop's": took / seconds["bare loop"],
                "first loss differs by": difference if who == "instructmine" else "",
            }
            for who, took in seconds.items()
        ]
    return table, comparisons


def bench_trials(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Whole trials per hour, and scoring tokens per second, by workers; wall-clock."""
    import instructmine as im

    table = []
    with tempfile.TemporaryDirectory() as place:
        pool, held = Path(place) / "pool.jsonl", Path(place) / "eval.jsonl"
        rows = examples(options.shared, 6 * options.rows)
        for path, some in ((pool, rows[80:]), (held, rows[:80])):
            records = [{"prompt": one.prompt, "response": one.response} for one in some]
            path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
        for workers in (1, 2):
            began = time.perf_counter()
            made = im.trials(
                pool, base_model="starter", eval=held, count=options.trials, size=250,
                indicators=["length"], drop_overlap=True, set=["sft.batch_size=32"],
                workdir=Path(place) / f"w{workers}", workers=workers, threads=1, device="cpu",
            )  # fmt: skip
            took = time.perf_counter() - began
            tokens = made.trials.column("tokens").sum()
            table.append(
                {
                    "workers": workers,
                    "trials": options.trials,
                    "examples": 250,
                    "epochs": 3,
                    "seconds a trial": made.trials.column("seconds").mean(),
                    "tokens/s": round(tokens / took),
                    "trials/hour": round(3600 * options.trials / took, 1),
                }
            )
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both parts."""
    made = _report.parser(main.__doc__ or "")
    made.add_argument("--rows", type=int, default=128, help="examples of one epoch")
    made.add_argument("--batch", type=int, default=32, help="effective batch")
    made.add_argument("--trials", type=int, default=4)
    options = made.parse_args(arguments)
    loops, comparisons = bench_loops(options)
    title = f"One epoch over {options.rows} examples, one thread"
    _report.show(title, loops, options.out, comparisons)
    if not options.trials:
        return
    side = options.out.with_name(f"{options.out.stem}-trials.json") if options.out else None
    _report.show("Trials of the starter LM, one thread each", bench_trials(options), side)


if __name__ == "__main__":
    main()
