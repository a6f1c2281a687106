"""Exact sixth neighbours against faiss, scikit-learn and pynndescent, with planted copies."""

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

NEIGHBOUR = 6


def ours(size: int, width: int, copies: int) -> tuple[Any, float]:
    """Measure the indicator's own search."""
    from instructmine.indicators.knn import neighbour_distances

    vectors = _data.vectors(size, width, copies=copies)
    neighbour_distances(vectors[:500], NEIGHBOUR)
    start = time.process_time()
    found = neighbour_distances(vectors, NEIGHBOUR)
    return found[:, -1], time.process_time() - start


def flat(size: int, width: int, copies: int) -> tuple[Any, float]:
    """Measure faiss IndexFlatL2; the row itself is dropped as column 0, as is usually done."""
    import faiss
    import numpy as np

    vectors = _data.vectors(size, width, copies=copies)
    index = faiss.IndexFlatL2(width)
    index.add(vectors)
    index.search(vectors[:500], NEIGHBOUR + 1)
    start = time.process_time()
    found = index.search(vectors, NEIGHBOUR + 1)[0]
    return np.sqrt(np.maximum(found[:, -1], 0)), time.process_time() - start


def brute(size: int, width: int, copies: int) -> tuple[Any, float]:
    """Measure scikit-learn's brute force."""
    from sklearn.neighbors import NearestNeighbors

    vectors = _data.vectors(size, width, copies=copies)
    model = NearestNeighbors(n_neighbors=NEIGHBOUR, algorithm="brute").fit(vectors)
    start = time.process_time()
    found = model.kneighbors()[0]
    return found[:, -1], time.process_time() - start


def descent(size: int, width: int, copies: int) -> tuple[Any, float]:
    """Measure pynndescent, approximate; compilation is not counted."""
    from pynndescent import NNDescent

    vectors = _data.vectors(size, width, copies=copies)
    NNDescent(vectors[:2000], n_neighbors=NEIGHBOUR + 1, n_jobs=1).neighbor_graph  # noqa: B018
    start = time.process_time()
    found = NNDescent(vectors, n_neighbors=NEIGHBOUR + 1, n_jobs=1, random_state=0).neighbor_graph
    return found[1][:, -1], time.process_time() - start


def idle(size: int, width: int, copies: int) -> tuple[Any, float]:
    """Hold the vectors and do nothing: the memory all others start from."""
    import faiss  # noqa: F401

    _data.vectors(size, width, copies=copies)
    return None, 0.0


def reference(size: int, width: int, copies: int, sample: int) -> tuple[Any, Any]:
    """Return true distances of some rows, a third of them copies, from float64 differences."""
    import numpy as np

    vectors = _data.vectors(size, width, copies=copies)
    rows = np.unique(np.linspace(0, size - 1, sample).astype(int))
    rows = np.union1d(rows, np.arange(size - min(copies, sample // 2), size))
    truth = np.empty(len(rows))
    for place, row in enumerate(rows):
        squared = np.square(vectors.astype(np.float64) - vectors[row]).sum(axis=1)
        squared[row] = np.inf
        truth[place] = np.sqrt(np.partition(squared, NEIGHBOUR - 1)[NEIGHBOUR - 1])
    return rows, truth


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare; exit with an error when a distance of ours is wrong."""
    import numpy as np

    options = _report.parser(main.__doc__ or "")
    options.set_defaults(rounds=1)  # minutes each
    options.add_argument("--rows", type=int, default=50_000)
    options.add_argument("--width", type=int, default=384)
    options.add_argument("--copies", type=int, default=500)
    given = options.parse_args(arguments)
    size = (given.rows, given.width, given.copies)
    rows, truth = reference(*size, sample=60)
    contenders = {"faiss IndexFlatL2": flat, "instructmine": ours, "scikit-learn brute": brute}
    contenders["pynndescent (approximate)"] = descent
    base = _report.isolated(idle, *size)[2]
    best: dict[str, dict[str, Any]] = {}
    for _ in range(given.rounds):
        for name, run in list(contenders.items()):
            try:
                found, seconds, peak = _report.isolated(run, *size)
            except ImportError as error:
                print(f"{name} is left out: {error}", file=sys.stderr)
                del contenders[name]
                continue
            error = float(np.abs(np.asarray(found)[rows] - truth).max())
            row = best.setdefault(name, {"who": name, "cpu seconds": seconds})
            row["cpu seconds"] = min(seconds, row["cpu seconds"])
            row["largest error"] = error
            row["MiB above the vectors"] = round(peak - base)
    if best["instructmine"]["largest error"] > 1e-9:
        sys.exit(f"a distance is off by {best['instructmine']['largest error']}")
    unit = best["faiss IndexFlatL2"]["cpu seconds"]
    for row in best.values():
        row["of faiss"] = row["cpu seconds"] / unit
    title = f"{NEIGHBOUR}th neighbour, {given.rows} x {given.width}, {given.copies} copies"
    _report.show(f"{title}, one thread", list(best.values()), given.out)


if __name__ == "__main__":
    main()
