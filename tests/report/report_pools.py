"""Pools for the report's tests."""

import json

import numpy as np


def pool_rows(n, seed=0):
    """Rows of three kinds of text, long and short, one of them twice, one without an answer."""
    rng = np.random.default_rng(seed)
    kinds = {
        "cooking": "Suggest a recipe with potatoes and onions",
        "code": "Write a python function that sorts numbers",
        "travel": "Plan a journey by train to Lisbon",
    }
    words = (
        "the", "pan", "heats", "slowly", "while", "list", "comprehension", "trains", "arrive",
        "late", "stir", "return",
    )  # fmt: skip
    for place in range(n):
        name = list(kinds)[place % 3]
        answer = " ".join(rng.choice(words, int(rng.integers(4, 60))))
        row = {"instruction": f"{kinds[name]} number {place}", "input": "", "output": answer}
        yield row if place != 7 else {**row, "output": ""}
    yield {"instruction": f"{kinds['cooking']} number 0", "input": "", "output": "again"}


def write_pool(path, rows, more=()):
    lines = [json.dumps(row) for row in rows]
    path.write_text("\n".join([*lines, *lines[:2], *more]) + "\n", encoding="utf-8")
    return path
