"""Is a rule's choice better than random? Strategies on two pools, at equal rows and equal tokens.

    python studies/compare/run.py --shared ../shared --workers 2

Trains the starter LM on what each strategy chooses from Alpaca alone and from a mixture of seven
sources, and measures it on four eval sets that had no part in any fit or search. Stop it and run
it again: trainings are kept, in the scratch folder and, as text, in `studies/trained.parquet`, so
that neither a fresh clone nor another study trains them again. `--only mixture-rows` does one part.
`report.py` makes tables and plots of `results/`.
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
SEEDS = 3
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
    """Every comparison, the most telling first.

    All strategies at 1,000, but of Alpaca at equal rows only; the main ones elsewhere.
    rules: further rules to take part up to 1,000, as `rule:FILE`.
    """
    found = []
    for size, strategies, more, curve in (
        (1000, (*MAIN, *rules), MORE, (250, 4000)),
        (250, (*MAIN, *rules), (), (1000,)),
        (4000, MAIN, (), ()),
    ):
        for match in ("rows", "tokens"):
            for pool in ("mixture", "alpaca"):
                name = f"{pool}-{match}-{size}"
                every = strategies if (pool, match) == ("alpaca", "tokens") else strategies + more
                found.append(Part(name, pool, match, size, every, curve))
    return found


def main() -> None:
    """Build the data, then run the parts asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="public data")
    parser.add_argument("--scratch", type=Path, default=Path(".scratch/evidence"))
    parser.add_argument("--workers", type=int, default=2, help="trainings at the same time")
    parser.add_argument("--rule", default="starter", help="the rule that `rule` stands for")
    parser.add_argument(
        "--more-rules", nargs="*", default=[material.UNGATED], help="rule files to compare too"
    )
    parser.add_argument("--only", nargs="*", help="names of parts, or how they begin")
    options = parser.parse_args()
    folder = options.scratch / "data"
    material.build_evidence(options.shared, folder)
    restore(STUDIES, options.scratch / "work")
    for part in parts(tuple(f"rule:{one}" for one in options.more_rules)):
        if not options.only or part.name.startswith(tuple(options.only)):
            run_part(part, folder, options)


def run_part(part: Part, folder: Path, options: argparse.Namespace) -> None:
    """Train what is missing of one comparison and write its table."""
    print(f"── {part.name}", flush=True)
    try:
        found = im.compare(
            material.pool(part.pool, folder),
            base_model="starter",
            eval=[folder / f"{name}.jsonl" for name in material.EVALS],
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
        keep(options.scratch / "work", STUDIES)
    assert isinstance(found, im.Comparison)
    print(*found.explain(), sep="\n", flush=True)


if __name__ == "__main__":
    main()
