"""Is a rule's choice better than random? Strategies on two pools, at equal rows and equal tokens.

    python studies/compare/run.py --shared ../shared --workers 2

Trains the starter LM on what each strategy chooses from Alpaca alone and from a mixture of seven
sources, and measures it on four eval sets that had no part in any fit or search. Stop it and run
it again: trainings are kept, in the scratch folder and, as text, in `results/trained.parquet`, so
that a fresh clone does not train them again. `--only mixture-rows` does one part. `report.py`
makes tables and plots of `results/`.
"""

from __future__ import annotations

import argparse
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
UNGATED = STUDIES / "starter-rule/results/rules/all-log.json"  # the rule that ships with a gate
SEEDS = 3
PROMPTS = 80  # of each eval set
MAIN = (
    "random", "random-balanced", "longest", "reward", "target", "rule", "target-in-rule",
)  # fmt: skip
MORE = (
    "base", "longest-in-quantile", "perplexity-middle", "perplexity-top", "ifd", "kcenter",
    "deita", "cluster-balanced", "rule+diversity",
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """One comparison. curve: sizes at which random alone is trained."""

    name: str
    pool: str
    match: str
    size: int
    strategies: tuple[str, ...]
    curve: tuple[int, ...] = ()


def parts(rules: tuple[str, ...]) -> list[Part]:
    """Every comparison, the most telling first: all strategies at 1,000, the main ones elsewhere.

    rules: further rules to take part up to 1,000, as `rule:FILE`.
    """
    found = []
    for size, strategies, curve in (
        (1000, (*MAIN, *rules, *MORE), (250, 4000)),
        (250, (*MAIN, *rules), (1000,)),
        (4000, MAIN, ()),
    ):
        for match in ("rows", "tokens"):
            for pool in ("mixture", "alpaca"):
                name = f"{pool}-{match}-{size}"
                found.append(Part(name, pool, match, size, strategies, curve))
    return found


def main() -> None:
    """Build the data, then run the parts asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="public data")
    parser.add_argument("--scratch", type=Path, default=Path(".scratch/compare"))
    parser.add_argument("--workers", type=int, default=2, help="trainings at the same time")
    parser.add_argument("--rule", default="starter", help="the rule that `rule` stands for")
    parser.add_argument(
        "--more-rules", nargs="*", default=[UNGATED], help="rule files to compare too"
    )
    parser.add_argument("--only", nargs="*", help="names of parts, or how they begin")
    options = parser.parse_args()
    folder = options.scratch / "data"
    build(options.shared, folder)
    restore(HERE / "results", options.scratch / "work")
    for part in parts(tuple(f"rule:{one}" for one in options.more_rules)):
        if not options.only or part.name.startswith(tuple(options.only)):
            run_part(part, folder, options)


def build(shared: Path, folder: Path) -> None:
    """Write pools, eval sets and target under `folder`."""
    material.build(shared, folder / "rule-study")
    evals, target = material.self_instruct(shared)
    sets = {
        "self_instruct": evals["report"],
        "mt_bench": material.mt_bench(shared),
        "alpaca_demo": material.alpaca_demo(shared, PROMPTS),
        "oasst": material.oasst(shared, PROMPTS),
    }
    for name, pairs in sets.items():
        material.write(folder / f"{name}.jsonl", pairs)
    material.write(folder / "target.jsonl", target)
    alpaca = sorted(set(material.source("alpaca", shared)), key=material.order)
    material.write(folder / "alpaca/alpaca.jsonl", alpaca)


def run_part(part: Part, folder: Path, options: argparse.Namespace) -> None:
    """Train what is missing of one comparison and write its table."""
    print(f"── {part.name}", flush=True)
    pool = folder / ("alpaca" if part.pool == "alpaca" else "rule-study/pool")
    names = ("self_instruct", "mt_bench", "alpaca_demo", "oasst")
    try:
        found = im.compare(
            sorted(pool.glob("*.jsonl")),
            base_model="starter",
            eval=[folder / f"{name}.jsonl" for name in names],
            size=part.size,
            random_size=part.curve,
            strategies=part.strategies,
            rule=options.rule,
            target=folder / "target.jsonl",
            match=part.match,
            seeds=SEEDS,
            set=SETTINGS,
            drop_overlap=True,
            workdir=options.scratch / "work",
            workers=options.workers,
            threads=1,
            device="cpu",
            out=HERE / "results" / f"{part.name}.parquet",
        )
    finally:
        keep(options.scratch / "work", HERE / "results")
    assert isinstance(found, im.Comparison)
    print(*found.explain(), sep="\n", flush=True)


if __name__ == "__main__":
    main()
