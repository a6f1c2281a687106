"""K-means, k-center and facility location against other libraries: objective, seconds, memory.

apricot-select and pyversity are no dependencies; `make bench` installs them into an environment of
its own. pyversity maximises a concave relative of our objective, so its value of ours is lower.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

try:
    from benchmarks import _data, _report
except ImportError:  # run as a file
    import _data
    import _report

Measured = tuple[Any, float]


def idle(rows: int, width: int, picks: int) -> Measured:
    """Hold the vectors and do nothing: the memory all others start from."""
    import faiss  # noqa: F401

    _data.vectors(rows, width)
    return 0.0, 0.0


# ── K-means: sum of squared distances to the centroid ───────────────────────────────────────


def inertia(vectors: Any, label: Any) -> float:
    """Return the sum of squared distances of rows to their cluster's mean."""
    import numpy as np

    return float(
        sum(
            np.square(vectors[label == k] - vectors[label == k].mean(axis=0)).sum()
            for k in np.unique(label)
        )
    )


def kmeans_ours(rows: int, width: int, picks: int) -> Measured:
    """Measure ours: k-means++ and 20 rounds of faiss."""
    import faiss  # noqa: F401

    from instructmine.kmeans import kmeans

    vectors = _data.vectors(rows, width)
    start = time.process_time()
    label = kmeans(vectors, picks, seed=0)
    seconds = time.process_time() - start
    return inertia(vectors, label), seconds


def kmeans_faiss(rows: int, width: int, picks: int) -> Measured:
    """Measure faiss as it comes, with all rows."""
    import faiss

    vectors = _data.vectors(rows, width)
    start = time.process_time()
    model = faiss.Kmeans(width, picks, niter=20, seed=0, max_points_per_centroid=rows)
    model.train(vectors)
    label = model.index.search(vectors, 1)[1][:, 0]
    seconds = time.process_time() - start
    return inertia(vectors, label), seconds


def kmeans_sklearn(rows: int, width: int, picks: int) -> Measured:
    """Measure scikit-learn with one start and 20 rounds."""
    from sklearn.cluster import KMeans

    vectors = _data.vectors(rows, width)
    start = time.process_time()
    label = KMeans(picks, n_init=1, max_iter=20, random_state=0).fit(vectors).labels_
    seconds = time.process_time() - start
    return inertia(vectors, label), seconds


# ── k-center: largest distance to the nearest chosen ────────────────────────────────────────


def radius(vectors: Any, chosen: Any) -> float:
    """Return the largest distance of a row to the nearest chosen one."""
    import numpy as np

    nearest = np.full(len(vectors), -np.inf)
    for start in range(0, len(vectors), 4096):
        part = vectors[start : start + 4096] @ vectors[chosen].T
        nearest[start : start + 4096] = part.max(axis=1)
    return float(np.sqrt(max(2 - 2 * nearest.min(), 0)))


def kcenter_ours(rows: int, width: int, picks: int) -> Measured:
    """Measure ours: many picks per pass."""
    from instructmine.selectors.kcenter import farthest_first

    vectors = _data.vectors(rows, width)
    start = time.process_time()
    chosen = farthest_first(vectors, picks)
    seconds = time.process_time() - start
    return radius(vectors, chosen), seconds


def kcenter_plain(rows: int, width: int, picks: int) -> Measured:
    """Measure the usual numpy loop: one pass over the pool per pick."""
    import numpy as np

    vectors = _data.vectors(rows, width)
    start = time.process_time()
    chosen = [0]
    nearest = vectors @ vectors[0]
    while len(chosen) < picks:
        chosen.append(int(np.argmin(nearest)))
        np.maximum(nearest, vectors @ vectors[chosen[-1]], out=nearest)
    seconds = time.process_time() - start
    return radius(vectors, chosen), seconds


# ── facility location: summed cosine to the nearest chosen ──────────────────────────────────


def coverage(vectors: Any, chosen: Any) -> float:
    """Return the objective: the sum over rows of the cosine, not below 0, to the nearest."""
    import numpy as np

    total = 0.0
    for start in range(0, len(vectors), 4096):
        nearest = (vectors[start : start + 4096] @ vectors[chosen].T).max(axis=1)
        total += float(np.maximum(nearest, 0).sum(dtype=np.float64))
    return total


def location_ours(rows: int, width: int, picks: int, memory_mib: int = 512) -> Measured:
    """Measure ours."""
    from instructmine.selectors.facility_location import _LazyGreedy

    vectors = _data.vectors(rows, width)
    start = time.process_time()
    chosen = _LazyGreedy(vectors, memory_mib * 2**20).run(picks)
    seconds = time.process_time() - start
    return coverage(vectors, chosen), seconds


def location_ours_64(rows: int, width: int, picks: int) -> Measured:
    """Measure ours in 64 MiB."""
    return location_ours(rows, width, picks, 64)


def location_apricot(rows: int, width: int, picks: int) -> Measured:
    """Measure apricot's lazy greedy on the dense matrix it needs.

    It compiles its gains anew for every fit, about a second, which its users wait for too; what
    compiles once is not counted.
    """
    import numpy as np
    from apricot import FacilityLocationSelection

    vectors = _data.vectors(rows, width)

    def run(part: Any, count: int) -> Any:
        similarity = np.maximum(part @ part.T, 0).astype(np.float64)
        model = FacilityLocationSelection(count, metric="precomputed", optimizer="lazy")
        return model.fit(similarity).ranking

    run(vectors[:300], 5)
    start = time.process_time()
    chosen = run(vectors, picks)
    seconds = time.process_time() - start
    return coverage(vectors, chosen), seconds


def location_pyversity(rows: int, width: int, picks: int) -> Measured:
    """Measure pyversity's "cover", whose objective is a concave relative of this one."""
    import numpy as np
    from pyversity import diversify

    vectors = _data.vectors(rows, width)
    start = time.process_time()
    found = diversify(vectors, np.zeros(rows), k=picks, strategy="cover", diversity=1.0)
    seconds = time.process_time() - start
    return coverage(vectors, found.indices), seconds


TASKS: dict[str, tuple[int, int, dict[str, Any]]] = {
    "K-means": (
        20_000, 100,
        {_report.OURS: kmeans_ours, "faiss": kmeans_faiss, "scikit-learn": kmeans_sklearn},
    ),
    "k-center": (20_000, 1000, {_report.OURS: kcenter_ours, "numpy loop": kcenter_plain}),
    "facility location": (
        6_000, 300,
        {
            _report.OURS: location_ours,
            "instructmine, 64 MiB": location_ours_64,
            "apricot": location_apricot,
            "pyversity": location_pyversity,
        },
    ),
}  # fmt: skip
PEERS = {  # label, packages, how it was run
    "faiss": ("faiss Kmeans", ("faiss-cpu",), _report.SHIPPED),
    "scikit-learn": ("scikit-learn KMeans", ("scikit-learn",), _report.SHIPPED),
    "numpy loop": ("numpy loop", ("numpy",), _report.PLAIN),
    "apricot": ("apricot, lazy greedy, dense", ("apricot-select",), _report.SHIPPED),
    "pyversity": ("pyversity, cover", ("pyversity",), _report.SHIPPED),
}
WIDTH = 384


def bench(task: str, scale: float, rounds: int) -> tuple[list[Any], list[Any], dict[str, str]]:
    """Return a task's rows, its comparisons and who is missing."""
    full_rows, full_picks, contenders = TASKS[task]
    rows, picks = max(500, int(full_rows * scale)), max(10, int(full_picks * scale))
    base = _report.isolated(idle, rows, WIDTH, picks)[2]
    found = _report.isolated_turns(contenders, (rows, WIDTH, picks), rounds)
    what = f"{task}, {rows:,} rows, {picks:,} picks"
    table = [
        {
            "task": what, "who": name, "cpu seconds": found.turns.median[name],
            "objective": objective, "MiB above the vectors": round(found.peaks[name] - base),
        }
        for name, objective in found.results.items()
    ]  # fmt: skip
    own = found.results[_report.OURS]
    comparisons = []
    for name, objective in found.results.items():
        if name in PEERS:
            label, packages, how = PEERS[name]
            better = "higher" if task == "facility location" else "lower"
            equality = f"objective {own / objective:.5f} of theirs, {better} is better"
            comparisons.append(
                _report.compared(
                    found.turns, what, name, label=label, equality=equality, how=how,
                    packages=packages,
                )
            )  # fmt: skip
    return table, comparisons, found.missing


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare; exit with an error when our objective is worse than it should be."""
    options = _report.parser(main.__doc__ or "")
    options.set_defaults(rounds=3)
    options.add_argument("--scale", type=float, default=1.0, help="1 for the full sizes")
    given = options.parse_args(arguments)
    rows: list[Any] = []
    comparisons: list[Any] = []
    missing: dict[str, str] = {}
    for task in TASKS:
        table, compared, absent = bench(task, given.scale, given.rounds)
        rows, comparisons, missing = rows + table, comparisons + compared, missing | absent
    title = f"Selectors on vectors of {WIDTH}, one thread"
    _report.show(title, rows, given.out, comparisons, missing)
    found = {(row["task"].split(",")[0], row["who"]): row["objective"] for row in rows}
    if found["k-center", _report.OURS] > 1.001 * found["k-center", "numpy loop"]:
        sys.exit("the k-center walk is not the plain one")
    dense = found.get(("facility location", "apricot"))
    if dense and found["facility location", _report.OURS] < 0.99999 * dense:
        sys.exit("the facility location choice is worse than apricot's")


if __name__ == "__main__":
    main()
