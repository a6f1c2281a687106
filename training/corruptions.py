"""Seeded synthetic faults: the known-bad texts that the starter models learn to mark down.

Every function takes the random generator that the caller seeded, so equal seeds give equal faults.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

WORD = re.compile(r"\S+|\s+")
SENTENCE = re.compile(r"(?<=[.!?])\s+")
NUMBER = re.compile(r"\d+(?:\.\d+)?")

REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I don't know.",
    "I am not able to answer this question.",
    "As an AI language model, I cannot do that.",
    "Sorry, I do not understand the request.",
    "I'm not sure what you mean.",
    "I cannot provide an answer to that.",
    "No comment.",
    "As an AI language model, I do not have access to that information and cannot complete it.",
    "Unfortunately, I am unable to complete this task. Please try asking something else.",
    "I'm sorry, I don't have enough information to answer. Could you give more details?",
)
EMPTYISH = (
    "",
    " ",
    ".",
    "...",
    "N/A",
    "None",
    "ok",
    "<noinput>",
    "-",
    "Answer:",
    "Output:",
    "?",
    "TODO",
)
GENERIC = (
    "i don't know.",
    "i'm not sure.",
    "that's interesting.",
    "yeah.",
    "ok.",
    "i see.",
    "i agree.",
    "yes, i think so.",
    "i don't know what you mean.",
    "that is true.",
    "i think so too.",
    "sure.",
    "that's cool.",
    "i have no idea.",
    "i don't know about that.",
    "yes, i do.",
    "no, i don't.",
    "i think that is a good idea.",
    "it is what it is.",
    "you are right about that.",
    "maybe.",
    "what do you mean?",
    "i don't know much about it.",
    "i'm not sure i understand.",
)


def words(text: str) -> list[str]:
    """The words of a text, without the white space between them."""
    return text.split()


def sentences(text: str) -> list[str]:
    """The sentences of a text, split after full stops, question and exclamation marks."""
    return [part for part in SENTENCE.split(text.strip()) if part]


def join_like(tokens: Sequence[str], text: str) -> str:
    """Join words with the line breaks of the text that they came from, about where they stood."""
    if "\n" not in text:
        return " ".join(tokens)
    gaps = re.findall(r"\s+", text.strip())
    last = max(1, len(tokens) - 1)
    out = []
    for at, token in enumerate(tokens[:-1]):
        out.append(token + gaps[min(len(gaps) - 1, at * len(gaps) // last)])
    return "".join(out) + (tokens[-1] if tokens else "")


def _some(count: int, share: float, rng: random.Random) -> set[int]:
    """At least one position out of `count`, about `share` of them."""
    return (
        set(rng.sample(range(count), max(1, min(count, round(count * share))))) if count else set()
    )


def shuffle_words(text: str, rng: random.Random, share: float = 1.0) -> str:
    """Put the words of windows that cover about `share` of the text in random order."""
    tokens = words(text)
    if len(tokens) < 2:
        return " ".join(reversed(tokens))
    size = min(len(tokens), max(2, round(len(tokens) * share)))
    start = rng.randrange(len(tokens) - size + 1)
    window = tokens[start : start + size]
    shuffled = window[:]
    for _ in range(4):
        rng.shuffle(shuffled)
        if shuffled != window:
            break
    return join_like(tokens[:start] + shuffled + tokens[start + size :], text)


def swap_neighbours(text: str, rng: random.Random, share: float = 0.3) -> str:
    """Exchange about `share` of the words with the word after them."""
    tokens = words(text)
    for at in _some(max(0, len(tokens) - 1), share, rng):
        tokens[at], tokens[at + 1] = tokens[at + 1], tokens[at]
    return join_like(tokens, text)


def delete_words(text: str, rng: random.Random, share: float = 0.3) -> str:
    """Leave out about `share` of the words."""
    tokens = words(text)
    gone = _some(len(tokens), share, rng)
    return join_like([token for at, token in enumerate(tokens) if at not in gone], text)


def repeat_words(text: str, rng: random.Random, share: float = 0.3) -> str:
    """Say about `share` of the words twice or more."""
    tokens = words(text)
    twice = _some(len(tokens), share, rng)
    said: list[str] = []
    for at, token in enumerate(tokens):
        said += [token] * (rng.choice((2, 2, 3)) if at in twice else 1)
    return join_like(said, text)


def repeat_phrase(text: str, rng: random.Random, longest: int = 8, times: int = 0) -> str:
    """Repeat one short phrase in place, as a looping language model does."""
    tokens = words(text)
    if not tokens:
        return text
    size = min(len(tokens), rng.randint(2, longest))
    start = rng.randrange(len(tokens) - size + 1)
    phrase = tokens[start : start + size]
    count = times or rng.randint(2, 6)
    return " ".join(tokens[:start] + phrase * count + (tokens[start + size :] if count < 4 else []))


def repeat_sentence(text: str, rng: random.Random, times: int = 0) -> str:
    """Say one sentence again and again; with enough of it the rest of the text is lost."""
    parts = sentences(text)
    if not parts:
        return text
    at = rng.randrange(len(parts))
    count = times or rng.randint(2, 5)
    said = parts[:at] + [parts[at]] * count + (parts[at + 1 :] if count < 4 else [])
    return join_like(said, text) if "\n" in text and len(parts) > 3 else " ".join(said)


def loop_sentences(text: str, rng: random.Random) -> str:
    """Say up to three neighbouring sentences or lines over and over until the text ends."""
    lines = [line for line in text.split("\n") if line.strip()]
    parts, gap = (lines, "\n") if len(lines) > 2 else (sentences(text), " ")
    if not parts:
        return text
    size = min(len(parts), rng.randint(1, 3))
    start = rng.randrange(len(parts) - size + 1)
    looped = parts[start : start + size] * rng.randint(3, 6)
    return gap.join(parts[max(0, start - 3) : start] + looped)


def loop_to_length(text: str, rng: random.Random) -> str:
    """A text about as long as the given one that says its first words over and over."""
    tokens = words(text)
    if not tokens:
        return text
    head = tokens[: rng.randint(1, min(12, len(tokens)))]
    return " ".join((head * (len(tokens) // len(head) + 2))[: max(len(tokens), len(head) * 3)])


def truncate(text: str, rng: random.Random, low: float = 0.3, high: float = 0.85) -> str:
    """Cut the text off in the middle of a sentence."""
    pieces = WORD.findall(text)
    keep = max(1, round(len(pieces) * rng.uniform(low, high)))
    cut = "".join(pieces[:keep]).rstrip()
    return cut.rstrip(".!?") if len(cut) > 1 else cut


def gibberish(text: str, rng: random.Random) -> str:
    """Keep the outline of the text and replace its letters with random ones."""
    share = rng.choice((0.5, 0.8, 1.0))
    letters = "abcdefghijklmnopqrstuvwxyz"
    return "".join(
        rng.choice(letters) if char.isalpha() and rng.random() < share else char for char in text
    )


def typos(text: str, rng: random.Random, share: float = 0.4) -> str:
    """Drop, double or swap letters in about `share` of the words."""
    tokens = words(text)
    for at in _some(len(tokens), share, rng):
        token = tokens[at]
        if len(token) < 3:
            continue
        spot = rng.randrange(len(token) - 1)
        kind = rng.randrange(3)
        if kind == 0:
            token = token[:spot] + token[spot + 1 :]
        elif kind == 1:
            token = token[:spot] + token[spot] + token[spot:]
        else:
            token = token[:spot] + token[spot + 1] + token[spot] + token[spot + 2 :]
        tokens[at] = token
    return join_like(tokens, text)


def drop_small_words(text: str, rng: random.Random, share: float = 0.8) -> str:
    """Leave out articles, auxiliaries and prepositions: telegraphic, stilted text."""
    small = {
        "a",
        "an",
        "the",
        "is",
        "are",
        "was",
        "were",
        "to",
        "of",
        "in",
        "on",
        "for",
        "with",
        "that",
        "it",
        "be",
        "have",
        "has",
        "do",
        "does",
        "and",
        "i",
        "you",
        "my",
        "your",
        "at",
        "by",
        "as",
    }
    kept = [w for w in words(text) if w.lower() not in small or rng.random() > share]
    return join_like(kept, text)


def alter_numbers(text: str, rng: random.Random) -> str:
    """Change every number a little, and the last one always: a wrong but fluent calculation."""
    found = list(NUMBER.finditer(text))
    if not found:
        return text
    out, at = [], 0
    for index, match in enumerate(found):
        out.append(text[at : match.start()])
        value = match.group()
        if index == len(found) - 1 or rng.random() < 0.5:
            number = float(value)
            new = number
            while new == number or new < 0:
                new = number + rng.choice((-1, 1)) * max(1, round(number * rng.uniform(0.05, 0.9)))
            value = str(round(new, 2)) if "." in value else str(int(new))
        out.append(value)
        at = match.end()
    return "".join(out) + text[at:]


def first_sentences(text: str, rng: random.Random) -> str:
    """Stop at a sentence end in the first half of the text: fluent, and less than was asked."""
    parts = sentences(text)
    return " ".join(parts[: rng.randint(1, max(1, len(parts) // 2))])


def length_match(text: str, target: str) -> str:
    """Cut a text at a sentence end so that it is about as long as the target, where it can be."""
    limit = max(1, len(target))
    out: list[str] = []
    size = 0
    for part in sentences(text):
        if out and size + len(part) > 1.15 * limit:
            break
        out.append(part)
        size += len(part) + 1
    return " ".join(out)


class Babbler:
    """Second-order word chain: text that is locally fluent and means nothing."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.two: dict[tuple[str, str], list[str]] = defaultdict(list)
        self.one: dict[str, list[str]] = defaultdict(list)
        self.starts: list[str] = []
        for text in texts:
            tokens = words(text)
            if tokens:
                self.starts.append(tokens[0])
            for at in range(len(tokens) - 1):
                self.one[tokens[at]].append(tokens[at + 1])
                if at + 2 < len(tokens):
                    self.two[tokens[at], tokens[at + 1]].append(tokens[at + 2])

    def follow(self, before: Sequence[str], rng: random.Random, order: int = 2) -> str:
        """A word that was seen after the given ones."""
        options = self.two.get((before[-2], before[-1])) if order > 1 and len(before) > 1 else None
        if not options or len(set(options[:4])) < 2:
            options = self.one.get(before[-1]) if before else None
        return rng.choice(options or self.starts)

    def babble(self, count: int, rng: random.Random, order: int = 2) -> str:
        """About `count` words that follow one another locally."""
        out: list[str] = [rng.choice(self.starts)]
        while len(out) < count or (len(out) < count + 12 and out[-1][-1] not in ".!?"):
            out.append(self.follow(out, rng, order))
        return " ".join(out)

    def replace(self, text: str, rng: random.Random, share: float = 0.3) -> str:
        """Replace about `share` of the words by words that fit only what stands before them."""
        tokens = words(text)
        for at in sorted(_some(len(tokens), share, rng)):
            tokens[at] = self.follow(tokens[max(0, at - 1) : at], rng, 1)
        return join_like(tokens, text)

    def derail(self, text: str, rng: random.Random) -> str:
        """Begin as the text does and babble on from its middle."""
        tokens = words(text)
        keep = max(1, round(len(tokens) * rng.uniform(0.2, 0.7)))
        out = tokens[:keep]
        while len(out) < len(tokens):
            out.append(self.follow(out, rng))
        return join_like(out, text)
