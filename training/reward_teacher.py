"""A linear reward that finds in seconds what a tiny network needs hours for, and teaches it.

Logistic regression, over pairs of answers of known order, on which word pieces the answers use and
on a few counts. It knows nothing of faults or of what was asked; as a teacher on clean answers it
gives a target for every pair of texts where the data has an order for few.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from reward_data import Messages
from reward_groups import Group
from reward_measure import mtld, overlap
from scipy import sparse
from sklearn.linear_model import LogisticRegression

SPREAD = 10.0
"""Word pieces' shares are square roots times this, so that they and counts are shrunk alike."""
COUNTED = 3.0
"""Counts have this standard deviation, so that they are shrunk less than word pieces."""
SHRINKING = 0.01
"""Inverse strength of the regularisation."""
WEIGHTS = {"hh_pref": 0.3}
"""By kind of group, 1 where it is not named: people's choices of the less harmful reply are noisy.

These four were chosen on development prompts.
"""


class Teacher:
    """A linear reward of answers.

    Args:
        groups: Answers with their levels, to be fitted on.
        tokenizer: The word pieces to count.
        rng: Draws at most `most` pairs a group.
        most: Pairs a group.
    """

    def __init__(
        self, groups: Sequence[Group], tokenizer: Any, rng: np.random.Generator, most: int = 12
    ) -> None:
        self.tokenizer = tokenizer
        self.scale = np.ones(len(counts((("user", ""),), "")))
        better, worse, weights = [], [], []
        for group in groups:
            pairs = [
                (one, two)
                for one, high in group.answers
                for two, low in group.answers
                if high >= low + 1
            ]
            for at in rng.permutation(len(pairs))[:most]:
                for side, text in zip((better, worse), pairs[at], strict=True):
                    side.append((group.turns, text))
                sizes = [len(text.split()) for text in pairs[at]]
                alike = min(sizes) >= 0.75 * max(sizes)
                weights.append((2.0 if alike else 1.0) * WEIGHTS.get(group.kind, 1.0))
        plain = (
            self.features(better)[:, : len(self.scale)] - self.features(worse)[:, : len(self.scale)]
        )
        self.scale = np.asarray(plain.todense()).std(axis=0) + 1e-9
        gap = self.features(better) - self.features(worse)
        fitted = LogisticRegression(C=SHRINKING, fit_intercept=False, max_iter=500)
        signs = np.repeat([1, 0], len(better))
        fitted.fit(sparse.vstack([gap, -gap]).tocsr(), signs, sample_weight=np.tile(weights, 2))
        self.weights = fitted.coef_[0]

    def rewards(self, items: Sequence[tuple[Messages, str]]) -> np.ndarray:
        """Rewards of answers; differences are log odds."""
        return self.features(items) @ self.weights

    def features(self, items: Sequence[tuple[Messages, str]]) -> sparse.csr_matrix:
        """(answers, counts and word pieces)."""
        plain = np.array([counts(*item) for item in items]) / self.scale
        rows, columns, values = [], [], []
        encoded = self.tokenizer([text for _, text in items], add_special_tokens=False)
        for at, ids in enumerate(encoded["input_ids"]):
            found, times = np.unique(np.asarray(ids, dtype=np.int64), return_counts=True)
            rows += [at] * len(found)
            columns += found.tolist()
            values += (SPREAD * np.sqrt(times / max(1, len(ids)))).tolist()
        shape = (len(items), len(self.tokenizer))
        pieces = sparse.csr_matrix((values, (rows, columns)), shape=shape)
        return sparse.hstack([sparse.csr_matrix(plain), pieces]).tocsr()


def counts(turns: Messages, answer: str) -> list[float]:
    """Lengths, diversity, overlap with the prompt, lines, punctuation and figures of an answer."""
    words = re.findall(r"\w+", answer.lower())
    size, shared = len(words) + 1, overlap(turns, answer)
    return [
        np.log(size),
        np.log(size) ** 2 / 10,
        np.log1p(mtld(answer)),
        shared / (len(set(words)) + 1),
        np.log1p(shared),
        10 * answer.count("\n") / (size + 4),
        np.log1p(answer.count("\n")),
        sum(map(len, words)) / size,
        10 * len(re.findall(r"[.!?]", answer)) / size,
        len(set(words)) / size,
        float(answer.rstrip()[-1:] in set('.!?`)"')),
        np.log1p(len(re.findall(r"\d", answer))),
        10 * answer.count(",") / size,
    ]
