"""Pools, eval sets and targets of the studies, made from public files; splits by a fixed hash.

Each source is one JSONL file of `prompt` and `response`, so that its file name is its name.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

Pair = tuple[str, str]
Reader = Callable[[Path], Iterator[Pair]]
SOURCES = ("alpaca", "dolly", "lima_stackexchange", "lima_wikihow", "t0", "gsm8k", "roleplay")
UNSEEN = ("codealpaca", "toolformer", "rasbt")
MOST = 3000  # rows of one source
EVALS = ("self_instruct", "mt_bench", "alpaca_demo", "oasst")  # of the studies of evidence
EVAL_PROMPTS = 80  # of each
UNGATED = Path("studies/starter-rule/results/rules/all-log.json")  # the rule that ships with a gate
T0_HELD_BACK = 10  # the starter LM never saw every tenth T0 template (training/common.py)


def build(shared: Path, folder: Path) -> None:
    """Write what the rule study needs under `folder`, over what is there: the same again."""
    evals, target = self_instruct(shared)
    for name in (*SOURCES, *UNSEEN):
        rows = sorted(set(source(name, shared)), key=order)
        kind = "unseen" if name in UNSEEN else "pool"
        write(folder / kind / f"{name}.jsonl", rows[:MOST])
        if name in SOURCES:
            write(folder / f"faulty/{name}.jsonl", rows[:MOST])
    write(folder / "faulty/broken.jsonl", broken(folder / "pool"))
    for name, rows in evals.items():
        write(folder / f"{name}.jsonl", rows)
    write(folder / "target.jsonl", target)
    write(folder / "mtbench.jsonl", mt_bench(shared))


def build_evidence(shared: Path, folder: Path) -> None:
    """Write what the studies of evidence need under `folder`: pools, eval sets, a target.

    They have all of it in common, so that none trains what another has trained.
    """
    build(shared, folder / "rule-study")
    own, target = self_instruct(shared)
    sets = {
        "self_instruct": own["report"],
        "mt_bench": mt_bench(shared),
        "alpaca_demo": alpaca_demo(shared, EVAL_PROMPTS),
        "oasst": oasst(shared, EVAL_PROMPTS),
    }
    for name in EVALS:
        write(folder / f"{name}.jsonl", sets[name])
    write(folder / "target.jsonl", target)
    write(folder / "alpaca/alpaca.jsonl", sorted(set(source("alpaca", shared)), key=order))


def pool(name: str, folder: Path) -> list[Path]:
    """Return the files of the pool `mixture` or `alpaca` under a built folder."""
    return sorted((folder / ("alpaca" if name == "alpaca" else "rule-study/pool")).glob("*.jsonl"))


def source(name: str, shared: Path) -> Iterator[Pair]:
    """Yield the rows of a source that every indicator can score."""
    return _clean(READERS[name](shared / "data/train"))


def order(pair: Pair) -> str:
    """Return where a row stands: in an order that depends on nothing but itself."""
    return _hash("\n".join(pair))


def broken(pool: Path) -> list[Pair]:
    """Return rows of a pool with a fault each, by their hash: what a pool in the wild holds too."""
    pairs = [
        (row["prompt"], row["response"])
        for path in sorted(pool.glob("*.jsonl"))
        for row in _jsonl(path)
    ]
    chosen = sorted(pairs, key=lambda pair: _hash("broken" + order(pair)))[:MOST]
    others = chosen[1:] + chosen[:1]
    faults: list[Callable[[Pair, Pair], str]] = [
        lambda own, other: other[1],  # the answer to another prompt
        lambda own, other: own[1][: max(1, len(own[1]) // 4)],  # cut off
        lambda own, other: " ".join([own[1][:60]] * 12),  # going round
        lambda own, other: " ".join(sorted(own[1].split(), key=_hash)),  # words in no order
        lambda own, other: own[0],  # the prompt again
    ]
    made = [
        (own[0], faults[number % len(faults)](own, other))
        for number, (own, other) in enumerate(zip(chosen, others, strict=True))
    ]
    return list(_clean(made))


def alpaca_demo(shared: Path, count: int) -> list[Pair]:
    """Return some of Alpaca's prompts with stronger, longer answers: drop them from the pool."""
    rows = json.loads((shared / "data/train/alpaca_en_demo_1k.json").read_text(encoding="utf-8"))
    pairs = [(_joined(row["instruction"], row.get("input") or ""), row["output"]) for row in rows]
    return sorted(_clean(pairs), key=lambda pair: _hash(pair[0]))[:count]


def oasst(shared: Path, count: int) -> list[Pair]:
    """Return English first prompts of OpenAssistant's validation part with people's answers."""
    pairs = []
    for row in _jsonl(shared / "data/eval/oasst1_validation_prompts.jsonl"):
        asked = row["input"].removeprefix("### Human:").removesuffix("### Assistant:").strip()
        if row["lang"] == "en" and "### " not in asked:  # first turns only
            pairs.append((asked, row["output"].removesuffix("### Human:").strip()))
    return sorted(set(_clean(pairs)), key=lambda pair: _hash(pair[0]))[:count]


def self_instruct(shared: Path) -> tuple[dict[str, list[Pair]], list[Pair]]:
    """Split the 252 user-oriented tasks: 80 to fit on, 80 to report on, the rest as target."""
    rows = _jsonl(shared / "data/eval/self_instruct_user_oriented_252.jsonl")
    pairs = [
        (_joined(row["instruction"], case["input"]), case["output"])
        for row in rows
        for case in row["instances"][:1]
    ]
    pairs.sort(key=lambda pair: _hash(pair[0]))
    return {"fit": pairs[:80], "report": pairs[80:160]}, pairs[160:]


def mt_bench(shared: Path) -> list[Pair]:
    """Return MT-Bench's first questions with GPT-4o's answers: another kind of evaluation."""
    answers = {
        row["question_id"]: row["choices"][0]["turns"][0]
        for row in _jsonl(shared / "data/judgments/mt_bench_answers/gpt-4o.jsonl")
    }
    questions = _jsonl(shared / "data/eval/mt_bench_question.jsonl")
    return [(row["turns"][0], answers[row["question_id"]]) for row in questions]


def _alpaca_file(name: str) -> Reader:
    def read(train: Path) -> Iterator[Pair]:
        for row in json.loads((train / name).read_text(encoding="utf-8")):
            yield _joined(row["instruction"], row.get("input") or ""), row["output"]

    return read


def _lima(source: str) -> Reader:
    def read(train: Path) -> Iterator[Pair]:
        for row in _jsonl(train / "lima_with_inferred_source.jsonl"):
            if row["source"] == source:
                yield _joined(row["instruction"], row["input"]), row["output"]

    return read


def _t0(train: Path) -> Iterator[Pair]:
    with gzip.open(train / "t0_templates.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            name = row["template"].encode()
            if int.from_bytes(hashlib.sha256(name).digest()[:8], "big") % T0_HELD_BACK == 0:
                yield row["prompt"], row["completion"].removesuffix("<|endoftext|>")


READERS: dict[str, Reader] = {
    "alpaca": _alpaca_file("alpaca_data.json"),
    "dolly": _alpaca_file("dolly_3k_alpagasus_selected.json"),
    "lima_stackexchange": _lima("stackexchange"),
    "lima_wikihow": _lima("wikihow"),
    "t0": _t0,
    "gsm8k": _alpaca_file("gsm8k_train_alpaca_format.json"),
    "roleplay": _alpaca_file("gpteacher_roleplay.json"),
    "codealpaca": _alpaca_file("code_alpaca_2k.json"),
    "toolformer": _alpaca_file("gpteacher_toolformer.json"),
    "rasbt": _alpaca_file("rasbt_instruction_data_1100.json"),
}


def _clean(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """Leave out what some indicator cannot score: every design must draw from the same rows."""
    for prompt, response in pairs:
        if prompt.strip() and any(c.isalpha() for c in response):
            yield prompt.strip(), response.strip()


def _joined(instruction: str, given: str) -> str:
    return f"{instruction}\n{given}".strip()


def _jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write(path: Path, pairs: Iterable[Pair]) -> None:
    """Write pairs as JSONL; a file that holds them already stays, for another study may read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = ({"prompt": prompt, "response": response} for prompt, response in pairs)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if not (path.exists() and path.read_text(encoding="utf-8") == text):
        path.write_text(text, encoding="utf-8")
