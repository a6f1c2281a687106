"""What a judge reads and how its reply is read: the prompt's forms, fences, and the last line.

The material is fenced with a boundary derived from its own content, so that no answer can know it
and close its fence; placeholders are filled in one pass, so that no answer can fill one; and only
the last line of the judge's own reply is read.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instructmine.errors import UsageError
from instructmine.identity import digest
from instructmine.pool import Message, Turn
from instructmine.verdicts import Outcome, Problem, Question

DEFAULT = Path(__file__).parent / "assets" / "judge" / "default.toml"
FORMS: Mapping[str, frozenset[str]] = {  # form → placeholders it must have, besides {form}
    "pairwise": frozenset({"conversation", "answer_1", "answer_2"}),
    "pairwise_turns": frozenset({"conversation_1", "conversation_2"}),
    "grade": frozenset({"conversation", "answer_1"}),
    "grade_turns": frozenset({"conversation_1"}),
}
_OPTIONAL = frozenset({"form", "reference", "boundary"})
_PAIR_FORM = (
    "Then end with one line that holds nothing but your verdict: `VERDICT: 1` if the first is "
    "better, `VERDICT: 2` if the second is, or `VERDICT: TIE` if neither is."
)
_GRADE_FORM = (
    "Then end with one line that holds nothing but your grade, a whole number from 1 to 10: "
    "for instance `GRADE: 4`."
)
_AGAIN = "Your reply did not end with the line that was asked for. {form} Write that line now."
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_BLANKS = " \t*_`#.[]()"  # what judges dress a line in; quotation marks and > would be quotes
_VERDICT = re.compile(r"(?:final )?verdict\s*:\s*[*_`\s\[(]*(1|2|tie)", re.IGNORECASE)
_GRADE = re.compile(
    r"(?:final )?grade\s*:\s*[*_`\s\[(]*(10|[1-9](?:\.\d+)?)(?:\s*/\s*10)?", re.IGNORECASE
)
_REFUSAL = re.compile(
    r"^\W*(?:i'?m sorry|i am sorry|sorry,|i apologi[sz]e|i can(?:no|')?t|i cannot|i won'?t|"
    r"i(?:'m| am) (?:not able|unable)|as an ai)",
    re.IGNORECASE,
)
_OUTCOMES: Mapping[str, Outcome] = {"1": "first", "2": "second", "tie": "tie"}


@dataclass(frozen=True)
class Reading:
    """What a reply says: an outcome, a grade, or a problem."""

    outcome: Outcome | None = None
    grade: float | None = None
    problem: Problem = ""


@dataclass(frozen=True)
class JudgePrompt:
    """The forms of a judge's prompt, checked; `text` is all of it, for its digest."""

    name: str
    version: int
    system: str
    forms: Mapping[str, str]

    def identity(self) -> dict[str, Any]:
        """Version and digest of the text, with the required last lines."""
        text = [self.system, dict(self.forms), _PAIR_FORM, _GRADE_FORM, _AGAIN]
        return {"version": self.version, "digest": digest(text)}

    def messages(self, question: Question) -> tuple[Message, ...]:
        """Return what to send to the judge for one question."""
        own = bool(question.first.history) and _own_turns(question)
        form = ("grade" if question.second is None else "pairwise") + ("_turns" if own else "")
        boundary = _boundary(question)
        fence = functools.partial(_fence, boundary=boundary)
        texts = {
            "boundary": boundary,
            "form": _form(question),
            "conversation": fence("CONVERSATION", _transcript(question.first.history, boundary)),
            "reference": f"\n{fence('REFERENCE', question.reference)}\n\nThe reference is a good "
            "answer, not the only one.\n" * bool(question.reference),
        }
        for number, turn in enumerate((question.first, question.second), start=1):
            if turn is not None:
                said = (*turn.history, Message("assistant", turn.response))
                texts[f"answer_{number}"] = fence(f"ANSWER {number}", turn.response)
                texts[f"conversation_{number}"] = fence(
                    f"CONVERSATION {number}", _transcript(said, boundary)
                )
        user = Message("user", _fill(self.forms[form], texts))
        system = _fill(self.system, texts)
        return (Message("system", system), user) if system else (user,)

    def again(self, question: Question, reply: str) -> tuple[Message, ...]:
        """Return what to send after a reply that could not be read."""
        more = _fill(_AGAIN, {"form": _form(question)})
        return (
            *self.messages(question),
            Message("assistant", reply or "(no reply)"),
            Message("user", more),
        )


def read_reply(question: Question, reply: str) -> Reading:
    """Read a judge's own reply: its last line must be the verdict, whole and alone."""
    lines = [line.strip(_BLANKS) for line in reply.splitlines()]
    last = next((line for line in reversed(lines) if line), "")
    if question.second is None:
        found = _GRADE.fullmatch(last)
        if found and 1 <= float(found[1]) <= 10:
            return Reading(grade=float(found[1]))
    else:
        found = _VERDICT.fullmatch(last)
        if found:
            return Reading(outcome=_OUTCOMES[found[1].lower()])
    return Reading(problem="refused" if _REFUSAL.match(reply.strip()) else "malformed")


def load_prompt(name: str = "default") -> JudgePrompt:
    """Load a judge prompt: `default`, or a user's TOML file; forms it lacks are the default's.

    Raises UsageError for a file that cannot be read, or whose forms lack a placeholder.
    """
    path = DEFAULT if name == "default" else Path(name)
    try:
        return _load(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise UsageError(
            f"judge prompt {name} cannot be read ({error.strerror}); give the path of a TOML file"
        ) from error


@functools.lru_cache(maxsize=8)
def _load(path: Path, _stamp: int) -> JudgePrompt:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"judge prompt {path} is no valid TOML: {error}") from error
    base = load_prompt() if path != DEFAULT else None
    forms = dict(base.forms) if base else {}
    odd = data.keys() - FORMS.keys() - {"name", "version", "system"}
    if odd:
        raise UsageError(
            f"judge prompt {path}: unknown key '{min(odd)}'; known: name, version, system, "
            + ", ".join(FORMS)
        )
    for form, needed in FORMS.items():
        if form not in data:
            continue
        text = data[form].get("user") if isinstance(data[form], dict) else data[form]
        if not isinstance(text, str):
            raise UsageError(f"judge prompt {path}: [{form}] has no text `user`")
        _check(path, form, text, needed)
        forms[form] = text.strip("\n")
    version = data.get("version", 1)
    if not isinstance(version, int):
        raise UsageError(f"judge prompt {path}: version must be a whole number")
    system = str(data.get("system", base.system if base else "")).strip("\n")
    _check(path, "system", system, frozenset(), allowed=frozenset({"boundary"}))
    return JudgePrompt(str(data.get("name", path.stem)), version, system, forms)


def _check(
    path: Path,
    form: str,
    text: str,
    needed: frozenset[str],
    allowed: frozenset[str] | None = None,
) -> None:
    """Raise UsageError where a form lacks a placeholder or has an unknown one."""
    found = set(_PLACEHOLDER.findall(text))
    wanted = needed | {"form"} if allowed is None else frozenset()
    lacking, odd = wanted - found, found - (needed | _OPTIONAL if allowed is None else allowed)
    if lacking:
        names = ", ".join(f"{{{name}}}" for name in sorted(lacking))
        raise UsageError(f"judge prompt {path}: [{form}] lacks {names}; put it in")
    if odd:
        raise UsageError(f"judge prompt {path}: [{form}] has the unknown {{{min(odd)}}}")


def _form(question: Question) -> str:
    return _GRADE_FORM if question.second is None else _PAIR_FORM


def _own_turns(question: Question) -> bool:
    """Tell whether each answer follows its model's own earlier ones."""
    if question.second is not None:
        return question.first.history != question.second.history
    return any(message.role == "assistant" for message in question.first.history)


def _boundary(question: Question) -> str:
    """Return a mark that no text of the question holds, the same for the same question."""
    turns: Sequence[Turn] = [t for t in (question.first, question.second) if t is not None]
    texts = [question.reference, *(t.response for t in turns)]
    texts += [m.content for t in turns for m in t.history]
    number = 0
    while True:
        mark = digest([question.key, number])[:12]
        if not any(mark in text for text in texts):
            return mark
        number += 1


def _fence(what: str, text: str, *, boundary: str) -> str:
    return f"<<<{what} {boundary}>>>\n{text}\n<<<END {boundary}>>>"


def _transcript(messages: Sequence[Message], boundary: str) -> str:
    return "\n\n".join(f"[{m.role} {boundary}]\n{m.content}" for m in messages)


def _fill(text: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), text)
