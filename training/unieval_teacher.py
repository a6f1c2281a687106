"""How well a response follows from the turns before it, as a sentence encoder sees it.

all-MiniLM-L6-v2 learnt, among much else, which comment answers which. Its cosines between a
response and the turn before it, calibrated on the bank's real turns against turns of other
dialogues, give the soft targets of the coherence question.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import common
import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from unieval_generator import Sample, samples
from unieval_turns import USED, Turn, bank

CHUNK = 4096


def texts_of(turns: Sequence[Turn], sampled: Sequence[Sample]) -> list[str]:
    """Every text that is compared, once: the last turn, the real and the sampled response.

    Only the first turns have sampled responses; those without come last.
    """
    said = [
        (turn.history[-1], turn.response, sample.response)
        for turn, sample in zip(turns, sampled, strict=False)
    ]
    rest = ((turn.history[-1], turn.response) for turn in turns[len(sampled) :])
    return [*dict.fromkeys(text for texts in (*said, *rest) for text in texts)]


def encode(texts: Sequence[str], teacher: Path, folder: Path) -> np.ndarray:
    """Unit vectors of the texts; finished chunks are kept in `folder`."""
    from sentence_transformers import SentenceTransformer

    folder.mkdir(parents=True, exist_ok=True)
    model = SentenceTransformer(str(teacher), device="cpu").float()
    model.max_seq_length = 48
    out, began = [], time.time()
    for at in range(0, len(texts), CHUNK):
        path = folder / f"{at}.npy"
        if not path.exists():
            with torch.autocast("cpu", dtype=torch.bfloat16):
                made = model.encode(
                    list(texts[at : at + CHUNK]),
                    batch_size=64,
                    normalize_embeddings=True,
                    show_progress_bar=False,
                    convert_to_tensor=True,
                )
            np.save(path, made.float().numpy().astype(np.float16))
            print(f"{at}/{len(texts)} {time.time() - began:.0f} s", flush=True)
        out.append(np.load(path).astype(np.float32))
    return np.concatenate(out)


@dataclass
class Teacher:
    """Probability that a response belongs to a history rather than to another dialogue."""

    vectors: np.ndarray
    places: dict[str, int]
    slope: float = 0.0
    bias: float = 0.0

    def cosines(self, turn: Turn, responses: Sequence[str]) -> np.ndarray:
        """(n,): cosine of each response with the turn before it."""
        said = self.vectors[[self.places[text] for text in responses]]
        return said @ self.vectors[self.places[turn.history[-1]]]

    def belongs(self, turn: Turn, responses: Sequence[str]) -> np.ndarray:
        """(n,): the probability of each response."""
        return 1 / (1 + np.exp(-self.slope * self.cosines(turn, responses) - self.bias))


def fit(turns: Sequence[Turn], sampled: Sequence[Sample], folder: Path, seed: int) -> Teacher:
    """The teacher, calibrated on real responses against those of other turns."""
    places = {text: at for at, text in enumerate(texts_of(turns, sampled))}
    chunks = [np.load(folder / f"{at}.npy") for at in range(0, len(places), CHUNK)]
    teacher = Teacher(np.concatenate(chunks).astype(np.float32), places)
    rng = np.random.default_rng(seed)
    rows = [turn for turn in turns if not turn.held]
    found = [
        teacher.cosines(turn, [turn.response, rows[rng.integers(len(rows))].response])
        for turn in rows
    ]
    classes = np.tile([1, 0], len(found))
    model = LogisticRegression(C=10.0).fit(np.concatenate(found)[:, None], classes)
    teacher.slope, teacher.bias = float(model.coef_[0, 0]), float(model.intercept_[0])
    return teacher


def main() -> None:
    """Compute the vectors that are not there yet, and show the calibration."""
    parser = common.base_parser(__doc__)
    parser.add_argument(
        "--teacher", type=Path, default=Path("../shared/models/all-MiniLM-L6-v2"), help="encoder"
    )
    args = parser.parse_args()
    common.set_up(args.seed, args.threads)
    folder = args.scratch / "unieval"
    turns = bank(args.data, args.seed, folder)
    sampled = samples(folder, USED)
    encode(texts_of(turns, sampled), args.teacher, folder / "vectors")
    teacher = fit(turns, sampled, folder / "vectors", args.seed)
    print("calibrated", teacher.slope, teacher.bias)


if __name__ == "__main__":
    main()
