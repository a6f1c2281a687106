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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from instructmine.contracts import Context, IdArray
from instructmine.errors import EvidenceError, StoreError, UsageError
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
Texts = Callable[[IntArray], Sequence[str]]  # rows → what the classifier reads
Take = Literal["score", "random"]
_CHUNK = 8192  # rows whose texts are held at once
_MOST_DRAWS = 100_000  # in one run; seeds of runs are so far apart


@dataclass(frozen=True)
class Labels:
    """What model and judge said of some rows.

    each: per row hard, easy, or why there is no label. empty: answers without a word, which count
    as hard. both, agreed: pairs that were judged in both orders, and those judged alike in both.
    """

    each: tuple[str, ...] = ()
    empty: int = 0
    both: int = 0
    agreed: int = 0


Label = Callable[[IntArray], Labels]  # rows → what was said of them


@dataclass(frozen=True)
class Settings:
    """How the rounds go. The paper gives the form; the numbers are ours where it is silent.

    alpha: weight of the classifier in Q, the rest is the similarity's. clusters: of K-means.
    draw: share of the candidates that the diverse subset V holds. batch: share of them labelled
    in a round. rounds: at least so many, most_rounds at most; between them it ends when the
    accuracy on a fresh batch reaches `stop_accuracy`. nearest: similarity is the mean cosine to so
    many nearest hard rows, 1 the maximum. holdout: random rows that are labelled and never learned.
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
                raise UsageError(f"{name} is a share of the candidates, above 0 and at most 1")
        if not 0 <= self.alpha <= 1:
            raise UsageError(f"--alpha must be from 0 to 1, not {self.alpha}")
        for name in ("clusters", "rounds", "nearest", "epochs"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if self.draw < self.batch:
            raise UsageError(
                f"--draw {self.draw:g} is below --batch {self.batch:g}: there would be nothing to "
                "choose from; draw more"
            )
        if not 0 <= self.stop_accuracy <= 1:
            raise UsageError(f"--stop-accuracy is a share, from 0 to 1, not {self.stop_accuracy}")
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
    labels: Labels
    facts: dict[str, Any] = field(default_factory=dict)

    def labelled(self, label: str) -> IntArray:
        """Return the rows that got a label."""
        return self.rows[[one == label for one in self.labels.each]]


class Lesson(NamedTuple):
    """A labelled row that the classifier learns from."""

    row: int
    text: str
    hard: bool


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
    held_labels: Labels = Labels()

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
        self.held_labels = self._holdout()
        most = self.settings.most_rounds
        while not self._enough():
            number = len(self.done)
            self.report("rounds", number, most)
            found = self._stored(number) or self._new(number)
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

    @property
    def labelled(self) -> IntArray:
        """Rows whose labels are on disk, from this run or an earlier one."""
        known = [self.held] if self._held_path.exists() else [self.held[:0]]
        number = 0
        while (one := self._stored(number)) is not None:
            known.append(one.rows)
            number += 1
        return np.concatenate(known)

    def classifier(self) -> ModelRef:
        """Return the last round's classifier."""
        return ModelRef(str(self._place(len(self.done) - 1) / "classifier"))

    def probability(self, rows: IntArray) -> tuple[FloatArray, int]:
        """Return M of rows by the last classifier, and of how many it did not read the end."""
        from instructmine.models.classifier import Classifier

        model = Classifier.load(self.classifier(), context=self.context)
        m, cut = [np.empty(0)], 0
        for start in range(0, len(rows), _CHUNK):
            found, _, long = model.probabilities(self.texts(rows[start : start + _CHUNK]))
            m.append(found)
            cut += len(long)
        return np.concatenate(m), cut

    def near(self, rows: IntArray, hard: IntArray, m: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return R and Q of rows, given a hard set and their M."""
        r = similarity(self.vectors, rows, hard, nearest=self.settings.nearest)
        return r, combined(np.nan_to_num(m), r, self.settings.alpha)

    def diverse(self, rows: IntArray, number: int, count: int | None = None) -> IntArray:
        """Return the subset V of some rows."""
        wanted = count or max(self.batch, round(self.settings.draw * len(self.ids)))
        seed = self._draw_seed(number)
        if not self.settings.diverse:
            keys = [_hash(one, seed) for one in self.ids[rows].tolist()]
            return np.sort(rows[np.argsort(keys, kind="stable")[:wanted]])
        return diverse_draw(
            self.vectors, rows, count=wanted, clusters=self.settings.clusters, seed=seed
        )

    def _draw_seed(self, number: int) -> int:
        """Return a seed that no round of another run with another seed draws by."""
        return self.seed * _MOST_DRAWS + number

    def _enough(self) -> bool:
        if len(self.done) >= self.settings.most_rounds or not len(self.free):
            return bool(self.done)
        if len(self.done) < self.settings.rounds:
            return False
        accuracy = self.done[-1].facts["accuracy"]
        return accuracy is not None and accuracy >= self.settings.stop_accuracy

    def _new(self, number: int) -> Round:
        """Draw a batch, have it labelled, learn from all labels, and publish the round.

        While only one label is known, a classifier has nothing to say: the batch is random.
        """
        subset = self.diverse(self.free, number)
        m = r = q = np.full(len(subset), np.nan)
        told_apart = len({one for each in self.done for one in each.labels.each} & {HARD, EASY}) > 1
        if told_apart:
            m, _ = self.probability(subset)
            r, q = self.near(subset, self.hard, m)
        scored = told_apart and self.settings.take == "score"
        value = q if scored else _draw(self.ids[subset], self._draw_seed(number))
        rows = best(subset, value, self.ids, self.batch)
        at = np.searchsorted(subset, rows)
        found = Round(number, rows, m[at], r[at], q[at], self.label(rows))
        known = self._lessons(found)
        self._refuse_useless(known, found)
        with publish_folder(self._place(number)) as beside:
            self._learn(known, beside / "classifier")
            facts = self._facts(found, beside / "classifier")
            found = dataclasses.replace(found, facts=facts)
            write_text(beside / "round.json", json.dumps(self._to_json(found), indent=1) + "\n")
        return found

    def _lessons(self, found: Round) -> list[Lesson]:
        """Return all labelled rows, in order, but those whose prompt is held out too."""
        rounds = (*self.done, found)
        rows = np.concatenate([one.rows for one in rounds])
        texts = self.texts(np.concatenate([self.held, rows]))  # one pass over the pool
        held = set(texts[: len(self.held)])
        labels = [label for one in rounds for label in one.labels.each]
        each = zip(rows.tolist(), texts[len(self.held) :], labels, strict=True)
        known = (Lesson(row, text, label == HARD) for row, text, label in each
                 if label in (HARD, EASY) and text not in held)  # fmt: skip
        return sorted(known, key=lambda one: one.row)

    def _refuse_useless(self, known: Sequence[Lesson], found: Round) -> None:
        if not known:
            every = "their prompts are held out too"
            why = next((one for one in found.labels.each if one not in (HARD, EASY)), every)
            raise EvidenceError(
                f"no row of the first batch can be learned from ({why}); choose another judge or "
                "base model, or a smaller --holdout"
            )
        last = found.number + 1 >= self.settings.rounds or len(found.rows) == len(self.free)
        if len({one.hard for one in known}) == 1 and last:
            one = HARD if known[0].hard else EASY
            empty = sum(each.labels.empty for each in (*self.done, found))
            because = f" ({empty} answers of the base model are empty)" if empty else ""
            raise EvidenceError(
                f"all {len(known)} labels are '{one}'{because}: there is nothing to learn; choose "
                "another base model or judge, or how ties count"
            )

    def _learn(self, known: Sequence[Lesson], folder: Path) -> None:
        from instructmine.models.classifier import Training, train_classifier

        train_classifier(
            self.base,
            [one.text for one in known],
            [one.hard for one in known],
            Training(epochs=self.settings.epochs, balanced=self.settings.balanced),
            seed=self.seed,
            folder=folder,
            context=self.context,
        )

    def _facts(self, found: Round, folder: Path) -> dict[str, Any]:
        from instructmine.models.classifier import Classifier

        labels = np.array(found.labels.each)
        known = np.isin(labels, (HARD, EASY)) & np.isfinite(found.m)
        truth = labels[known] == HARD
        held = np.array(self.held_labels.each)
        own = np.isin(held, (HARD, EASY))
        quality = None
        if own.any():
            model = Classifier.load(ModelRef(str(folder)), context=self.context)
            m, _, _ = model.probabilities(self.texts(self.held[own]))
            quality = dataclasses.asdict(label_quality(held[own] == HARD, m))
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

    def _holdout(self) -> Labels:
        """Return the labels of the hold-out, asking for them once."""
        path = self._held_path
        if not path.exists():
            labels = self.label(self.held) if len(self.held) else Labels()
            ids = [one.decode() for one in self.ids[self.held].tolist()]
            data = {"ids": ids, "labels": dataclasses.asdict(labels)}
            write_text(path, json.dumps(data, indent=1) + "\n")
        with _readable(path):
            return _labels(json.loads(path.read_text(encoding="utf-8"))["labels"])

    @property
    def _held_path(self) -> Path:
        return self.folder / "holdout.json"

    def _place(self, number: int) -> Path:
        return self.folder / f"round-{number:03d}"

    def _stored(self, number: int) -> Round | None:
        path = self._place(number) / "round.json"
        if not path.exists():
            return None
        with _readable(path):
            data = json.loads(path.read_text(encoding="utf-8"))
            rows = np.searchsorted(self.ids, np.array(data["ids"], dtype="S32"))
            m, r, q = (np.array(data[name], dtype=np.float64) for name in ("m", "r", "q"))
            labels = _labels(data["labels"])
            return Round(number, rows.astype(np.int64), m, r, q, labels, data["facts"])

    def _to_json(self, found: Round) -> dict[str, Any]:
        scores = {
            name: [None if math.isnan(one) else one for one in getattr(found, name).tolist()]
            for name in ("m", "r", "q")
        }
        ids = [one.decode() for one in self.ids[found.rows].tolist()]
        labels = dataclasses.asdict(found.labels)
        return {"ids": ids, **scores, "labels": labels, "facts": found.facts}


def check_take(name: str) -> Take:
    """Return how batches are taken. Raises UsageError for an unknown way."""
    if name == "score":
        return "score"
    if name == "random":
        return "random"
    raise UsageError(f"batches are taken by score or random, not by '{name}'")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path} is damaged ({type(error).__name__}); delete {path.parent} and run again: "
            "answers and verdicts are kept elsewhere"
        ) from error


def _labels(data: dict[str, Any]) -> Labels:
    return Labels(**{**data, "each": tuple(data["each"])})


def _hash(one: bytes, seed: int) -> bytes:
    return hashlib.blake2b(one, digest_size=8, key=str(seed).encode()).digest()


def _draw(ids: IdArray, seed: int) -> FloatArray:
    """Return a random number per row that depends on its id and the seed alone."""
    values = [int.from_bytes(_hash(one, seed), "big") for one in ids.tolist()]
    return np.array(values, dtype=np.float64)
