"""Turns of dialogues for the starter dialogue evaluator: real ones, and chats made of passages.

`bank` lists every turn that examples are made of, once, in an order that depends on the seed alone;
the generator, the teacher and the examples all speak of a turn by its place in that list.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import common
import corruptions as faults

# Passages are read from these collections of the T0 file alone; the dialogue collections in it
# (DREAM, SAMSum) are left out because their own terms forbid commercial use.
T0_FACTS = ("adversarial_qa", "quoref", "wiki_hop", "dbpedia", "ropes", "duorc")
T0_PERSONAL = ("cosmos_qa", "imdb", "yelp", "amazon", "app_reviews", "rotten_tomatoes")
TEMPLATE_WORDS = re.compile(
    r"\b(?:article|passage|paragraph|question|options?|answer|background|context|review|extract)\b|<|_{2}",
    re.IGNORECASE,
)
OPENERS = (
    "do you like {t}?",
    "hi, do you know much about {t}?",
    "have you heard of {t}?",
    "{w}",
    "are you a fan of {t}?",
    "hello, how are you today? do you know {t}?",
    "did you know that {f}?",
    "hi there! i was just reading about {t}. did you know {f}?",
    "what do you think about {t}?",
    "hey, how's it going? i love {t}.",
    "good morning! are you familiar with {t}?",
)
REPLIES = (
    "yes, i do. {f}",
    "wow, i didn't know that. {f}",
    "i read that {f}",
    "yeah, {f}",
    "{w}",
    "{w}",
    "that is really interesting. i also heard that {f}",
    "did you know that {f}?",
    "no way! {f}",
    "i didn't know that, that's amazing. what else do you know about {t}?",
    "i know, right? {f}",
    "that's crazy. did you know {f}?",
    "i have heard of it. {f}",
    "me too. i think {f}",
    "that makes sense. apparently {f}",
    "i wonder why that is. {f}",
    "i agree. {w}",
    "true. {w}",
    "oh really? i thought {f}",
    "haha that's funny. {f}",
    "i'm not too sure, but i think {f}",
    "yes, i love {t}! {w}",
    "not really, but i know that {f}",
    "cool. do you like {t} too?",
    "i really enjoy {t}. {f} do you?",
    "that's good to know. it was nice chatting with you!",
)
UNFIT = re.compile(r"\b(?:sentiment|reviewer|expressed by|expressed for)\b", re.IGNORECASE)
"""Wording of T0's templates that slips into passages: no one says it in a dialogue."""
MOST = {"gsm8k": 300, "facts": 9000, "personal": 5000}
"""Turns of a source at most; the other sources are taken whole."""
USED = 10_000
"""Examples are made of so many turns of the bank, the first ones; the generator learns from all."""


@dataclass(frozen=True)
class Turn:
    """One response with the turns before it. `held` turns are measured on, never trained on."""

    history: tuple[str, ...]
    response: str
    source: str
    held: bool = False


def held_out(key: str) -> bool:
    """Whether a dialogue belongs to the synthetic development set: one in twenty, by its text."""
    return common.stable_hash(key) % 20 == 0


def clip(text: str, rng: random.Random, most: int) -> str:
    """The first whole sentences of a text, `most` words at most where its sentences allow."""
    out: list[str] = []
    count = 0
    for part in faults.sentences(text):
        size = len(part.split())
        if out and count + size > most:
            break
        out.append(part)
        count += size
    return " ".join(out) if out and count <= 2 * most else " ".join(text.split()[:most])


Said = tuple[Sequence[str], str, str]


def dialogue_turns(data: Path) -> Iterator[Said]:
    """History, response and source of every turn of the dialogue files."""
    for row in common.read_rows(data / "pref/hh_rlhf_harmless_base_test.jsonl.gz"):
        parts = re.split(r"\n\n(?:Human|Assistant): ?", row["chosen"])[1:]
        for at in range(1, len(parts)):
            yield parts[:at], parts[at], "hh"
        other = re.split(r"\n\n(?:Human|Assistant): ?", row["rejected"])[1:]
        yield other[:-1], other[-1], "hh"
    for row in common.read_rows(data / "eval/oasst1_validation_prompts.jsonl"):
        if row["lang"] == "en":
            yield re.split(r"### (?:Human|Assistant):", row["input"]), row["output"], "oasst"


def instruction_turns(data: Path) -> Iterator[Said]:
    """Prompt, answer and source of the instruction files."""
    for name, path in (
        ("roleplay", "train/gpteacher_roleplay.json"),
        ("rasbt", "train/rasbt_instruction_data_1100.json"),
    ):
        for row in common.read_rows(data / path):
            yield [f"{row['instruction']}\n{row['input']}".strip()], row["output"], name
    for path in (
        "train/self_instruct_seed_tasks_175.jsonl",
        "eval/self_instruct_user_oriented_252.jsonl",
    ):
        for row in common.read_rows(data / path):
            for case in row["instances"]:
                yield [f"{row['instruction']}\n{case['input']}".strip()], case["output"], "self"
    for row in common.read_rows(data / "pref/dpo_en_demo.json"):
        yield [part["value"] for part in row["conversations"]], row["chosen"]["value"], "dpo"
    for row in common.read_rows(data / "train/gsm8k_train_alpaca_format.json")[:1500]:
        yield [row["instruction"]], row["output"], "gsm8k"


def benchmark_turns(data: Path) -> Iterator[Said]:
    """Question, strong models' answers and source of the Vicuna questions and MT-Bench."""
    questions = common.read_rows(data / "eval/vicuna_bench_question.jsonl")
    asked = {row["question_id"]: row["turns"][0] for row in questions}
    for model in ("bard", "gpt35", "vicuna-13b"):
        for row in common.read_rows(data / f"judgments/vicuna80/answer/answer_{model}.jsonl"):
            yield [asked[row["question_id"]]], row["text"], "vicuna"
    questions = common.read_rows(data / "eval/mt_bench_question.jsonl")
    asks = {row["question_id"]: row["turns"] for row in questions}
    for row in common.read_rows(data / "judgments/mt_bench_answers/gpt-4o.jsonl"):
        first, second = row["choices"][0]["turns"][:2]
        one, two = asks[row["question_id"]]
        yield [one], first, "mtbench"
        yield [one, first, two], second, "mtbench"


def passages(data: Path) -> tuple[list[list[str]], list[list[str]]]:
    """Sentence lists of the T0 prompts' passages: encyclopaedic ones, and personal ones."""
    facts: dict[str, list[str]] = {}
    tales: dict[str, list[str]] = {}
    for row in common.read_rows(data / "train/t0_templates.jsonl.gz"):
        name = row["template"]
        if not name.startswith(T0_FACTS + T0_PERSONAL):
            continue
        for line in row["prompt"].split("\n"):
            line = re.sub(r"^(\W*|[\w ,']{1,40}: ?)(?=[A-Z\"])", "", line.strip(' "-'))
            if len(line) < 150 or line[:80] in facts or line[:80] in tales:
                continue
            parts = [
                part
                for part in faults.sentences(line.replace("<br />", " ").replace("\\n", " "))
                if 20 < len(part) < 220 and not TEMPLATE_WORDS.search(part)
            ]
            if len(parts) > 1:
                (facts if name.startswith(T0_FACTS) else tales)[line[:80]] = parts
    return list(facts.values()), list(tales.values())


def topic_of(parts: Sequence[str]) -> str:
    """The name that a passage mentions most often."""
    names = Counter(
        name
        for part in parts
        for name in re.findall(r"(?<=[a-z,] )(?:[A-Z][\w'’-]+(?: [A-Z][\w'’-]+)*)", part)
    )
    return names.most_common(1)[0][0] if names else ""


def chat_turns(parts: Sequence[str], rng: random.Random, personal: bool) -> list[str]:
    """A chat about one passage: its sentences in order, inside short conversational frames."""
    topic = topic_of(parts)
    start = rng.randrange(max(1, len(parts) - 6))
    out: list[str] = []
    for at, part in enumerate(parts[start : start + rng.randint(3, 10)]):
        fact = part[0].lower() + part[1:].rstrip(".") if rng.random() < 0.7 else part.rstrip(".")
        if personal:
            frame = (
                "{w}"
                if rng.random() < 0.7
                else rng.choice(("yeah, {f}", "i agree. {w}", "wow. {w}"))
            )
        else:
            frame = rng.choice(OPENERS if at == 0 else REPLIES)
            if "{t}" in frame and not topic:
                frame = "{w}"
        out.append(frame.format(t=topic, f=fact, w=part))
    return out


def flat(text: str) -> str:
    """The text on one line."""
    return " ".join(text.split())


def real_turns(data: Path, rng: random.Random) -> Iterator[Turn]:
    """Turns of the permissive dialogue and instruction files, clipped to conversational length."""
    for read in (dialogue_turns, instruction_turns, benchmark_turns):
        for history, response, source in read(data):
            kept = [part for part in history if part.strip()]
            if not kept or not response.strip():
                continue
            most = rng.choice((12, 20, 30, 50))
            before = tuple(flat(clip(part, rng, 40)) for part in kept[-6:])
            yield Turn(before, flat(clip(response, rng, most)), source, held_out(kept[0]))


def made_turns(data: Path, rng: random.Random) -> Iterator[Turn]:
    """Turns of chats made of passages: one chat of a factual passage, two of a personal one."""
    for source, rows in zip(("facts", "personal"), passages(data), strict=True):
        for parts in rows * (2 if source == "personal" else 1):
            chat = [flat(turn) for turn in chat_turns(parts, rng, source == "personal")]
            for at in range(1, len(chat)):
                yield Turn(tuple(chat[max(0, at - 6) : at]), chat[at], source, held_out(parts[0]))


def bank(data: Path, seed: int, folder: Path) -> list[Turn]:
    """Every turn that examples are made of; written to `folder` once and read from there again."""
    path = folder / "bank.json"
    if path.exists():
        rows = json.loads(path.read_text(encoding="utf-8"))
        return [Turn(**row | {"history": tuple(row["history"])}) for row in rows]
    rng = random.Random(seed)
    turns = [*dict.fromkeys((*real_turns(data, rng), *made_turns(data, rng)))]
    rng.shuffle(turns)
    taken: Counter[str] = Counter()
    kept = []
    for turn in turns:
        taken[turn.source] += 1
        if taken[turn.source] <= MOST.get(turn.source, len(turns)):
            kept.append(turn)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(turn) for turn in kept]), encoding="utf-8")
    return kept
