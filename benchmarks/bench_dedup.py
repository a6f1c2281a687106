"""Near-duplicates against semhash: recall of planted copies, and what else is thrown away.

semhash compares meaning at a cosine of 0.9, ours compares words at a Jaccard similarity of 0.8, so
the two answer different questions; "others removed" says how far they part. Its own default model
comes from a hub; here it is given another by its public `model=`: a model2vec one from `--shared`,
which is of the kind it was made for, or with --starter, or where there is none, our starter
encoder. Encoding is part of its time. `make bench` installs it into an environment of its own.
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

STATIC = Path("models/model2vec-bge-base-128")  # below --shared

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
    """Return which rows semhash removes at its default threshold, with a model2vec encoder."""
    from model2vec import StaticModel

    model = StaticModel.from_pretrained(str(shared / STATIC))
    return _semhash(planted(shared, rows, copies)[0], model)


def semhash_starter(shared: Path, rows: int, copies: int) -> tuple[Any, float]:
    """Return which rows semhash removes with our starter encoder behind its public protocol."""
    return _semhash(planted(shared, rows, copies)[0], _Starter())


class _Starter:
    """The starter encoder as semhash takes an encoder: anything with `encode`."""

    def __init__(self) -> None:
        from instructmine.contracts import Context
        from instructmine.modelref import ModelRef
        from instructmine.models.encoder import load_encoder
        from instructmine.models.spec import ModelSpec

        spec = ModelSpec.read(ModelRef("starter:encoder"))
        context = Context("cpu", 1)
        self.encoder = load_encoder(spec, max_length=spec.encoder_length(None), context=context)

    def encode(self, inputs: Sequence[str], **_: Any) -> Any:
        """Return one unit vector per text."""
        return self.encoder.encode([("", text) for text in inputs])[0]


def _semhash(texts: list[str], model: Any) -> tuple[Any, float]:
    """Deduplicate as semhash's documents have it; what is not selected is removed."""
    import numpy as np
    from semhash import SemHash

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


def measured(name: str, removed: Any, origin: dict[int, tuple[int, str]]) -> dict[str, Any]:
    """Return the row of one contender: what it found, and what else it threw away."""
    gone = set(removed.tolist())
    found = {new: new in gone or old in gone for new, (old, _) in origin.items()}
    row: dict[str, Any] = {"who": name, "recall": sum(found.values()) / len(found)}
    for edit in EDITS:
        hits = [found[new] for new, (_, made_by) in origin.items() if made_by == edit]
        row[edit] = sum(hits) / len(hits)
    planted_pairs = set(origin) | {old for old, _ in origin.values()}
    row["others removed"] = len(gone - planted_pairs)
    return row


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare; exit with an error when ours finds too few."""
    options = _report.parser(main.__doc__ or "")
    options.set_defaults(rounds=3)
    options.add_argument("--rows", type=int, default=52_002)
    options.add_argument("--copies", type=int, default=1000)
    options.add_argument("--starter", action="store_true", help="give semhash our encoder too")
    given = options.parse_args(arguments)
    size = (given.shared, given.rows, given.copies)
    texts, origin = planted(*size)
    contenders: dict[str, Any] = {_report.OURS: ours}
    if (given.shared / STATIC).is_dir():
        contenders["semhash, model2vec encoder"] = semhash
    if given.starter or len(contenders) == 1:
        contenders["semhash, our starter encoder"] = semhash_starter
    found = _report.isolated_turns(contenders, size, given.rounds)
    rows = [measured(name, removed, origin) for name, removed in found.results.items()]
    for row in rows:
        row["cpu seconds"] = found.turns.median[row["who"]]
        row["peak MiB"] = round(found.peaks[row["who"]])
    what = f"near-duplicates, {len(texts):,} texts, {len(origin):,} planted"
    comparisons = [
        _report.compared(
            found.turns, what, row["who"], packages=("semhash", "model2vec"),
            equality=f"recall {rows[0]['recall']:.3f} against {row['recall']:.3f}, others "
            f"removed {rows[0]['others removed']} against {row['others removed']}",
        )
        for row in rows[1:]
    ]  # fmt: skip
    _report.show(f"{what}, one thread", rows, given.out, comparisons, found.missing)
    if rows[0]["recall"] < 0.9:
        sys.exit("ours finds fewer than nine of ten planted copies")


if __name__ == "__main__":
    main()
