"""Examples for the coherence of the starter dialogue evaluator: does a response belong there?

Any two responses to the same history, real or faulty. Were one of them always the good one, the
history would tell of its quality, and a small model would read that instead of the response.
"""

from __future__ import annotations

import math
import random
from pathlib import Path

from unieval_examples import UNSAID, Example, Maker, example, last_turns
from unieval_generator import samples
from unieval_teacher import fit
from unieval_turns import USED, Turn, bank

ANSWERS = {"own": 5, "other": 4, "like": 4, "spoken": 4, "damaged": 1}
"""How often a response is of a kind."""
REAL = {"own": 5, "other": 4, "like": 4}
"""The same where only real responses are shown."""
BUDGETS = (20, 50, 100, 200, 300)
"""Words of a history."""


class Related:
    """Makes examples of the whole bank's turns, either of those held out or of the others."""

    def __init__(self, data: Path, seed: int, folder: Path, development: bool) -> None:
        self.maker = Maker(data, seed, folder, development)
        self.teacher = fit(
            bank(data, seed, folder), samples(folder, USED), folder / "vectors", seed
        )
        self.far = 1 / (1 + math.exp(-self.teacher.bias))
        self.by_source: dict[str, list[Turn]] = {}
        for turn in self.maker.clean:
            self.by_source.setdefault(turn.source, []).append(turn)

    def real_pairs(self, rng: random.Random, pairs: int) -> list[Example]:
        """Pairs of real responses, with how well they belong to the history, good or not."""
        out = []
        for _ in range(pairs):
            turn = rng.choice(self.maker.clean)
            history = last_turns(turn, rng.choice(BUDGETS))
            for kind in rng.choices([*REAL], [*REAL.values()], k=2):
                said = self.real(turn, kind, rng)
                sound = (1,) * len(said.split())
                out.append(example("coherence", said, history, self.near(turn, said), kind, sound))
        return out

    def pairs(self, rng: random.Random, pairs: int) -> list[Example]:
        """Pairs of any responses, with how well they belong to the history, good or not."""
        out = []
        for _ in range(pairs):
            at = rng.randrange(len(self.maker.turns))
            history = last_turns(self.maker.turns[at], rng.choice(BUDGETS))
            for kind in rng.choices([*ANSWERS], [*ANSWERS.values()], k=2):
                said, near, name = self.answered(at, kind, rng)
                sound = (1,) * len(said.split())
                out.append(example("coherence", said, history, near, name, sound))
        return out

    def answered(self, at: int, kind: str, rng: random.Random) -> tuple[str, float, str]:
        """One response to a turn that has a sampled one, how near it is, and its kind."""
        turn, sample = self.maker.turns[at], self.maker.sampled[at]
        if kind == "damaged":
            bad = self.maker.damaged(turn.response, rng)
            near = self.far if bad.fault in UNSAID else self.near(turn, turn.response)
            return bad.response, near, bad.fault
        said = sample.response if kind == "spoken" else self.real(turn, kind, rng)
        return said, self.near(turn, said), kind

    def real(self, turn: Turn, kind: str, rng: random.Random) -> str:
        """The turn's own response, one from elsewhere, or the best fitting of several."""
        if kind == "own":
            return turn.response
        near = self.by_source[turn.source]
        if kind == "other":
            return rng.choice(self.maker.clean if rng.random() < 0.4 else near).response
        names = [rng.choice(near).response for _ in range(rng.choice((4, 12, 40)))]
        names = [name for name in names if name != turn.response] or [turn.response]
        return names[int(self.teacher.belongs(turn, names).argmax())]

    def near(self, turn: Turn, response: str) -> float:
        """Probability that a response belongs to the history, by the teacher."""
        return float(self.teacher.belongs(turn, [response])[0])
