"""Inputs of the benchmarks: public texts where they are, made-up ones else; made-up vectors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def texts(shared: Path, count: int) -> list[str]:
    """Return about `count` responses: Alpaca's and LIMA's, or generated ones of such lengths."""
    alpaca = shared / "data" / "train" / "alpaca_data.json"
    if not alpaca.is_file():
        return generated(count)
    rows = json.loads(alpaca.read_text(encoding="utf-8"))
    found = [row["output"] for row in rows[:: max(1, len(rows) // count)]]
    long = json.loads((alpaca.parent / "lima_1029.json").read_text(encoding="utf-8"))
    return [text for text in (*found, *(row["output"] for row in long)) if text.strip()]


def pairs(shared: Path, count: int) -> list[str]:
    """Return `count` whole examples, prompt and response."""
    alpaca = shared / "data" / "train" / "alpaca_data.json"
    if not alpaca.is_file():
        return generated(count)
    rows = json.loads(alpaca.read_text(encoding="utf-8"))[:count]
    return ["\n".join((row["instruction"], row["input"], row["output"])) for row in rows]


def generated(count: int, seed: int = 0) -> list[str]:
    """Return texts whose words follow Zipf's law and whose lengths are log-normal."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(rng.choice(letters, size)) for size in rng.integers(2, 10, 20_000)]
    lengths = np.clip(rng.lognormal(4, 0.9, count), 3, 2000).astype(int)
    return [
        " ".join(words[min(int(w), len(words)) - 1] for w in rng.zipf(1.25, n)) + "."
        for n in lengths
    ]


def vectors(rows: int, width: int, seed: int = 0, copies: int = 0) -> np.ndarray:
    """Return unit vectors in clusters of uneven size; the last `copies` rows repeat others."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(200, width)).astype(np.float32)
    share = rng.dirichlet(np.ones(200))
    made = centres[rng.choice(200, rows, p=share)]
    made += 0.8 * rng.normal(size=(rows, width)).astype(np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    if copies:
        made[-copies:] = made[rng.integers(0, rows - copies, copies)]
    return made
