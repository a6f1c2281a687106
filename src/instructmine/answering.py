"""Gets a model's answers and keeps every one: by prompt and recipe, streamed, resumable.

Whatever needs answers goes through here: an answer that was generated or paid for once is there
for the next command, and a stopped run goes on where it ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from instructmine.contracts import Answerer, Answering, Context, Progress
from instructmine.identity import digest
from instructmine.journal import Journal
from instructmine.ledger import Ledger
from instructmine.pool import Message, Turn
from instructmine.recipes import Recipe
from instructmine.spending import Meter
from instructmine.verdicts import UNANSWERED, Answer, Prompt

FOLDER = "answers"

History = tuple[Message, ...]


@dataclass
class Answers:
    """One answerer at work, with its journal. The model is loaded when an answer is missing.

    meter: counts what the answers asked for here took, also those paid for in earlier runs.
    """

    answerer: Answerer
    workdir: Path
    context: Context = field(default_factory=Context)
    meter: Meter = field(default_factory=Meter)
    progress: Progress | None = None
    name: str = "answers"

    def __post_init__(self) -> None:
        """Open the journal."""
        recipe = Recipe.of(type(self.answerer).__name__.lower(), self.answerer.identity())
        self.journal = Journal(self.workdir, FOLDER, recipe)
        self._opened: Answering | None = None
        self._ledger = Ledger(self.journal)

    def stream(self, histories: Iterable[History]) -> Iterator[tuple[int, Answer]]:
        """Yield (position, answer), chunk by chunk; each is kept before it is yielded."""
        keyed = ((history_key(one), one) for one in histories)
        failed: dict[str, Answer] = {}

        def work(some: Sequence[History]) -> Iterator[tuple[int, dict[str, object]]]:
            if self._opened is None:
                self._opened = self.answerer.open(self.context, self.meter)
            for index, answer in self._opened.answer(some):
                key = history_key(some[index])
                if answer.problem.startswith(UNANSWERED):
                    failed[key] = answer
                    self._ledger.lost(key, answer.usage)
                else:
                    self._ledger.paid(key)
                    yield index, answer.to_json()

        keys: dict[int, str] = {}

        def noted() -> Iterator[tuple[str, History]]:
            for position, (key, history) in enumerate(keyed):
                keys[position] = key
                yield key, history

        for position, record in self.journal.resume(noted(), work):
            key = keys.pop(position)
            if record is not None:
                yield position, Answer.from_json(record)
            else:
                yield position, failed.get(key, Answer("", problem=f"{UNANSWERED}: a limit"))

    def all(self, histories: Sequence[History]) -> list[Answer]:
        """Return one answer per history, in order."""
        self.recall(histories)
        found = [Answer("", problem=UNANSWERED)] * len(histories)
        for done, (position, answer) in enumerate(self.stream(histories), start=1):
            found[position] = answer
            if self.progress is not None:
                self.progress(self.name, done, len(histories))
        return found

    def recall(self, histories: Sequence[History]) -> None:
        """Count what known answers took, each once, before anything is asked."""
        self._ledger.recall(map(history_key, histories), self.meter)

    def known(self, history: History) -> Answer | None:
        """Return the answer that is kept, or None; loads nothing."""
        record = self.journal.get(history_key(history))
        return None if record is None else Answer.from_json(record)

    def converse(self, prompts: Sequence[Prompt]) -> list[tuple[tuple[Turn, Answer], ...]]:
        """Answer every turn of every prompt; a later turn sees the model's own earlier answers.

        A conversation ends early where an answer has a problem.
        """
        made: list[list[tuple[Turn, Answer]]] = [[] for _ in prompts]
        ongoing = {place: prompt.history for place, prompt in enumerate(prompts)}
        turn = 0
        while ongoing:
            places = list(ongoing)
            answers = self.all([ongoing[place] for place in places])
            following: dict[int, History] = {}
            for place, answer in zip(places, answers, strict=True):
                history = ongoing[place]
                made[place].append((Turn(history, answer.text), answer))
                if turn < len(prompts[place].followups) and not answer.problem:
                    said = Message("assistant", answer.text)
                    asked = Message("user", prompts[place].followups[turn])
                    following[place] = (*history, said, asked)
            ongoing = following
            turn += 1
        return [tuple(one) for one in made]

    def close(self) -> None:
        """Let the model go."""
        self._opened = None


def history_key(history: History) -> str:
    """Return the digest of a history's roles and contents."""
    return digest([[message.role, message.content] for message in history])
