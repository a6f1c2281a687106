"""MTLD against lexicalrichness: equal values first, then texts per second."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

try:
    from benchmarks import _data, _report
except ImportError:  # run as a file
    import _data
    import _report

PEER = "lexicalrichness"


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare; exit with an error when a value differs."""
    options = _report.parser(main.__doc__ or "")
    options.add_argument("--texts", type=int, default=4000)
    given = options.parse_args(arguments)

    from instructmine.indicators.mtld import mtld, words

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lexicalrichness import LexicalRichness

    texts = [text for text in _data.texts(given.shared, given.texts) if words(text)]
    ours = [mtld(text) for text in texts]
    theirs = [LexicalRichness(text).mtld(0.72) for text in texts]
    different = sum(a != b for a, b in zip(ours, theirs, strict=True))
    if different:
        sys.exit(f"{different} of {len(texts)} values differ from {PEER}")
    turns = _report.take_turns(
        {
            PEER: lambda: [LexicalRichness(text).mtld(0.72) for text in texts],
            _report.OURS: lambda: [mtld(text) for text in texts],
        },
        given.rounds,
    )
    rows = [
        {"who": name, "texts/s": round(len(texts) / took), "different values": 0}
        for name, took in turns.median.items()
    ]
    what = f"MTLD of {len(texts):,} texts"
    equality = f"0 of {len(texts):,} values differ"
    found = _report.compared(turns, what, PEER, equality=equality, packages=(PEER,))
    _report.show(f"{what}, one thread", rows, given.out, [found])


if __name__ == "__main__":
    main()
