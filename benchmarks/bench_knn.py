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
NEAR = 1e-4  # distances this close count as equal where recall is asked for: float32


def ours(size: int, width: int, copies: int) -> tuple[Any, float]:
    """Measure the indicator's own search."""
    from instructmine.indicators.knn import neighbour_distances

    vectors = _data.vectors(size, width, copies=copies)
    neighbour_distances(vectors[:500], NEIGHBOUR)
    start = time.process_time()
    found = neighbour_distances(vectors, NEIGHBOUR)
    return found, time.process_time() - start


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
    return np.sqrt(np.maximum(found[:, 1:], 0)), time.process_time() - start


def brute(size: int, width: int, copies: int) -> tuple[Any, float]:
    """Measure scikit-learn's brute force."""
    from sklearn.neighbors import NearestNeighbors

    vectors = _data.vectors(size, width, copies=copies)
    model = NearestNeighbors(n_neighbors=NEIGHBOUR, algorithm="brute").fit(vectors)
    start = time.process_time()
    found = model.kneighbors()[0]
    return found, time.process_time() - start


def descent(size: int, width: int, copies: int) -> tuple[Any, float]:
    """Measure pynndescent as it comes, approximate; compilation is not counted."""
    from pynndescent import NNDescent

    vectors = _data.vectors(size, width, copies=copies)
    NNDescent(vectors[:2000], n_neighbors=NEIGHBOUR + 1, n_jobs=1).neighbor_graph  # noqa: B018
    start = time.process_time()
    found = NNDescent(vectors, n_neighbors=NEIGHBOUR + 1, n_jobs=1, random_state=0).neighbor_graph
    return found[1][:, 1:], time.process_time() - start


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


def recall(found: Any, exact: Any) -> float:
    """Return the share of neighbours found that are as near as the true last one."""
    return float((found <= exact[:, -1:] + NEAR).mean())


CONTENDERS = {
    "faiss IndexFlatL2": flat,
    _report.OURS: ours,
    "scikit-learn brute force": brute,
    "pynndescent": descent,
}
PACKAGES = {
    "faiss IndexFlatL2": "faiss-cpu",
    "scikit-learn brute force": "scikit-learn",
    "pynndescent": "pynndescent",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare; exit with an error when a distance of ours is wrong."""
    import numpy as np

    options = _report.parser(main.__doc__ or "")
    options.set_defaults(rounds=3)  # half a minute each
    options.add_argument("--rows", type=int, default=20_000)
    options.add_argument("--width", type=int, default=384)
    options.add_argument("--copies", type=int, default=500)
    given = options.parse_args(arguments)
    size = (given.rows, given.width, given.copies)
    rows, truth = reference(*size, sample=60)
    base = _report.isolated(idle, *size)[2]
    found = _report.isolated_turns(CONTENDERS, size, given.rounds)
    exact = found.results[_report.OURS]
    measured, said = [], {}
    for name, distances in found.results.items():
        row: dict[str, Any] = {"who": name, "cpu seconds": found.turns.median[name]}
        row["largest error"] = float(np.abs(distances[rows, -1] - truth).max())
        row["recall"] = recall(distances, exact)
        row["MiB above the vectors"] = round(found.peaks[name] - base)
        measured.append(row)
        largest = float(np.abs(distances - exact).max())
        said[name] = f"distances differ by at most {largest:.1e}"
        if name == "pynndescent":
            said[name] = f"recall {row['recall']:.4f}, ours is exact"
        if name == _report.OURS and row["largest error"] > 1e-9:
            sys.exit(f"a distance is off by {row['largest error']}")
    what = f"{NEIGHBOUR} neighbours, {given.rows:,} × {given.width}, {given.copies} copies"
    comparisons = [
        _report.compared(found.turns, what, name, equality=said[name], packages=(package,))
        for name, package in PACKAGES.items()
        if name in found.results
    ]
    _report.show(f"{what}, one thread", measured, given.out, comparisons, found.missing)


if __name__ == "__main__":
    main()
