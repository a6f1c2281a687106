"""Model indicators against how other projects compute them: equal values first, then speed.

    python benchmarks/bench_models.py --rows 200 --out build/bench/models.json

Two pools: Alpaca (short texts, what Cherry_LLM was written for) and a mixture with long and code
examples. All ways of a table take turns in one process on `--threads` threads; the median CPU
seconds of `--rounds` count, tokenising included. `speed` is how many times as fast as that way
instructmine is; below 1 it is slower. Cherry_LLM, Superfiltering, OpenDataArena and UniEval are
scripts and no packages, so their loops are restated in `_model_peers.py`; data-juicer's too, which
`bench_own_environments` also runs as it ships.

"bare passes" are `model(ids)` over as many tokens in batches of equal length without padding, a
bound that batching cannot pass: once with all logits, once with as many as responses need.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

try:
    from benchmarks import _data, _report
except ImportError:  # run as a file
    import _data
    import _report

MIXTURE = (
    "alpaca_data.json",
    "dolly_3k_alpagasus_selected.json",
    "lima_1029.json",
    "gpteacher_roleplay.json",
    "new_codealpaca.json",
)
TOLERANCE = 1e-5
Row = dict[str, Any]
Measured = tuple[list[Row], _report.Turns, dict[str, float]]  # rows, turns, other boundaries


def read_pool(folder: Path, files: Sequence[str], rows: int) -> list[Any]:
    """Read single-turn examples, evenly from the files; generated ones where there are none."""
    from instructmine.pool import Example

    if not folder.is_dir():
        made = _data.generated(2 * rows)
        return [Example.single(a, b) for a, b in zip(made[::2], made[1::2], strict=True)]
    examples = []
    for name in files:
        records = json.loads((folder / name).read_text(encoding="utf-8"))
        records = [record for record in records if record["output"].strip()]
        share = rows // len(files)
        for record in records[:: max(1, len(records) // share)][:share]:
            parts = [record["instruction"], record.get("input") or ""]
            examples.append(Example.single("\n".join(filter(None, parts)), record["output"]))
    return examples


def plain_model(auto_class: Any, model: Any) -> tuple[Any, Any]:
    """Load model and tokenizer as anyone would."""
    from transformers import AutoTokenizer

    folder = model.folder()
    return (
        auto_class.from_pretrained(folder, dtype="float32").eval(),
        AutoTokenizer.from_pretrained(folder),
    )


def rows_of(turns: _report.Turns, examples: int, **facts: Any) -> list[Row]:
    """Return one table row per way, ours with the facts."""
    seconds = turns.median
    ours = seconds[_report.OURS]
    return [
        {"who": who, "examples/s": examples / took, "speed": took / ours}
        | (facts if who == _report.OURS else {})
        for who, took in seconds.items()
    ]


# How each way was run; "bare passes" are a bound and no way of computing anything.
HOW = {
    "Cherry_LLM": _report.RESTATED,
    "Superfiltering": _report.RESTATED,
    "data-juicer": _report.RESTATED,
    "fixed batches": _report.RESTATED,
    "UniEval": _report.RESTATED,
    "one by one": _report.SHIPPED,
}
LABELS = {
    "Cherry_LLM": "Cherry_LLM's loop",
    "Superfiltering": "Superfiltering's loop",
    "data-juicer": "data-juicer's loop",
    "fixed batches": "OpenDataArena's batches of 8",
    "UniEval": "UniEval's scorer",
    "one by one": "transformers, one example at a time",
}


def comparisons_of(
    turns: _report.Turns, what: str, equality: str, drift: dict[str, float]
) -> list[_report.Comparison]:
    """Return the comparison with every way that computes the same."""
    return [
        _report.compared(
            turns, what, who, label=LABELS[who], how=HOW[who], packages=("transformers", "torch"),
            equality=equality + (f"; its response has another boundary in {drift[who]:.0%} of the "
                                 "texts" if who in drift else ""),
        )
        for who in turns.seconds
        if who in HOW
    ]  # fmt: skip


def bench_lm(options: argparse.Namespace, turns: Sequence[Any]) -> Measured:
    """Perplexity and IFD together."""
    import numpy as np
    from transformers import AutoModelForCausalLM

    from instructmine.contracts import Context
    from instructmine.modelref import ModelRef
    from instructmine.models.causal_lm import CausalLM
    from instructmine.models.tokens import TokenSpan

    peers_module = _peers()
    ref = ModelRef(options.lm)
    ours = CausalLM.load(ref, context=Context("cpu", options.threads))
    model, tokenizer = plain_model(AutoModelForCausalLM, ref)
    peers = peers_module.LanguageModelPeers(model, tokenizer, ours.max_length or 2048)
    rendered = [ours.renderer.turn(turn.history, turn.response) for turn in turns]
    # A tokenizer that adds BOS by itself must not find one in the text.
    adds_bos = tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]
    bos = (tokenizer.bos_token or "") if adds_bos else ""
    texts = [(text.before.removeprefix(bos), text.response) for text in rendered]

    found = ours.response_loss(turns, unconditioned=True)
    spans, _ = ours.spans(turns)
    alone = [TokenSpan([ours.start, *s.response], 1, len(s.response) + 1) for s in spans]
    difference = max(
        np.abs(found.conditioned - peers.one_by_one(spans)).max(),
        np.abs(found.unconditioned - peers.one_by_one(alone)).max(),
    )
    whole = np.array([not span.cut for span in spans])

    def other_boundary(losses: list[float]) -> float:
        return float((np.abs(found.conditioned - losses)[whole] > 1e-4).mean())

    drift = {
        "Cherry_LLM": other_boundary(peers.cherry(texts, loop=False)),
        "data-juicer": other_boundary(peers.data_juicer(texts)),
    }
    lengths = np.array([len(span) for span in (*spans, *alone)])
    tokens = int(lengths.sum())
    share = float(2 * found.tokens.sum() / tokens)
    width = round(float((lengths**2).sum() / tokens))  # as a token sees it
    budget = ours.runner.budget
    taken = _report.take_turns(
        {
            "instructmine": lambda: ours.response_loss(turns, unconditioned=True),
            "Cherry_LLM": lambda: peers.cherry(texts),
            "Superfiltering": lambda: peers.cherry(texts, loop=False),
            "data-juicer": lambda: peers.data_juicer(texts),
            "fixed batches": lambda: peers.fixed_batches([*spans, *alone]),
            "bare passes, all logits": lambda: peers.bare(tokens, width, budget),
            "bare passes, response logits": lambda: peers.bare(tokens, width, budget, share),
        },
        options.rounds,
    )
    rows = rows_of(
        taken,
        len(turns),
        padding=ours.runner.padding_share,
        difference=float(difference),
        cut=len(found.truncated),
        tokens=tokens,
    )
    for row in rows:
        if row["who"] in drift:
            row["other boundary"] = drift[row["who"]]
    return rows, taken, {**drift, "Superfiltering": drift["Cherry_LLM"]}


def bench_unieval(options: argparse.Namespace, turns: Sequence[Any]) -> Measured:
    """UniEval's three questions together."""
    import numpy as np
    from transformers import AutoModelForSeq2SeqLM

    from instructmine.contracts import Context
    from instructmine.indicators.unieval import QUESTIONS, question_text
    from instructmine.modelref import ModelRef
    from instructmine.models.seq2seq import YesNoModel

    peers = _peers()
    ref = ModelRef(options.unieval)
    ours = YesNoModel.load(ref, context=Context("cpu", options.threads))
    model, tokenizer = plain_model(AutoModelForSeq2SeqLM, ref)
    texts = [question_text(name, turn) for name in QUESTIONS for turn in turns]
    inputs = [text.before + text.response + text.after for text in texts]

    def theirs() -> list[float]:
        parts = (inputs[start : start + len(turns)] for start in range(0, len(inputs), len(turns)))
        return [score for part in parts for score in peers.unieval(model, tokenizer, part)]

    found = ours.answers(texts)
    whole = [index for index in range(len(texts)) if index not in found.truncated]
    difference = np.abs(found.values - theirs())[whole].max()
    taken = _report.take_turns(
        {"instructmine": lambda: ours.answers(texts), "UniEval": theirs}, options.rounds
    )
    rows = rows_of(
        taken,
        len(turns),
        padding=ours.runner.padding_share,
        difference=float(difference),
        cut=len(found.truncated),
    )
    return rows, taken, {}


def bench_reward(options: argparse.Namespace, turns: Sequence[Any]) -> Measured:
    """Rewards of a one-logit classifier."""
    import numpy as np
    from transformers import AutoModelForSequenceClassification

    from instructmine.contracts import Context
    from instructmine.modelref import ModelRef
    from instructmine.models.reward import RewardModel

    peers = _peers()
    ref = ModelRef(options.reward)
    ours = RewardModel.load(ref, context=Context("cpu", options.threads))
    model, tokenizer = plain_model(AutoModelForSequenceClassification, ref)

    def theirs() -> list[float]:
        return peers.rewards(model, tokenizer, turns, ours.max_length)

    found = ours.rewards(turns)
    whole = [index for index in range(len(turns)) if index not in found.truncated]
    difference = np.abs(found.values - theirs())[whole].max()
    taken = _report.take_turns(
        {"instructmine": lambda: ours.rewards(turns), "one by one": theirs}, options.rounds
    )
    rows = rows_of(
        taken,
        len(turns),
        padding=ours.runner.padding_share,
        difference=float(difference),
        cut=len(found.truncated),
    )
    return rows, taken, {}


def _peers() -> Any:
    try:
        from benchmarks import _model_peers
    except ImportError:
        import _model_peers
    return _model_peers


PARTS: dict[str, tuple[str, Callable[[argparse.Namespace, Sequence[Any]], Measured]]] = {
    "lm": ("perplexity and ifd", bench_lm),
    "unieval": ("three UniEval questions", bench_unieval),
    "reward": ("reward", bench_reward),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare; exit with an error where a value differs."""
    options = _report.parser((__doc__ or "").splitlines()[0])
    options.add_argument("--data", type=Path, help="data folder (default: data in --shared)")
    options.add_argument("--rows", type=int, default=200, help="examples per pool")
    options.add_argument("--threads", type=int, default=1, help="torch threads")
    options.add_argument("--only", choices=tuple(PARTS), help="one part")
    options.add_argument("--lm", default="starter:lm", help="causal LM")
    options.add_argument("--unieval", default="starter:unieval", help="T5 of UniEval")
    options.add_argument("--reward", default="starter:reward", help="reward classifier")
    given = options.parse_args(arguments)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the same threads for all

    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    folder = (given.data or given.shared / "data") / "train"
    rows: list[Row] = []
    comparisons: list[_report.Comparison] = []
    for pool, files in (("Alpaca", MIXTURE[:1]), ("mixture", MIXTURE)):
        turns = [example.turns[-1] for example in read_pool(folder, files, given.rows)]
        for name, (title, part) in PARTS.items():
            if given.only not in (None, name):
                continue
            found, taken, drift = part(given, turns)
            rows += [{"what": title, "pool": pool} | row for row in found]
            difference = max(row.get("difference", 0.0) for row in found)
            what = f"{title}, {len(turns)} rows of {pool}"
            equality = f"values differ from one example's alone by at most {difference:.0e}"
            comparisons += comparisons_of(taken, what, equality, drift)
    title = f"Model indicators, {given.rows} examples a pool, {given.threads} thread(s)"
    _report.show(title, rows, given.out, comparisons)
    different = [row for row in rows if not row.get("difference", 0) <= TOLERANCE]
    if different:
        sys.exit(f"results differ by more than {TOLERANCE}: {[r['what'] for r in different]}")


if __name__ == "__main__":
    main()
