"""Candidates made up for tests: ids, quality, lengths, embeddings in clusters, targets."""

import hashlib

import numpy as np
import pyarrow as pa

from instructmine.results import Candidates
from instructmine.scores import ScoreTable


def unit(matrix):
    return (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)


def hex_ids(n, salt=""):
    return np.array([hashlib.md5(f"{salt}{i}".encode()).hexdigest() for i in range(n)], dtype="S32")


def candidates(
    n=200, d=16, *, seed=0, quality=None, lengths=None, vectors=None, sources=None, targets=7
):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(8, d))
    near = centres[rng.integers(0, 8, n + targets)] + 0.6 * rng.normal(size=(n + targets, d))
    near = unit(near)
    ids = hex_ids(n, salt=str(seed))
    quality = rng.normal(size=n).round(2) if quality is None else np.asarray(quality, dtype=float)
    lengths = rng.integers(1, 60, n).astype(float) if lengths is None else np.asarray(lengths)
    table = pa.table(
        {
            "source": sources if sources is not None else ["a.jsonl"] * n,
            "row": np.arange(n),
            "id": [one.decode() for one in ids],
            "output_length": pa.array(lengths, from_pandas=True),
            "ifd": pa.array(0.2 + np.asarray(lengths) / 50, from_pandas=True),
            "errors": pa.nulls(n, pa.string()),
        }
    )
    vectors = near[:n] if vectors is None else unit(np.asarray(vectors, dtype=float))
    return Candidates(ids, quality, ScoreTable(table), vectors, near[n:])


def ranked_ids(made, ranking, count=None):
    return made.ids[ranking.order[:count]].tolist()
