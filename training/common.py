"""What the training scripts of the starter models share.

Reading the data files, seeds, the learning-rate schedule, resumable checkpoints, saving half
precision folders, and writing model cards. The scripts are run from the repository root, for
instance `python training/train_lm.py --data ../shared/data`.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

ASSETS = Path("src/instructmine/assets/starter")
SCRATCH = Path(".scratch/training")
T0_FILE = "train/t0_templates.jsonl.gz"
T0_END = "<|endoftext|>"
T0_NOT_FREE = ("ag_news", "dream", "quail", "samsum", "sciq")
"""Collections within T0 whose own terms forbid commercial use: measured on, never trained on."""


def base_parser(purpose: str | None) -> argparse.ArgumentParser:
    """The options that every training script takes."""
    parser = argparse.ArgumentParser(description=(purpose or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="data folder")
    parser.add_argument("--scratch", type=Path, default=SCRATCH, help="checkpoints, resumable")
    parser.add_argument("--seed", type=int, default=20, help="the only source of randomness")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    return parser


def set_up(seed: int, threads: int) -> None:
    """Seed every generator and fix the number of torch threads."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries that use the global generator
    torch.manual_seed(seed)
    torch.set_num_threads(threads)


# --------------------------------------------------------------------------------- data


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read a JSON array, JSONL or gzipped JSONL file. JSONL is split on newline only."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    text = raw.decode("utf-8")
    if ".jsonl" in path.name:
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    return json.loads(text)


def stable_hash(text: str) -> int:
    """A hash of the text that is the same in every process and on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big")


def word_grams(text: str, size: int = 8) -> set[int]:
    """Hashes of the text's word n-grams (lower-cased), to find passages that two texts share.

    A text of fewer words has none. Hashes hold within one process only.
    """
    words = re.findall(r"\w+", text.lower())
    return {hash(tuple(words[i : i + size])) for i in range(len(words) - size + 1)}


@dataclass(frozen=True)
class T0Split:
    """T0 rows to train on, rows to measure on, and the templates that were held back whole.

    No measured row shares an 8-word passage, or its template, with any row trained on.
    """

    train: list[dict[str, Any]]
    held_out: list[dict[str, Any]]
    held_templates: list[str]
    passages_dropped: int


def t0_split(data: Path, rows_per_template: int = 12) -> T0Split:
    """Hold back every tenth T0 template by hash, and free some of its rows of shared passages.

    T0's templates of one task wrap the same passages, so a held-back row is honest only if no
    training row holds its passage. From each held-back template the `rows_per_template` rows
    with the smallest hash are measured on; training rows sharing an 8-gram with one are dropped.
    N-grams in a tenth of a template's rows are the template's own wording, not a passage.
    """
    rows = t0_rows(data)
    templates = sorted({row["template"] for row in rows})
    held = [name for name in templates if stable_hash(name) % 10 == 0]
    measured: list[dict[str, Any]] = []
    blocked: set[int] = set()
    for name in held:
        of_template = [row for row in rows if row["template"] == name]
        counts = Counter(gram for row in of_template for gram in word_grams(t0_text(row)))
        of_template.sort(key=lambda row: stable_hash(t0_text(row)))
        chosen = of_template[:rows_per_template]
        measured += chosen
        for row in chosen:
            grams = word_grams(t0_text(row))
            blocked |= {gram for gram in grams if counts[gram] <= len(of_template) / 10}
    not_trained = set(held)
    candidates = [r for r in rows if r["template"] not in not_trained and t0_is_free(r)]
    train = [row for row in candidates if blocked.isdisjoint(word_grams(t0_text(row)))]
    return T0Split(train, measured, held, len(candidates) - len(train))


def t0_rows(data: Path) -> list[dict[str, Any]]:
    """Every T0 row (`prompt`, `completion`, `template`), the end mark taken off."""
    rows = read_rows(data / T0_FILE)
    for row in rows:
        row["completion"] = row["completion"].removesuffix(T0_END)
    return rows


def t0_is_free(row: Mapping[str, Any]) -> bool:
    """Whether the row's collection may be trained on for weights that are given away."""
    return not row["template"].startswith(T0_NOT_FREE)


def t0_text(row: Mapping[str, Any]) -> str:
    """A T0 row as running text: prompt, then completion."""
    return f"{row['prompt'].strip()}\n{row['completion'].strip()}"


def cap_passages(rows: Sequence[dict[str, Any]], cap: int, seed: int) -> list[dict[str, Any]]:
    """Keep rows until their passages were taken `cap` times, so that none dominates.

    A row is kept while at least half of its 8-grams were seen in fewer than `cap` kept rows.
    Rows without an 8-gram are kept. The order of the result is random (by seed).
    """
    order = np.random.default_rng(seed).permutation(len(rows))
    taken: Counter[int] = Counter()
    kept = []
    for index in order:
        grams = word_grams(t0_text(rows[index]))
        if sum(taken[gram] < cap for gram in grams) >= len(grams) / 2:
            kept.append(rows[index])
            taken.update(grams)
    return kept


# ---------------------------------------------------------------------- optimisation


def cosine_lr(step: int, steps: int, warmup: int, floor: float = 0.0) -> float:
    """Factor of the peak learning rate: linear warm-up, then a cosine down to `floor`."""
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return floor + (1 - floor) * 0.5 * (1 + float(np.cos(np.pi * progress)))


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint beside its place, then move it there: what exists is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".writing")
    torch.save(dict(state), beside)
    os.replace(beside, path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint (tensors and plain values only), or None if there is none yet."""
    return torch.load(path, weights_only=True) if path.exists() else None


# ---------------------------------------------------------------- saving and model cards


def save_half(model: torch.nn.Module, folder: Path) -> None:
    """Save a Hugging Face model as float16 safetensors; the model in memory stays as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = {value.data_ptr(): name for name, value in reversed(model.state_dict().items())}
    state = {
        name: value.detach().to(torch.float16)
        for name, value in model.state_dict().items()
        if whole[value.data_ptr()] == name  # tied weights are written once
    }
    model.save_pretrained(folder, state_dict=state)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = "float16"
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "model.safetensors").chmod(0o644)


def folder_megabytes(folder: Path) -> float:
    """Size of a folder's files in MB (10^6 bytes)."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6


@dataclass(frozen=True)
class Source:
    """A data file that weights were trained on: what, where it is published, its licence."""

    name: str
    published: str
    licence: str
    rows: int


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; floats are shown with three decimals."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for row in rows:
        cells = [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


T0_SOURCE = Source(
    "T0 templates without AG News, DREAM, QuAIL, SAMSum and SciQ",
    "https://github.com/yizhongw/self-instruct/tree/main/data/finetuning/t0_train_50k",
    "Apache-2.0",
    0,
)


def write_card(
    folder: Path,
    *,
    title: str,
    purpose: str,
    facts: Mapping[str, object],
    sources: Sequence[Source],
    sections: Mapping[str, str],
    tags: Sequence[str] = (),
) -> None:
    """Write a model card (`README.md`) that states only what was measured or done.

    Args:
        folder: The saved model's folder.
        title: First heading.
        purpose: What the model is for, and what it is not for.
        facts: Seed, steps, tokens and the like, shown as a table.
        sources: Every data file trained on, with its licence.
        sections: Further headings and their Markdown, in order (measured quality, misses, ...).
        tags: Hub tags.
    """
    front = ["---", "license: apache-2.0", "language: en", "tags:"]
    front += [f"- {tag}" for tag in ("instructmine", *tags)] + ["---"]
    source_rows = [(s.name, s.rows, s.licence, s.published) for s in sources]
    parts = [
        "\n".join(front),
        f"# {title}",
        purpose,
        "## How it was made",
        table(("what", "value"), facts.items()),
        "## Trained on",
        table(("data", "rows used", "licence", "published at"), source_rows),
    ]
    for heading, body in sections.items():
        parts += [f"## {heading}", body]
    (folder / "README.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
