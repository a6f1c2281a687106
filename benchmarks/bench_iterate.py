"""IterSelectTune: its arithmetic at a million rows, and what a run spends outside of its models.

    python -m benchmarks.bench_iterate --vectors 100000,1000000 --pool 2000

First one step each on made-up vectors, in a process of its own: K-means over the whole pool, one
round (draw, similarity to the hard set, best batch), one step without a judge. Then `iterate` on
every so many-th row of Alpaca with the starter models: time in the scorers, the base model, the
judge and the classifier is added up, and the rest is ours.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

try:
    from benchmarks import _report
except ImportError:  # run as a file
    import _report

WIDTH, CENTRES, CLUSTERS = 192, 500, 100  # the starter encoder's width
DRAW, BATCH, HARD_SHARE = 0.15, 0.015, 0.03


def made_vectors(rows: int) -> Any:
    """Return (rows, WIDTH) float32 unit vectors around CENTRES centres."""
    import numpy as np

    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CENTRES, WIDTH)).astype(np.float32)
    made = np.empty((rows, WIDTH), dtype=np.float32)
    for start in range(0, rows, 50_000):  # noise in double precision would be twice the pool
        block = made[start : start + 50_000]
        block[:] = centres[rng.integers(CENTRES, size=len(block))]
        block += rng.normal(scale=0.7, size=block.shape)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return made


def step(name: str, rows: int) -> tuple[int, float]:
    """Do one step on made-up vectors; return how many rows it gave, and its CPU seconds."""
    import numpy as np

    from instructmine.iterselect import best, combined, diverse_draw, similarity
    from instructmine.kmeans import kmeans

    vectors = made_vectors(rows)
    rng = np.random.default_rng(1)
    ids = np.array([f"{number:032x}" for number in range(rows)], dtype="S32")
    hard = np.sort(rng.choice(rows, int(rows * (HARD_SHARE if name == "a round" else 0.15)), False))
    free = np.setdiff1d(np.arange(rows), hard)
    started = time.process_time()
    if name == "K-means":
        found = kmeans(vectors, CLUSTERS, 0)
    elif name != "vectors alone":
        subset = diverse_draw(vectors, free, count=int(rows * DRAW), clusters=CLUSTERS, seed=0)
        near = similarity(vectors, subset, hard)
        score = combined(rng.random(len(subset)), near, 0.9)
        found = best(subset, score, ids, int(rows * BATCH))
    else:
        found = free
    return len(found), time.process_time() - started


def spent(shared: Path, rows: int) -> dict[str, float]:
    """Run `iterate` once; return wall seconds by what they were spent on."""
    import json

    import instructmine as im
    from instructmine.answering import Answers
    from instructmine.judging import Bench
    from instructmine.models.classifier import Classifier
    from instructmine.stages import _rounds, iterate

    seconds: Counter[str] = Counter()
    inside: list[str] = []

    def timed(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            if inside:  # counted by the one that called it
                return call(*arguments, **options)
            inside.append(name)
            started = time.perf_counter()
            try:
                return call(*arguments, **options)
            finally:
                seconds[inside.pop()] += time.perf_counter() - started

        return run

    iterate.score_index = timed("scores and embeddings", iterate.score_index)
    iterate.vectors = timed("scores and embeddings", iterate.vectors)
    Answers.all = timed("base model", Answers.all)  # type: ignore[method-assign]
    Bench.compare = timed("judge", Bench.compare)  # type: ignore[method-assign]
    _rounds.Rounds._learn = timed("classifier", _rounds.Rounds._learn)  # type: ignore[method-assign]
    for name in ("load", "probabilities"):
        setattr(Classifier, name, timed("classifier", getattr(Classifier, name)))
    with tempfile.TemporaryDirectory() as folder:
        pool = Path(folder) / "pool.json"
        alpaca = json.loads((shared / "data/train/alpaca_data.json").read_text(encoding="utf-8"))
        pool.write_text(json.dumps(alpaca[:: len(alpaca) // rows][:rows]), encoding="utf-8")
        started = time.perf_counter()
        im.iterate(
            pool, rounds=3, most_rounds=3, clusters=50, max_new_tokens=64, fraction=0.2,
            workdir=folder, threads=1, device="cpu", out=Path(folder) / "hard.jsonl",
        )  # fmt: skip
        whole = time.perf_counter() - started
    return {**seconds, "everything else": whole - sum(seconds.values()), "all": whole}


def main() -> None:
    """Print one table: the steps, then where the time of a run went."""
    parser = _report.parser(__doc__.splitlines()[0])
    parser.add_argument("--vectors", default="100000,1000000", help="numbers of made-up vectors")
    parser.add_argument("--pool", type=int, default=2000, help="rows of the real run, 0 for none")
    options = parser.parse_args()
    table: list[dict[str, Any]] = []
    for rows in (int(one) for one in options.vectors.split(",")):
        for name in ("vectors alone", "K-means", "a round", "a step without a judge"):
            _, seconds, peak = _report.isolated(step, name, rows)
            table.append({"what": name, "rows": rows, "seconds": seconds, "peak MiB": peak})
    alpaca = options.pool and (options.shared / "data/train/alpaca_data.json").is_file()
    shares = spent(options.shared, options.pool) if alpaca else {}
    for name, seconds in shares.items():
        share = f"{seconds / shares['all']:.1%}"
        row = {"what": f"a run: {name}", "rows": options.pool, "seconds": seconds, "share": share}
        table.append(row)
    _report.show("IterSelectTune (steps: CPU seconds; a run: wall seconds)", table, options.out)


if __name__ == "__main__":
    main()
