"""The rounds of IterSelectTune (arXiv 2410.13464): draw, score, label, learn, until it is enough.

    FOLDER/holdout.json             labels of the fixed random rows that nothing is trained on
    FOLDER/round-000/round.json     the batch, its scores and labels, what came of it
    FOLDER/round-000/classifier/    the classifier that has learned all labels so far

A round is published as one folder when it is complete. What is there is read, not made again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from instructmine.contracts import Context, IdArray
from instructmine.errors import EvidenceError, UsageError
from instructmine.files import publish_folder, write_text
from instructmine.iterselect import (
    best,
    combined,
    coverage,
    diverse_draw,
    label_quality,
    similarity,
)
from instructmine.kmeans import kmeans
from instructmine.modelref import ModelRef

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
HARD, EASY = "hard", "easy"
Label = Callable[[IntArray], Sequence[str]]  # rows → "hard", "easy", or why there is no label
Texts = Callable[[IntArray], Sequence[str]]  # rows → what the classifier reads
Take = Literal["score", "random"]
_CHUNK = 8192  # rows whose texts are held at once


@dataclass(frozen=True)
class Settings:
    """How the rounds go. The paper gives the form; the numbers are ours where it is silent.

    alpha: weight of the classifier in Q, the rest is the similarity's. clusters: of K-means.
    draw: share of the pool that the diverse subset V holds. batch: share of the pool labelled in
    a round. rounds: at least so many, most_rounds at most; between them it ends when the accuracy
    on a fresh batch reaches `stop_accuracy`. nearest: similarity is the mean cosine to so many
    nearest hard rows, 1 the maximum. holdout: random rows that are labelled and never learned.
    diverse: draw V from clusters, else at random. take: batches by score, or at random.
    epochs: of the classifier. balanced: both labels weigh alike in its training.
    """

    alpha: float = 0.9
    clusters: int = 100
    draw: float = 0.15
    batch: float = 0.015
    rounds: int = 3
    most_rounds: int = 10
    stop_accuracy: float = 0.95
    nearest: int = 1
    holdout: int = 100
    diverse: bool = True
    take: Take = "score"
    epochs: int = 4
    balanced: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no share and what gives no round."""
        for name in ("draw", "batch"):
            if not 0 < getattr(self, name) <= 1:
                raise UsageError(f"{name} is a share of the pool, above 0 and at most 1")
        if not 0 <= self.alpha <= 1:
            raise UsageError(f"--alpha must be from 0 to 1, not {self.alpha}")
        for name in ("clusters", "rounds", "nearest", "epochs"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if self.most_rounds < self.rounds:
            raise UsageError("--most-rounds must not be below --rounds")
        if self.holdout < 0:
            raise UsageError("--holdout must be 0 or more")


@dataclass(frozen=True)
class Round:
    """A batch with its scores and labels. m, r, q: NaN where there was no classifier yet.

    facts: rows, hard, unlabelled, accuracy on the batch before it was learned, quality on the
    hold-out after, coverage of the hard set.
    """

    number: int
    rows: IntArray
    m: FloatArray
    r: FloatArray
    q: FloatArray
    labels: tuple[str, ...]
    facts: dict[str, Any] = field(default_factory=dict)

    def labelled(self, label: str) -> IntArray:
        """Return the rows that got a label."""
        return self.rows[[one == label for one in self.labels]]


@dataclass
class Rounds:
    """Everything that the rounds need, and those that are complete.

    ids: (n,) of the candidates, sorted, so that row order decides nothing. vectors: (n, d).
    texts: what the classifier reads of rows. label: asks model and judge about rows.
    base: encoder that every round's classifier begins from.
    """

    settings: Settings
    ids: IdArray
    vectors: npt.NDArray[np.float32]
    texts: Texts
    label: Label
    base: ModelRef
    folder: Path
    seed: int
    context: Context
    report: Callable[[str, int, int], None] = lambda what, done, total: None
    done: list[Round] = field(default_factory=list)
    held_labels: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Draw the hold-out, and the clusters that coverage is counted in."""
        count = len(self.ids)
        order = np.argsort([_hash(one, self.seed) for one in self.ids.tolist()], kind="stable")
        held = min(self.settings.holdout, count // 4)
        self.held = np.sort(order[:held]).astype(np.int64)
        self.batch = max(1, round(self.settings.batch * count))
        clusters = min(self.settings.clusters, count)
        self.topics = kmeans(np.ascontiguousarray(self.vectors), clusters, self.seed)

    def run(self) -> list[Round]:
        """Run the rounds that are missing; returns all of them.

        Raises EvidenceError where the labels teach nothing: all of them are the same, or none
        could be had.
        """
        self.held_labels = held = self._holdout()
        most = self.settings.most_rounds
        while not self._enough():
            number = len(self.done)
            self.report("rounds", number, most)
            found = self._stored(number) or self._new(number, held)
            self.done.append(found)
        self.report("rounds", len(self.done), len(self.done))
        return self.done

    @property
    def hard(self) -> IntArray:
        """Rows that the judge called hard, in the order they were found."""
        return np.concatenate([one.labelled(HARD) for one in self.done] or [self.held[:0]])

    @property
    def free(self) -> IntArray:
        """Rows that were not looked at and are not held out."""
        taken = np.zeros(len(self.ids), dtype=bool)
        taken[self.held] = True
        for one in self.done:
            taken[one.rows] = True
        return np.flatnonzero(~taken)

    def classifier(self) -> ModelRef:
        """Return the last round's classifier."""
        return ModelRef(str(self._place(len(self.done) - 1) / "classifier"))

    def probability(self, rows: IntArray) -> FloatArray:
        """Return M of rows by the last classifier."""
        from instructmine.models.classifier import Classifier

        model = Classifier.load(self.classifier(), context=self.context)
        parts = [
            model.probabilities(self.texts(rows[start : start + _CHUNK]))[0]
            for start in range(0, len(rows), _CHUNK)
        ]
        return np.concatenate([np.empty(0), *parts])

    def near(self, rows: IntArray, hard: IntArray, m: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return R and Q of rows, given a hard set and their M."""
        r = similarity(self.vectors, rows, hard, nearest=self.settings.nearest)
        return r, combined(np.nan_to_num(m), r, self.settings.alpha)

    def diverse(self, rows: IntArray, number: int, count: int | None = None) -> IntArray:
        """Return the subset V of some rows."""
        wanted = count or max(self.batch, round(self.settings.draw * len(self.ids)))
        seed = self.seed + number
        if not self.settings.diverse:
            keys = [_hash(one, seed) for one in self.ids[rows].tolist()]
            return np.sort(rows[np.argsort(keys, kind="stable")[:wanted]])
        return diverse_draw(
            self.vectors, rows, count=wanted, clusters=self.settings.clusters, seed=seed
        )

    def _enough(self) -> bool:
        if len(self.done) >= self.settings.most_rounds or not len(self.free):
            return bool(self.done)
        if len(self.done) < self.settings.rounds:
            return False
        accuracy = self.done[-1].facts["accuracy"]
        return accuracy is not None and accuracy >= self.settings.stop_accuracy

    def _new(self, number: int, held: Sequence[str]) -> Round:
        """Draw a batch, have it labelled, learn from all labels, and publish the round."""
        subset = self.diverse(self.free, number)
        nothing = np.full(len(subset), np.nan)
        m = r = q = nothing
        if number:
            m = self.probability(subset)
            r, q = self.near(subset, self.hard, m)
        score = q if number and self.settings.take == "score" else _draw(self.ids[subset], number)
        rows = best(subset, score, self.ids, self.batch)
        at = np.searchsorted(subset, rows)
        labels = tuple(self.label(rows))
        found = Round(number, rows, m[at], r[at], q[at], labels)
        everything = [*self.done, found]
        known = [
            (row, one == HARD)
            for each in everything
            for row, one in zip(each.rows.tolist(), each.labels, strict=True)
            if one in (HARD, EASY)
        ]
        self._refuse_useless(known, found)
        with publish_folder(self._place(number)) as beside:
            self._learn(sorted(known), beside / "classifier")
            facts = self._facts(found, held, beside / "classifier")
            found = dataclasses.replace(found, facts=facts)
            write_text(beside / "round.json", json.dumps(self._to_json(found), indent=1) + "\n")
        return found

    def _refuse_useless(self, known: Sequence[tuple[int, bool]], found: Round) -> None:
        if not known:
            why = next((one for one in found.labels if one not in (HARD, EASY)), "no rows")
            raise EvidenceError(
                f"no row of the first batch could be labelled ({why}); choose another judge or "
                "base model"
            )
        if len({one for _, one in known}) == 1 and found.number + 1 >= self.settings.rounds:
            one = HARD if known[0][1] else EASY
            raise EvidenceError(
                f"all {len(known)} labels are '{one}': there is nothing to learn; choose another "
                "base model or judge, or how ties count"
            )

    def _learn(self, known: Sequence[tuple[int, bool]], folder: Path) -> None:
        from instructmine.models.classifier import Training, train_classifier

        rows = np.array([row for row, _ in known], dtype=np.int64)
        train_classifier(
            self.base,
            self.texts(rows),
            [hard for _, hard in known],
            Training(epochs=self.settings.epochs, balanced=self.settings.balanced),
            seed=self.seed,
            folder=folder,
            context=self.context,
        )

    def _facts(self, found: Round, held: Sequence[str], folder: Path) -> dict[str, Any]:
        from instructmine.models.classifier import Classifier

        labels = np.array(found.labels)
        known = np.isin(labels, (HARD, EASY)) & np.isfinite(found.m)
        truth = labels[known] == HARD
        own = np.isin(held, (HARD, EASY))
        quality = None
        if own.any():
            model = Classifier.load(ModelRef(str(folder)), context=self.context)
            m, _, _ = model.probabilities(self.texts(self.held[own]))
            quality = dataclasses.asdict(label_quality(np.array(held)[own] == HARD, m))
        hard = np.concatenate([self.hard, found.labelled(HARD)])
        return {
            "rows": len(labels),
            "hard": int((labels == HARD).sum()),
            "unlabelled": int((~np.isin(labels, (HARD, EASY))).sum()),
            "hard_so_far": len(hard),
            "accuracy": float(np.mean((found.m[known] >= 0.5) == truth)) if known.any() else None,
            "holdout": quality,
            "coverage": coverage(self.topics, hard),
        }

    def _holdout(self) -> Sequence[str]:
        """Return the labels of the hold-out, asking for them once."""
        path = self.folder / "holdout.json"
        if not path.exists():
            labels = list(self.label(self.held)) if len(self.held) else []
            ids = [one.decode() for one in self.ids[self.held].tolist()]
            write_text(path, json.dumps({"ids": ids, "labels": labels}, indent=1) + "\n")
        found: list[str] = json.loads(path.read_text(encoding="utf-8"))["labels"]
        return found

    def _place(self, number: int) -> Path:
        return self.folder / f"round-{number:03d}"

    def _stored(self, number: int) -> Round | None:
        path = self._place(number) / "round.json"
        if not path.exists():
            return None
        data = json.loads(path.read_text(encoding="utf-8"))
        rows = np.searchsorted(self.ids, np.array(data["ids"], dtype="S32"))
        m, r, q = (np.array(data[name], dtype=np.float64) for name in ("m", "r", "q"))
        return Round(number, rows.astype(np.int64), m, r, q, tuple(data["labels"]), data["facts"])

    def _to_json(self, found: Round) -> dict[str, Any]:
        scores = {
            name: [None if math.isnan(one) else one for one in getattr(found, name).tolist()]
            for name in ("m", "r", "q")
        }
        ids = [one.decode() for one in self.ids[found.rows].tolist()]
        return {"ids": ids, **scores, "labels": list(found.labels), "facts": found.facts}


def check_take(name: str) -> Take:
    """Return how batches are taken. Raises UsageError for an unknown way."""
    if name == "score":
        return "score"
    if name == "random":
        return "random"
    raise UsageError(f"batches are taken by score or random, not by '{name}'")


def _hash(one: bytes, seed: int) -> bytes:
    return hashlib.blake2b(one, digest_size=8, key=str(seed).encode()).digest()


def _draw(ids: IdArray, number: int) -> FloatArray:
    """Return a random number per row that depends on its id and the round alone."""
    values = [int.from_bytes(_hash(one, number), "big") for one in ids.tolist()]
    return np.array(values, dtype=np.float64)
