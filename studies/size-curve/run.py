"""How many examples of Alpaca should the starter LM be trained on, and does the curve turn?

    python studies/size-curve/run.py --shared ../shared --workers 2

Trains the starter LM on ten sizes from 128 rows to all of Alpaca, each nearly twice the one before,
ranked by the profile's rule and drawn at random (a draw with each of three seeds), for one epoch
and for a fixed number of steps; then lets BlendSearch look for the size. Stop it and run it again:
trainings are kept, in the scratch folder and, as text, in `results/trained.parquet`. `--only
epochs` does one part, `--small` the like on 120 rows in minutes, to see that they run. `report.py`
makes tables and plots.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import instructmine as im

HERE = Path(os.path.relpath(Path(__file__).parent))  # no path of one machine in a manifest
STUDIES = Path(os.path.relpath(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(STUDIES))
import material  # noqa: E402
from kept import keep, restore  # noqa: E402

SETTINGS = ("sft.epochs=1", "sft.batch_size=16", "sft.max_length=512")
SEEDS = 3
SMALL, SMALL_EVAL = 120, 20  # rows of the pool and of each eval set with --small
WHOLE = -1  # stands for all rows that can be trained on


@dataclass(frozen=True)
class Part:
    """One search. number: sizes of the grid. steps: fixes them for all sizes."""

    name: str
    minimum: int
    maximum: int
    number: int = 0
    searcher: str = "grid"
    steps: int | None = None
    compare: tuple[str, ...] = ("random",)
    settings: tuple[str, ...] = ()


PARTS = (
    Part("epochs", 128, WHOLE, 10),
    Part("blend", 512, 10_000, searcher="blend", compare=()),
    Part("blend-flaml", 512, 10_000, searcher="blend", compare=(),
         settings=("blend.ends=false", "blend.resolution=1")),
    Part("steps", 128, 8192, 4, steps=512),
)  # fmt: skip
SMALL_PARTS = (
    Part("epochs", 8, WHOLE, 4),
    Part("blend", 8, 32, searcher="blend", compare=(), settings=("blend.resolution=1.5",)),
    Part("steps", 8, 32, 2, steps=4, compare=()),
)


def main() -> None:
    """Build the data, then run the parts asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="public data")
    parser.add_argument("--scratch", type=Path, default=Path(".scratch/size-curve"))
    parser.add_argument("--workers", type=int, default=2, help="trainings at the same time")
    parser.add_argument("--rule", help="another rule than the profile's")
    parser.add_argument("--small", action="store_true", help="few rows and sizes")
    parser.add_argument("--only", nargs="*", help="names of parts")
    options = parser.parse_args()
    scratch = options.scratch / ("small" if options.small else "full")
    results = scratch / "results" if options.small else HERE / "results"
    results.mkdir(parents=True, exist_ok=True)
    build(options.shared, scratch / "data", small=options.small)
    restore(results, scratch / "work")
    for part in SMALL_PARTS if options.small else PARTS:
        if not options.only or part.name in options.only:
            run_part(part, scratch, results, options)


def build(shared: Path, folder: Path, *, small: bool) -> None:
    """Write Alpaca, the set to search by, and those to report on.

    The 80 prompts that the starter rule is fitted on are in none of them.
    """
    evals, rest = material.self_instruct(shared)
    sets = {
        "self_instruct": evals["report"],
        "self_instruct_rest": rest,
        "mt_bench": material.mt_bench(shared),
    }
    for name, pairs in sets.items():
        material.write(folder / f"{name}.jsonl", pairs[: SMALL_EVAL if small else None])
    alpaca = sorted(set(material.source("alpaca", shared)), key=material.order)
    material.write(folder / "alpaca.jsonl", alpaca[: SMALL if small else None])


def run_part(part: Part, scratch: Path, results: Path, options: argparse.Namespace) -> None:
    """Train what is missing of one part and write what it found."""
    print(f"── {part.name}", flush=True)
    data = scratch / "data"
    settings = [*SETTINGS, *part.settings]
    settings += [f"grid.number={part.number}"] if part.number else []
    maximum = part.maximum
    if maximum == WHOLE:
        maximum = usable(data, scratch, options.rule)
    try:
        found = im.search(
            data / "alpaca.jsonl",
            base_model="starter",
            eval=data / "self_instruct.jsonl",
            report_eval=[data / "self_instruct_rest.jsonl", data / "mt_bench.jsonl"],
            out=results / f"{part.name}.json",
            minimum=part.minimum,
            maximum=maximum,
            searcher=part.searcher,
            seeds=SEEDS,
            match="steps" if part.steps else "epochs",
            steps=part.steps,
            compare=part.compare,
            rule=options.rule,
            set=settings,
            drop_overlap=True,
            workdir=scratch / "work",
            workers=options.workers,
            threads=1,
            device="cpu",
        )
    finally:
        keep(scratch / "work", results)
    assert isinstance(found, im.SizeSearch)
    keep_curves(found, results / f"{part.name}.curves.json")
    print(*found.explain(), sep="\n", flush=True)


def usable(data: Path, scratch: Path, rule: str | None) -> int:
    """Return how many rows can be trained on: no copies, none of an eval set or unscorable."""
    evals = [path for path in sorted(data.glob("*.jsonl")) if path.name != "alpaca.jsonl"]
    chosen = im.select(
        data / "alpaca.jsonl", fraction=1.0, rule=rule, decontaminate=evals,
        workdir=scratch / "work",
    )  # fmt: skip
    assert isinstance(chosen, im.Selection)
    return len(chosen)


def keep_curves(found: im.SizeSearch, path: Path) -> None:
    """Write the loss of every seed on every prompt searched by: what searchers are tried on."""
    curves = {
        ranking: {
            str(point.size): [[round(loss, 4) for loss in seed] for seed in point.losses.tolist()]
            for point in by_set[found.eval].points
        }
        for ranking, by_set in found.curves.items()
    }
    path.write_text(json.dumps(curves) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
