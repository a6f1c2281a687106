"""How many examples of Alpaca should the starter LM be trained on, and does the curve turn?

    python studies/size-curve/run.py --shared ../shared --workers 2

Trains the starter LM on twelve sizes from 128 rows to all of Alpaca, ranked by a rule and drawn at
random (a draw with each of three seeds), for one epoch and for a fixed number of steps; then lets
BlendSearch look for the size. Stop it and run it again: trainings are kept, in the scratch folder
and, as text, in `studies/trained.parquet`. `--only epochs` does one part, `--small` the like on 120
rows in minutes, to see that they run. `report.py` makes tables and plots.
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
SIZES = (128, 250, 500, 1000, 2000, 4000)
SHARES = (0.05, 0.10, 0.15, 0.20, 0.50, 1.0)  # of the pool; up to .2 those of studies/iterate
SMALL, SMALL_EVAL = 120, 20  # rows of the pool and of each eval set with --small
WHOLE = -1  # stands for all rows that can be trained on


@dataclass(frozen=True)
class Part:
    """One search. number: sizes of the grid, in equal ratios. steps: fixes them for all sizes."""

    name: str
    minimum: int
    maximum: int
    number: int = 0
    searcher: str = "grid"
    steps: int | None = None
    compare: tuple[str, ...] = ("random",)
    settings: tuple[str, ...] = ()


PARTS = (
    Part("epochs", 128, WHOLE),
    Part("blend", 512, 10_000, searcher="blend", compare=()),
    Part("blend-flaml", 512, 10_000, searcher="blend", compare=(),
         settings=("blend.ends=false", "blend.resolution=1")),
    Part("steps", 128, 4096, 4, steps=256),
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
    parser.add_argument("--scratch", type=Path, default=Path(".scratch/evidence"))
    parser.add_argument("--workers", type=int, default=2, help="trainings at the same time")
    parser.add_argument(
        "--rule", default=str(material.UNGATED), help="what ranks; a gate would leave rows out"
    )
    parser.add_argument("--small", action="store_true", help="few rows and sizes")
    parser.add_argument("--only", nargs="*", help="names of parts")
    options = parser.parse_args()
    scratch = options.scratch / "small" if options.small else options.scratch
    results = scratch / "results" if options.small else HERE / "results"
    results.mkdir(parents=True, exist_ok=True)
    material.build_evidence(options.shared, scratch / "data")
    if options.small:
        shorten(scratch / "data")
    restore(results if options.small else STUDIES, scratch / "work")
    for part in SMALL_PARTS if options.small else PARTS:
        if not options.only or part.name in options.only:
            run_part(part, scratch, results, options)


def shorten(data: Path) -> None:
    """Leave a few rows of the pool and of each eval set."""
    (pool,) = material.pool("alpaca", data)
    for path, most in ((pool, SMALL), *((data / f"{n}.jsonl", SMALL_EVAL) for n in material.EVALS)):
        rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text("".join(rows[:most]), encoding="utf-8")


def run_part(part: Part, scratch: Path, results: Path, options: argparse.Namespace) -> None:
    """Train what is missing of one part and write what it found."""
    print(f"── {part.name}", flush=True)
    data = scratch / "data"
    settings = [*SETTINGS, *part.settings]
    settings += [f"grid.number={part.number}"] if part.number else []
    maximum = part.maximum
    if maximum == WHOLE:
        maximum = usable(data, scratch, options.rule)
        if not part.number:
            settings.append("grid.sizes=" + ",".join(map(str, sizes(data, maximum))))
    try:
        found = im.search(
            material.pool("alpaca", data),
            base_model="starter",
            eval=data / f"{material.EVALS[0]}.jsonl",
            report_eval=[data / f"{name}.jsonl" for name in material.EVALS[1:]],
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
        keep(scratch / "work", results if options.small else STUDIES)
    assert isinstance(found, im.SizeSearch)
    if part.searcher == "grid":  # what a search has looked at would speak for that search
        keep_curves(found, results / f"{part.name}.curves.json")
    print(*found.explain(), sep="\n", flush=True)


def sizes(data: Path, usable: int) -> list[int]:
    """Return the sizes of the curve; a share is one of all rows, the whole of the usable ones."""
    (pool,) = material.pool("alpaca", data)
    with pool.open("rb") as lines:
        rows = sum(1 for _ in lines)
    return [*SIZES, *(min(round(share * rows), usable) for share in SHARES)]


def usable(data: Path, scratch: Path, rule: str | None) -> int:
    """Return how many rows can be trained on: no copies, none of an eval set or unscorable."""
    chosen = im.select(
        material.pool("alpaca", data), size=1, rule=rule,
        decontaminate=[data / f"{name}.jsonl" for name in material.EVALS],
        workdir=scratch / "work", threads=1, device="cpu",
    )  # fmt: skip
    assert isinstance(chosen, im.Selection)
    return chosen.reasons["selected"] + chosen.reasons["below cut"]


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
