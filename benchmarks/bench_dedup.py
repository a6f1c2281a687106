"""Near-duplicates against semhash: recall of planted copies, and what else is thrown away.

semhash is no dependency: install it beside the package, and have a static encoder under
`--shared`, to see it in the table. It compares meaning, ours compares words, so the two answer
different questions; "others removed" says how far they part.
"""

from __future__ import annotations

import string
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

try:
    from benchmarks import _data, _report
except ImportError:  # run as a file
    import _data
    import _report

Edit = Callable[[list[str], Any], list[str]]


def _signs(words: list[str], rng: Any) -> list[str]:
    drop = str.maketrans("", "", string.punctuation)
    return [word.upper().translate(drop) for word in words]


def _one_word(words: list[str], rng: Any) -> list[str]:
    place = int(rng.integers(len(words)))
    return [*words[:place], "instead", *words[place + 1 :]]


def _two_typos(words: list[str], rng: Any) -> list[str]:
    words = list(words)
    for place in rng.integers(len(words), size=2):
        words[place] = words[place][1:] + words[place][:1]
    return words


def _sentence_more(words: list[str], rng: Any) -> list[str]:
    return [*words, *"Please let me know if you need anything else.".split()]  # noqa: SIM905


def _first_words_gone(words: list[str], rng: Any) -> list[str]:
    return words[max(1, len(words) // 20) :]


EDITS: dict[str, Edit] = {
    "case and signs": _signs,
    "one word replaced": _one_word,
    "two typos": _two_typos,
    "a sentence more": _sentence_more,
    "first 5 % gone": _first_words_gone,
}


def planted(shared: Path, rows: int, copies: int) -> tuple[list[str], dict[int, tuple[int, str]]]:
    """Return texts, and for each planted row the row it was made from and the edit."""
    import numpy as np

    rng = np.random.default_rng(0)
    texts = [text for text in _data.pairs(shared, rows) if len(text.split()) >= 5]
    long = [row for row, text in enumerate(texts) if len(text.split()) >= 40]
    origin: dict[int, tuple[int, str]] = {}
    for number, row in enumerate(rng.choice(long, copies, replace=False).tolist()):
        edit = list(EDITS)[number % len(EDITS)]
        origin[len(texts)] = row, edit
        texts.append(" ".join(EDITS[edit](texts[row].split(), rng)))
    return texts, origin


def ours(shared: Path, rows: int, copies: int) -> tuple[Any, float]:
    """Return which rows are removed at the default threshold."""
    import hashlib

    import numpy as np

    from instructmine.dedup import near_duplicates

    texts, _ = planted(shared, rows, copies)
    ids = np.array([hashlib.md5(text.encode()).hexdigest() for text in texts], dtype="S32")
    start = time.process_time()
    found = near_duplicates(texts, ids, np.arange(len(texts), dtype=np.float64))
    return np.flatnonzero(~found.kept), time.process_time() - start


def semhash(shared: Path, rows: int, copies: int) -> tuple[Any, float]:
    """Return which rows are removed at its default threshold, with a static encoder."""
    import numpy as np
    from model2vec import StaticModel
    from semhash import SemHash

    texts, _ = planted(shared, rows, copies)
    model = StaticModel.from_pretrained(str(shared / "models" / "model2vec-bge-base-128"))
    start = time.process_time()
    result = SemHash.from_records(texts, model=model).self_deduplicate()
    seconds = time.process_time() - start
    left: dict[str, int] = {}
    for text in result.selected:
        left[text] = left.get(text, 0) + 1
    removed = []
    for row, text in enumerate(texts):
        if left.get(text, 0):
            left[text] -= 1
        else:
            removed.append(row)
    return np.array(removed), seconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare; exit with an error when ours finds too few."""
    options = _report.parser(main.__doc__ or "")
    options.add_argument("--rows", type=int, default=52_002)
    options.add_argument("--copies", type=int, default=1000)
    given = options.parse_args(arguments)
    size = (given.shared, given.rows, given.copies)
    texts, origin = planted(*size)
    contenders: dict[str, Any] = {"instructmine, Jaccard 0.8": ours}
    if (given.shared / "models" / "model2vec-bge-base-128").is_dir():
        contenders["semhash, cosine 0.9"] = semhash
    rows = []
    for name, run in contenders.items():
        try:
            removed, seconds, peak = _report.isolated(run, *size)
        except ImportError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        gone = set(removed.tolist())
        found = {new: new in gone or old in gone for new, (old, _) in origin.items()}
        row: dict[str, Any] = {"who": name, "recall": sum(found.values()) / len(found)}
        for edit in EDITS:
            hits = [found[new] for new, (_, made_by) in origin.items() if made_by == edit]
            row[edit] = sum(hits) / len(hits)
        planted_pairs = set(origin) | {old for old, _ in origin.values()}
        row["others removed"] = len(gone - planted_pairs)
        row["cpu seconds"], row["peak MiB"] = seconds, round(peak)
        rows.append(row)
    title = f"Near-duplicates: {len(texts)} texts, {len(origin)} planted, one thread"
    _report.show(title, rows, given.out)
    if rows[0]["recall"] < 0.9:
        sys.exit("ours finds fewer than nine of ten planted copies")


if __name__ == "__main__":
    main()
