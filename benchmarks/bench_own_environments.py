"""Model indicators against data-juicer and distilabel as they ship, in environments of their own.

    python -m benchmarks.environments && python -m benchmarks.bench_own_environments

Both sides score the same texts with copies of the same starter model, in processes of their own,
taking turns; each times itself in CPU seconds, tokenising included, loading not. data-juicer
knows no chat template, so both read "query response" joined by a blank. Its operator finds the
response by tokenising it alone, so its boundary is another one in some texts: equality is asked
of the others, and how many those are is said. distilabel's step is given batches of its default
size in file order, as its pipeline gives them. Their pipelines around the operators are left out.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

try:
    from benchmarks import _peer, _report
    from benchmarks.bench_models import TOLERANCE, read_pool
except ImportError:  # run as a file
    import _peer
    import _report
    from bench_models import TOLERANCE, read_pool

JOINED = (
    "{{ bos_token }}{% for message in messages %}{{ message['content'] | trim }}"
    "{% if not loop.last %} {% endif %}{% endfor %}"
)
SAME = 1e-4  # losses further apart than this are of other response tokens


def copied(name: str, folder: Path, **changes: str) -> Path:
    """Copy a starter model and change its tokenizer's configuration.

    Its tokenizer class is one of transformers 5, which the peers do not know; this is the same.
    """
    from instructmine.modelref import ModelRef

    shutil.copytree(ModelRef(name).folder(), folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {"tokenizer_class": "PreTrainedTokenizerFast", **changes}
    path.write_text(json.dumps(config), encoding="utf-8")
    return folder


def bench_data_juicer(turns: Sequence[Any], rounds: int, place: Path) -> tuple[Any, Any]:
    """Compare perplexity and IFD, both passes over every response."""
    import numpy as np

    from instructmine.contracts import Context
    from instructmine.modelref import ModelRef
    from instructmine.models.causal_lm import CausalLM

    folder = copied("starter:lm", place / "lm", chat_template=JOINED)
    ours = CausalLM.load(ModelRef(str(folder)), context=Context("cpu", 1))
    texts = [[turn.history[-1].content.strip(), turn.response.strip()] for turn in turns]
    with _peer.Peer("data-juicer") as peer:
        packages = _without_seconds(peer.call("versions"))
        peer.call("load", model=str(folder))
        found = ours.response_loss(turns, unconditioned=True)
        whole = [i for i in range(len(turns)) if i not in found.truncated]
        apart = np.abs(found.conditioned - peer.call("losses", texts=texts)["values"])[whole]
        same = apart[apart <= SAME]
        turns_taken = _report.take_turns(
            {
                _report.OURS: lambda: ours.response_loss(turns, unconditioned=True),
                "data-juicer": lambda: _seconds(peer.call("ifd", texts=texts)),
            },
            rounds,
        )
    largest = float(same.max(initial=0.0))
    equality = (
        f"losses differ by at most {largest:.0e} where the response tokens are the same, "
        f"which is {len(same) / len(apart):.0%} of the texts"
    )
    comparison = _report.compared(
        turns_taken, f"perplexity and IFD of {len(turns)} Alpaca rows", "data-juicer",
        label="data-juicer's IFD operator", equality=equality, how=_report.OWN_ENVIRONMENT,
        packages=packages,
    )  # fmt: skip
    return comparison, _rows("perplexity and IFD", turns_taken, len(turns), largest)


def bench_distilabel(turns: Sequence[Any], rounds: int, place: Path) -> tuple[Any, Any]:
    """Compare rewards."""
    import numpy as np

    from instructmine.contracts import Context
    from instructmine.modelref import ModelRef
    from instructmine.models.reward import RewardModel

    folder = copied("starter:reward", place / "reward")
    ours = RewardModel.load(ModelRef(str(folder)), context=Context("cpu", 1))
    texts = [[turn.history[-1].content, turn.response] for turn in turns]
    with _peer.Peer("distilabel") as peer:
        packages = _without_seconds(peer.call("versions"))
        batch = peer.call("load", model=str(folder), max_length=ours.max_length)["batch"]
        found = ours.rewards(turns)
        whole = [i for i in range(len(turns)) if i not in found.truncated]
        theirs = peer.call("score", texts=texts, batch=batch)["values"]
        largest = float(np.abs(found.values - theirs)[whole].max())
        turns_taken = _report.take_turns(
            {
                _report.OURS: lambda: ours.rewards(turns),
                "distilabel": lambda: _seconds(peer.call("score", texts=texts, batch=batch)),
            },
            rounds,
        )
    comparison = _report.compared(
        turns_taken, f"rewards of {len(turns)} Alpaca rows", "distilabel",
        label="distilabel's RewardModelScore", equality=f"rewards differ by at most {largest:.0e}",
        how=_report.OWN_ENVIRONMENT, packages=packages,
    )  # fmt: skip
    return comparison, _rows("rewards", turns_taken, len(turns), largest)


def _rows(what: str, turns: _report.Turns, examples: int, difference: float) -> list[Any]:
    return [
        {"what": what, "who": who, "examples/s": examples / took, "difference": difference}
        for who, took in turns.median.items()
    ]


def _seconds(answer: dict[str, Any]) -> _report.Seconds:
    return _report.Seconds(answer["seconds"])


def _without_seconds(answer: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in answer.items() if name != "seconds"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare with both; exit with an error where values differ. An absent peer is said."""
    options = _report.parser((__doc__ or "").splitlines()[0])
    options.add_argument("--rows", type=int, default=200, help="examples")
    given = options.parse_args(arguments)

    import torch

    torch.set_num_threads(1)
    folder = given.shared / "data" / "train"
    turns = [one.turns[-1] for one in read_pool(folder, ("alpaca_data.json",), given.rows)]
    rows: list[Any] = []
    comparisons: list[Any] = []
    missing: dict[str, str] = {}
    for name, bench in (("data-juicer", bench_data_juicer), ("distilabel", bench_distilabel)):
        with tempfile.TemporaryDirectory() as place:
            try:
                comparison, table = bench(turns, given.rounds, Path(place))
            except _peer.MissingPeerError as error:
                missing[f"{name} as shipped"] = str(error)
                continue
        comparisons.append(comparison)
        rows += table
    title = f"Peers in environments of their own, {len(turns)} examples, one thread"
    _report.show(title, rows, given.out, comparisons, missing)
    if any(row["difference"] > TOLERANCE for row in rows):
        sys.exit(f"results differ by more than {TOLERANCE}")


if __name__ == "__main__":
    main()
