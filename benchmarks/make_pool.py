"""Writes a made-up pool of any size: the same rows for the same seed, copies at a stated rate.

    python -m benchmarks.make_pool build/pool --rows 1000000

Alpaca rows in JSON lines, about 200 bytes each, 1,000,000 to a file. The words follow Zipf's law;
a prompt is one run of words, a response up to three, each from a random place of one long text.
Rows are made in blocks of 10,000 from (seed, block), so a smaller pool is the beginning of a larger
one. In every block some rows repeat an earlier one exactly, and some but for one word.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

BLOCK = 10_000
FILE_ROWS = 1_000_000
EXACT, NEAR = 0.02, 0.02  # share of rows that repeat an earlier row of their block
_WORDS = 2_000_000  # words of the long text


class _Text:
    """One long text of made-up words, of which rows are pieces."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
        known = ["".join(rng.choice(letters, size)) for size in rng.integers(2, 10, 30_000)]
        share = 1 / (np.arange(len(known)) + 2.7)  # Zipf's law as Mandelbrot has it
        drawn = rng.choice(len(known), _WORDS, p=share / share.sum())
        self.words = [known[number] for number in drawn]

    def piece(self, start: int, count: int) -> str:
        """Return a run of words."""
        return " ".join(self.words[start : start + count])


def rows(count: int, seed: int = 0) -> Iterator[dict[str, str]]:
    """Yield `count` records of the columns instruction, input and output."""
    text = _Text(seed)
    for block in range(-(-count // BLOCK)):
        made = _block(text, np.random.default_rng([seed, block]))
        yield from made[: count - block * BLOCK]


def _block(text: _Text, rng: np.random.Generator) -> list[dict[str, str]]:
    starts = rng.integers(0, _WORDS - 100, (BLOCK, 4)).tolist()
    asked = rng.integers(4, 13, BLOCK).tolist()
    runs = rng.integers(1, 4, BLOCK).tolist()
    lengths = rng.integers(4, 13, (BLOCK, 3)).tolist()
    kind = rng.random(BLOCK).tolist()
    earlier = rng.random(BLOCK).tolist()
    made: list[dict[str, str]] = []
    for row in range(BLOCK):
        if row and kind[row] < EXACT + NEAR:
            made.append(_copy(text, made[int(earlier[row] * row)], kind[row], starts[row][0]))
            continue
        pieces = [text.piece(starts[row][run], lengths[row][run]) for run in range(runs[row])]
        prompt = text.piece(starts[row][3], asked[row]).capitalize() + "?"
        made.append({"instruction": prompt, "input": "", "output": ". ".join(pieces) + "."})
    return made


def _copy(text: _Text, record: dict[str, str], kind: float, place: int) -> dict[str, str]:
    if kind < EXACT:
        return record
    head, _, rest = record["output"].partition(" ")  # another first word
    return {**record, "output": f"{text.words[place]}{len(head)} {rest}"}


def write(folder: Path, count: int, seed: int = 0) -> Path:
    """Write a pool of `count` rows into a folder, a million to a file, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    made = rows(count, seed)
    for number in range(-(-count // FILE_ROWS)):
        with (folder / f"part-{number:03}.jsonl").open("w", encoding="utf-8") as handle:
            for _ in range(min(FILE_ROWS, count - number * FILE_ROWS)):
                handle.write(json.dumps(next(made)) + "\n")
    return folder


def main() -> None:
    """Write a pool and say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write(options.folder, options.rows, options.seed)
    size = sum(path.stat().st_size for path in options.folder.glob("part-*.jsonl"))
    print(
        f"{options.rows:,} rows, {size / 1e6:,.0f} MB, {size / options.rows:.0f} bytes a row; "
        f"{EXACT:.0%} exact and {NEAR:.0%} near copies in every {BLOCK:,} rows"
    )


if __name__ == "__main__":
    main()
