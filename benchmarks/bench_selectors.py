"""K-means, k-center and facility location against other libraries: objective, seconds, memory.

apricot-select and pyversity are no dependencies: install them beside the package to have them
in the table.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
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
    """Measure apricot's lazy greedy on the dense matrix it needs; compilation is not counted."""
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


def compare(title: str, size: tuple[int, int, int], contenders: dict[str, Any], rounds: int) -> Any:
    """Return one row per contender."""
    base = _report.isolated(idle, *size)[2]
    best: dict[str, dict[str, Any]] = {}
    for _ in range(rounds):
        for name, run in list(contenders.items()):
            try:
                objective, seconds, peak = _report.isolated(run, *size)
            except ImportError as error:
                print(f"{name} is left out: {error}", file=sys.stderr)
                del contenders[name]
                continue
            row = best.setdefault(name, {"task": title, "who": name, "cpu seconds": seconds})
            row["cpu seconds"] = min(seconds, row["cpu seconds"])
            row["objective"] = objective
            row["MiB above the vectors"] = round(peak - base)
    return list(best.values())


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare; exit with an error when our objective is worse than it should be."""
    options = _report.parser(main.__doc__ or "")
    options.add_argument("--scale", type=float, default=1.0, help="1 for the full sizes")
    given = options.parse_args(arguments)
    out: Path | None = given.out

    def size(rows: int, picks: int) -> tuple[int, int, int]:
        return max(500, int(rows * given.scale)), 384, max(10, int(picks * given.scale))

    kmeans = {"instructmine": kmeans_ours, "faiss": kmeans_faiss, "scikit-learn": kmeans_sklearn}
    center = {"instructmine": kcenter_ours, "numpy loop": kcenter_plain}
    location = {
        "instructmine": location_ours,
        "instructmine, 64 MiB": location_ours_64,
        "apricot (dense)": location_apricot,
        "pyversity cover": location_pyversity,
    }
    rows = compare("K-means, 20k rows, 100 clusters", size(20_000, 100), kmeans, given.rounds)
    rows += compare("k-center, 20k rows, 1,000 picks", size(20_000, 1000), center, given.rounds)
    rows += compare("facility location, 6k rows, 300", size(6_000, 300), location, given.rounds)
    _report.show("Selectors on vectors of 384, one thread", rows, out)
    found = {(row["task"].split(",")[0], row["who"]): row["objective"] for row in rows}
    if found["k-center", "instructmine"] > 1.001 * found["k-center", "numpy loop"]:
        sys.exit("the k-center walk is not the plain one")
    dense = found.get(("facility location", "apricot (dense)"))
    if dense and found["facility location", "instructmine"] < 0.99999 * dense:
        sys.exit("the facility location choice is worse than apricot's")


if __name__ == "__main__":
    main()
