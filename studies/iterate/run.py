"""Does IterSelectTune find hard instructions, and are they worth training on?

    python studies/iterate/run.py --shared ../shared --workers 2

First: hard instructions found per round, for several α (1: without similarity), without diversity,
without iteration, and in random batches of the same number of judge calls; again with a judge that
calls only clear wins. Then: the starter LM trained on 5, 10, 15 and 20 % of the pool by the hard
set, at random and by the rule, beside the full pool; and on 20 % by hard sets that were asked for
in other ways. Stop it and run it again: it goes on after what `results/` holds (`--anew` drops what
was found), answers, verdicts and rounds are kept in the scratch folder, and trainings as text in
`studies/trained.parquet`. `--only mixture-found` does one part. `report.py` makes tables and plots
of `results/`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import instructmine as im
from instructmine.files import write_text

HERE = Path(os.path.relpath(Path(__file__).parent))  # no path of one machine in a manifest
RESULTS = HERE / "results"
STUDIES = Path(os.path.relpath(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(STUDIES))
import material  # noqa: E402
from kept import keep, restore  # noqa: E402

ROUNDS = 5
SEEDS = 3
SHARES = (0.05, 0.10, 0.15, 0.20)
SETTINGS = ("sft.epochs=1", "sft.batch_size=16", "sft.max_length=512")
BATCH = {"mixture": 0.015, "alpaca": 0.005}  # shares of the pool: about 250 rows of each
GATES = ("reward>0", "mtld>20")  # those of the rule
DRAW = 10  # batches in the diverse subset
ARMS: dict[str, dict[str, Any]] = {
    **{f"alpha {alpha:g}": {"alpha": alpha} for alpha in (0.0, 0.5, 0.7, 0.9, 1.0)},
    "random batches": {"take": "random"},
    "no diversity": {"diverse": False},
    "no iteration": {"rounds": 2, "most_rounds": 2},  # as many labels, in two batches
}
JUDGES: dict[str, tuple[str, ...]] = {  # settings of the reward judge
    "reward": (),
    "reward, by 2": ("reward.margin=2",),  # wins where Bradley-Terry gives 88 %, else a tie
}
HARD_SETS: dict[str, dict[str, Any]] = {  # what is trained on
    "hard": {"judge": "reward"},
    "hard-clear": {"judge": "reward, by 2"},
    "hard-gated": {"judge": "reward", "gate": GATES},
    "hard-clear-gated": {"judge": "reward, by 2", "gate": GATES},
}
VARIANTS = {  # of each pool; of Alpaca the one that came out best on the mixture
    "mixture": list(HARD_SETS),
    "alpaca": ["hard-clear-gated"],
}
STRICT = ("alpha 0.9", "random batches")  # what the second judge is asked about


def main() -> None:
    """Build the data, then run the parts asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="public data")
    parser.add_argument("--scratch", type=Path, default=Path(".scratch/evidence"))
    parser.add_argument("--workers", type=int, default=2, help="trainings at the same time")
    parser.add_argument("--rule", default="starter", help="the rule that `rule` stands for")
    parser.add_argument("--anew", action="store_true", help="drop what was found before")
    parser.add_argument("--only", nargs="*", help="names of parts, or how they begin")
    options = parser.parse_args()
    folder = options.scratch / "data"
    material.build_evidence(options.shared, folder)
    restore(STUDIES, options.scratch / "work")
    for pool, run in itertools.product(VARIANTS, (found, trained, variants)):
        name = f"{pool}-{run.__name__}"
        if not options.only or name.startswith(tuple(options.only)):
            print(f"── {name}", flush=True)
            run(pool, folder, options)


def found(pool: str, folder: Path, options: argparse.Namespace) -> None:
    """Write the facts of every round of every arm and seed, one run after the other."""
    path = RESULTS / f"{pool}-found.json"
    rows = [] if options.anew or not path.exists() else json.loads(path.read_text(encoding="utf-8"))
    recorded = {(row["judge"], row["arm"], row["seed"]) for row in rows}
    asked = [("reward", name) for name in ARMS] + [("reward, by 2", name) for name in STRICT]
    for seed, (judge, name) in itertools.product(range(SEEDS), asked):
        if (judge, name, seed) in recorded:
            continue
        settings = {"judge": judge, "seed": seed, "fraction": BATCH[pool], **ARMS[name]}
        result = iterate(pool, folder, options, **settings)
        for number, facts in enumerate(result.rounds):
            rows.append({"judge": judge, "arm": name, "seed": seed, "round": number, **facts})
        print(judge, name, seed, [facts["hard"] for facts in result.rounds], flush=True)
        write_text(path, json.dumps(rows, indent=1) + "\n")


def trained(pool: str, folder: Path, options: argparse.Namespace) -> None:
    """Train on shares of the pool, chosen in three ways, and on all of it."""
    compare(pool, folder, options, "trained", SHARES, ["hard"], ["rule", "full"])


def variants(pool: str, folder: Path, options: argparse.Namespace) -> None:
    """Train on the largest share by hard sets that were asked for in other ways."""
    gated = options.scratch / f"{pool}-random-gated.jsonl"  # what the gates are worth alone
    im.select(
        material.pool(pool, folder),
        selector="random",
        gate=GATES,
        fraction=SHARES[-1],
        decontaminate=[folder / f"{name}.jsonl" for name in material.EVALS],
        workdir=options.scratch / "work",
        threads=1,
        device="cpu",
        out=gated,
    )
    strategies = ["rule", str(gated)]
    compare(pool, folder, options, "variants", SHARES[-1:], VARIANTS[pool], strategies)


def compare(
    pool: str,
    folder: Path,
    options: argparse.Namespace,
    part: str,
    shares: Sequence[float],
    hard: Sequence[str],
    strategies: Sequence[str],
) -> None:
    """Hold hard sets and other strategies against random draws."""
    for name in hard:
        out = options.scratch / f"{pool}-{name}.jsonl"
        settings = {"seed": 0, "fraction": SHARES[-1], "out": out, **HARD_SETS[name]}
        result = iterate(pool, folder, options, **settings)
        strategies = [*strategies, str(out)]
    rows = result.manifest["selection"]["pool_rows"]  # sizes that the size curve has too
    try:
        compared = im.compare(
            material.pool(pool, folder),
            base_model="starter",
            eval=[folder / f"{one}.jsonl" for one in material.EVALS],
            size=[round(share * rows) for share in shares],
            strategies=strategies,
            rule=options.rule,
            seeds=SEEDS,
            set=SETTINGS,
            workdir=options.scratch / "work",
            workers=options.workers,
            threads=1,
            device="cpu",
            drop_overlap=True,
            out=RESULTS / f"{pool}-{part}.parquet",
        )
    finally:
        keep(options.scratch / "work", STUDIES)
    assert isinstance(compared, im.Comparison)
    print(*compared.explain(), sep="\n", flush=True)


def iterate(
    pool: str,
    folder: Path,
    options: argparse.Namespace,
    judge: str,
    **changed: Any,  # noqa: ANN401
) -> im.Iteration:
    """Run the rounds with the study's settings, some of them changed."""
    evals = [folder / f"{name}.jsonl" for name in material.EVALS]
    settings: dict[str, Any] = {"rounds": ROUNDS, "most_rounds": ROUNDS, **changed}
    batch = BATCH[pool] * ROUNDS / settings["rounds"]
    result = im.iterate(
        material.pool(pool, folder),
        base_model="starter",
        judge="reward",
        set=JUDGES[judge],
        decontaminate=evals,
        workdir=options.scratch / "work",
        threads=1,
        device="cpu",
        batch=batch,
        draw=batch * DRAW,
        holdout=400,
        max_new_tokens=128,
        **settings,
    )
    assert isinstance(result, im.Iteration)
    return result


if __name__ == "__main__":
    main()
