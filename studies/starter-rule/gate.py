"""Where should the shipped rule's gate on the reward stand? Trainings on its choice, by bound.

    python studies/starter-rule/gate.py --shared ../shared --workers 2

From the seven sources, and from these with a source of broken rows, the rule chooses among the
rows whose reward is above a bound; the starter LM is trained on that with three seeds. Loss is
measured on the eval set that the rule was fitted on, so the bound is one more thing fitted to it:
the sets that `studies/compare` reports on have no say. Stop it and run it again: trainings are kept
as those of `run.py` are. Writes `results/gate-*.parquet`; `report.py` makes the table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from run import HERE, SETTINGS, SIZE, keep, material, restore

import instructmine as im

RULE = HERE / "results/rules/all-log.json"
BOUNDS = ("none", "-2", "-1", "0", "1")
POOLS = {"clean": "pool", "broken": "faulty"}


def main() -> None:
    """Train on what each bound lets through, in both pools."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="public data")
    parser.add_argument("--scratch", type=Path, default=Path(".scratch/starter-rule"))
    parser.add_argument("--workers", type=int, default=2, help="trainings at the same time")
    options = parser.parse_args()
    data, work = options.scratch / "data", options.scratch / "work"
    material.build(options.shared, data)
    restore(HERE / "results", work)
    for name, folder in POOLS.items():
        pool = sorted((data / folder).glob("*.jsonl"))
        found = im.compare(
            pool,
            base_model="starter",
            eval=data / "fit.jsonl",
            size=SIZE,
            strategies=[
                str(ranking(pool, bound, options.scratch / f"gate-{name}", work))
                for bound in BOUNDS
            ],
            set=SETTINGS,
            drop_overlap=True,
            workdir=work,
            workers=options.workers,
            threads=1,
            device="cpu",
            out=HERE / f"results/gate-{name}.parquet",
        )
        keep(work, HERE / "results")
        assert isinstance(found, im.Comparison)
        print(f"── {name}", *found.explain(), sep="\n", flush=True)


def ranking(pool: list[Path], bound: str, folder: Path, work: Path) -> Path:
    """Write the rule's ranking of the rows above a bound; returns the file."""
    out = folder / f"{bound}.jsonl"
    gate = [] if bound == "none" else [f"reward>{bound}"]
    im.select(pool, size=SIZE, rule=str(RULE), gate=gate, out=out, workdir=work, threads=1)
    return out.with_suffix(".decisions.parquet")


if __name__ == "__main__":
    main()
