"""Where all pairs are too many: exact against approximate, seconds, memory and what is lost.

    python -m benchmarks.bench_approximate --rows 50000 --large 200000,1000000

Made-up unit vectors of 192 dimensions (the width of the starter encoder) in 200 clusters of uneven
size; texts of `make_pool`. Sizes of --large are not searched over all pairs. Recall of neighbours
is over all rows where the exact search was run; the objective of the selectors is that of
`bench_selectors`, for facility location the mean of 2,000 rows.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

try:
    from benchmarks import _data, _report, bench_selectors, make_pool
except ImportError:  # run as a file
    import _data
    import _report
    import bench_selectors
    import make_pool

WIDTH, NEIGHBOUR, LOOKED_AT = 192, 6, 2000
NEIGHBOUR_ROWS = 200_000  # more take facility location too long to wait for
Measured = tuple[Any, float]


def idle(rows: int) -> Measured:
    """Hold the vectors and do nothing: the memory all others start from."""
    import faiss  # noqa: F401

    _data.vectors(rows, WIDTH)
    return None, 0.0


def knn_exact(rows: int) -> Measured:
    """Search all pairs."""
    from instructmine.indicators.knn import neighbour_distances

    vectors = _data.vectors(rows, WIDTH)
    start = time.process_time()
    found = neighbour_distances(vectors, NEIGHBOUR)
    return found.astype("float32"), time.process_time() - start


def knn_clusters(rows: int) -> Measured:
    """Search in clusters."""
    import numpy as np

    from instructmine.neighbours import ClusterSearch

    vectors = _data.vectors(rows, WIDTH)
    start = time.process_time()
    search = ClusterSearch(vectors, NEIGHBOUR, 0.95)
    squared = np.concatenate([distances for _, _, distances in search.blocks()])
    seconds = time.process_time() - start
    return (np.sqrt(squared).astype("float32"), search.search.to_json()), seconds


def location_exact(rows: int) -> Measured:
    """Facility location over all pairs, one pick in a hundred."""
    from instructmine.selectors.facility_location import _LazyGreedy

    vectors = _data.vectors(rows, WIDTH)
    start = time.process_time()
    chosen = _LazyGreedy(vectors, 512 * 2**20).run(rows // 100)
    seconds = time.process_time() - start
    return _objective(vectors, chosen), seconds


def location_neighbours(rows: int) -> Measured:
    """Facility location over the 64 nearest of each row."""
    from instructmine.selectors.facility_location import among_neighbours

    vectors = _data.vectors(rows, WIDTH)
    start = time.process_time()
    chosen, search = among_neighbours(vectors, rows // 100, 64, 0.95)
    seconds = time.process_time() - start
    return {**_objective(vectors, chosen), "recall": search.recall}, seconds


def _objective(vectors: Any, chosen: Any) -> dict[str, float]:
    import numpy as np

    looked_at = np.linspace(0, len(vectors) - 1, LOOKED_AT).astype(int)
    nearest = (vectors[looked_at] @ vectors[chosen].T).max(axis=1)
    return {"objective": float(np.maximum(nearest, 0).mean())}


def center_exact(rows: int) -> Measured:
    """k-center over all rows, one pick in a hundred."""
    from instructmine.selectors.kcenter import farthest_first

    vectors = _data.vectors(rows, WIDTH)
    start = time.process_time()
    chosen = farthest_first(vectors, rows // 100)
    seconds = time.process_time() - start
    return {"objective": bench_selectors.radius(vectors, chosen)}, seconds


def center_drawn(rows: int) -> Measured:
    """k-center over a fifth of the rows, with as many picks."""
    import numpy as np

    from instructmine.selectors.kcenter import farthest_first

    vectors = _data.vectors(rows, WIDTH)
    start = time.process_time()
    drawn = np.sort(np.random.default_rng(0).permutation(rows)[: rows // 5])
    chosen = drawn[farthest_first(vectors[drawn], rows // 100)]
    seconds = time.process_time() - start
    return {"objective": bench_selectors.radius(vectors, chosen)}, seconds


def near(rows: int) -> Measured:
    """Near-duplicates, exact at every size."""
    import numpy as np

    from instructmine.dedup import near_duplicates

    texts = (f"{row['instruction']}\n{row['output']}" for row in make_pool.rows(rows))
    made = time.process_time()
    held = list(texts)
    made = time.process_time() - made
    ids = np.array([f"{row:032x}".encode() for row in range(rows)], dtype="S32")
    start = time.process_time()
    found = near_duplicates(held, ids)
    return {"found": len(found)}, time.process_time() - start


def measure(task: str, who: str, run: Any, rows: int, base: float) -> tuple[dict[str, Any], Any]:
    """Run one contender in a process of its own; return its row and what it found."""
    found, seconds, peak = _report.isolated(run, rows)
    row = {"task": task, "who": who, "rows": rows, "cpu seconds": round(seconds, 1)}
    row["microseconds a row"] = round(seconds / rows * 1e6, 1)
    row["MiB above the vectors"] = round(peak - base)
    print(row, flush=True)
    return row, found


def sizes(rows: int, large: bool) -> list[dict[str, Any]]:
    """Measure everything at one size."""
    base = _report.isolated(idle, rows)[2]
    measured = []
    row, (approximate, told) = measure("neighbours", "clusters", knn_clusters, rows, base)
    row |= {"recall": told["recall"], "probes": told["probes"]}
    measured.append(row)
    if not large:
        exact_row, exact = measure("neighbours", "exact", knn_exact, rows, base)
        limit = exact[:, -1:] * (1 + 1e-6)
        row["recall over all"] = round(float((approximate <= limit).mean()), 4)
        measured.append(exact_row)
    pairs = [("k-center", "a fifth drawn", center_drawn), ("k-center", "exact", center_exact)]
    if rows <= NEIGHBOUR_ROWS:
        pairs.append(("facility location", "neighbours", location_neighbours))
    if not large:
        pairs.append(("facility location", "exact", location_exact))
    for task, who, run in pairs:
        row, found = measure(task, who, run, rows, base)
        measured.append({**row, **{k: round(v, 4) for k, v in found.items()}})
    row, found = measure("near-duplicates", "exact", near, rows, 0.0)
    measured.append({**row, **found})
    return measured


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every size in turn."""
    options = _report.parser(__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--rows", default="20000", help="sizes for both, with commas")
    options.add_argument("--large", default="", help="sizes not searched over all pairs")
    given = options.parse_args(arguments)
    measured: list[dict[str, Any]] = []
    for text, large in ((given.rows, False), (given.large, True)):
        for rows in map(int, filter(None, text.split(","))):
            measured += sizes(rows, large)
            _report.show(f"Vectors of {WIDTH}, one thread", measured, given.out)


if __name__ == "__main__":
    main()
