"""Where should the shipped rule's gates stand? Trainings on its choice, by gates.

    python studies/starter-rule/gate.py --shared ../shared --workers 2

From the seven sources, and from these with a source of broken rows, the rule chooses among the
rows that pass a gate on the reward, on MTLD, on both or none; the starter LM is trained on that
with three seeds. Loss is measured on the eval set that the rule was fitted on, so the gates are one
more thing fitted to it: the sets that `studies/compare` reports on have no say. Stop it and run it
again: trainings are kept as those of `run.py` are. Writes `results/gate-*.parquet`; `report.py`
makes the table.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

from run import HERE, SETTINGS, SIZE, keep, material, restore

import instructmine as im

RULE = HERE / "results/rules/all-log.json"
REWARD = ((), ("reward>-1",), ("reward>0",), ("reward>1",))
VARIED = ((), ("mtld>20",))
GATES = [reward + varied for varied, reward in product(VARIED, REWARD)]
POOLS = {"clean": "pool", "broken": "faulty"}


def main() -> None:
    """Train on what the gates let through, in both pools."""
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
                str(ranking(pool, gates, options.scratch / f"gate-{name}", work)) for gates in GATES
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


def ranking(pool: list[Path], gates: tuple[str, ...], folder: Path, work: Path) -> Path:
    """Write the rule's ranking of the rows that pass the gates; returns the file."""
    out = folder / f"{' '.join(gates) or 'none'}.jsonl"
    im.select(pool, size=SIZE, rule=str(RULE), gate=list(gates), out=out, workdir=work, threads=1)
    return out.with_suffix(".decisions.parquet")


if __name__ == "__main__":
    main()
