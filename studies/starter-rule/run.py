"""The study behind `rules/starter.json`: which indicators lower the loss of the starter LM?

    python studies/starter-rule/run.py --shared ../shared --workers 2

Trains the starter LM, and a GPT-NeoX of its size, on subsets of seven sources; fits rules; checks
them on subsets of sources that no fit saw; makes tables and plots of it (`report.py`). Stop it and
run it again: what was trained is kept, in the scratch folder and, as text, in
`results/trained.parquet`, so that a fresh clone does not train it again. `--only mixture` does one
part.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import instructmine as im

HERE = Path(os.path.relpath(Path(__file__).parent))  # no path of one machine in a manifest
STUDIES = Path(os.path.relpath(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(STUDIES))
import material  # noqa: E402
from kept import keep, restore  # noqa: E402

SETTINGS = ("sft.epochs=1", "sft.batch_size=16", "sft.max_length=512")
SIZE, COUNT, NOISE, UNSEEN, FAULTY = 256, 129, 10, 30, 64


@dataclass(frozen=True)
class Part:
    """One table of trials."""

    name: str
    pool: str
    design: str
    count: int
    base: str = "starter"
    noise: int = 0
    seed: int = 1
    mtbench: bool = False


PARTS = (
    Part("mixture", "pool", "mixture", COUNT, noise=NOISE, mtbench=True),
    Part("stratified", "pool", "stratified", COUNT, seed=2),
    Part("unseen", "unseen", "mixture", UNSEEN, seed=3, mtbench=True),
    Part("faulty", "faulty", "mixture", FAULTY, seed=4),
    Part("neox-mixture", "pool", "mixture", COUNT, base="gpt_neox"),
    Part("neox-stratified", "pool", "stratified", COUNT, base="gpt_neox", seed=2),
)


def main() -> None:
    """Build the data, then run the parts asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="public data")
    parser.add_argument("--scratch", type=Path, default=Path(".scratch/starter-rule"))
    parser.add_argument("--workers", type=int, default=2, help="trials at the same time")
    parser.add_argument("--neox", type=Path, default=Path(".scratch/starter-rule/gpt_neox"),
                        help="the second base; trained where it is missing")  # fmt: skip
    parser.add_argument("--most", type=int, help="the first so many trials of each part")
    parser.add_argument("--only", nargs="*", default=[*(one.name for one in PARTS), "gate"])
    options = parser.parse_args()
    folder = options.scratch / "data"
    material.build(options.shared, folder)
    restore(HERE / "results", options.scratch / "work")
    for part in PARTS:
        if part.name in options.only:
            if part.base != "starter" and not (options.neox / "config.json").exists():
                train_second_base(options)
            run_part(part, folder, options)
    common = ("--shared", options.shared, "--scratch", options.scratch)
    if "gate" in options.only:
        workers = ("--workers", str(options.workers))
        subprocess.run([sys.executable, HERE / "gate.py", *common, *workers], check=True)
    subprocess.run([sys.executable, HERE / "report.py"], check=True)


def train_second_base(options: argparse.Namespace) -> None:
    """Pretrain a GPT-NeoX of the starter LM's size as the starter LM was; an hour on one core."""
    script = Path(__file__).parents[2] / "training" / "train_lm.py"
    subprocess.run(
        [
            sys.executable, script, "--architecture", "gpt_neox", "--steps", "2000",
            "--data", options.shared / "data", "--out", options.neox,
            "--scratch", options.scratch / "gpt_neox-training",
        ],
        check=True,
    )  # fmt: skip


def run_part(part: Part, folder: Path, options: argparse.Namespace) -> None:
    """Train what is missing of one part and write its table."""
    base = part.base if part.base == "starter" else str(options.neox)
    print(f"── {part.name}", flush=True)
    reported = ["report", "mtbench"] if part.mtbench else ["report"]
    try:
        result = im.trials(
            sorted((folder / part.pool).glob("*.jsonl")),
            base_model=base,
            eval=folder / "fit.jsonl",
            report_eval=[folder / f"{name}.jsonl" for name in reported],
            out=options.scratch / f"{part.name}.parquet",
            target=folder / "target.jsonl",
            count=min(part.count, options.most or part.count),
            size=SIZE,
            design=part.design,
            noise=part.noise,
            seed=part.seed,
            set=SETTINGS,
            drop_overlap=True,
            workdir=options.scratch / "work",
            workers=options.workers,
            threads=1,
            device="cpu",
            progress=every(10),
        )
    finally:
        keep(options.scratch / "work", HERE / "results")
    assert isinstance(result, im.TrialRun)
    result.trials.write(HERE / "results" / f"{part.name}.parquet")


def every(step: int) -> Callable[[str, int, int], None]:
    """Return a progress function that prints every so many."""

    def report(what: str, done: int, total: int) -> None:
        if what == "trials" and done % step == 0:
            sys.stderr.write(f"{what}: {done}/{total}\n")

    return report


if __name__ == "__main__":
    main()
