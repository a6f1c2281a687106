"""Train the starter dialogue evaluator: a tiny T5 that answers UniEval's three questions.

The model reads the literal UniEval input strings and answers "Yes" or "No" at the first decoder
step. It learns from real turns (answer "Yes") and from seeded synthetic faults of them (answer
"No", or a target in between for mild faults). Its embeddings start from static word vectors.

Human scores of Topical-Chat are read for the final measurement alone, never for training.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import corruptions as faults
import torch
from safetensors.torch import load_file
from scipy.stats import spearmanr
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

QUESTIONS = {
    "naturalness": (
        "question: Is this a natural response in the dialogue? </s> response: {response}"
    ),
    "understandability": (
        "question: Is this an understandable response in the dialogue? </s> response: {response}"
    ),
    "coherence": (
        "question: Is this a coherent response given the dialogue history? </s> "
        "response: {response} </s> dialogue history: {history}"
    ),
}
UNIEVAL = {"naturalness": 0.514, "coherence": 0.613, "understandability": 0.468}
AIMS = {"naturalness": 0.30, "coherence": 0.40, "understandability": 0.30}
MASK = "<extra_id_0>"
VECTORS = Path("../shared/models/model2vec-bge-base-128")
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
LEAD_INS = (
    "i think",
    "yes,",
    "well,",
    "did you know",
    "i love",
    "that is",
    "wow,",
    "i heard",
    "i'm not",
)

FAULTS = (
    "shuffle",
    "shuffle_part",
    "swap",
    "delete",
    "repeat_word",
    "repeat_phrase",
    "repeat_sentence",
    "loop",
    "truncate",
    "gibberish",
    "typos",
    "telegraphic",
    "substitute",
    "derail",
    "babble",
    "foreign",
    "generic",
    "empty",
    "refusal",
    "lead_in",
)


@dataclass(frozen=True)
class Turn:
    """One response with the turns before it."""

    history: tuple[str, ...]
    response: str
    source: str


@dataclass(frozen=True)
class Example:
    """One input string with the wanted probability of "Yes"."""

    text: str
    target: float
    question: str
    fault: str


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


def real_turns(data: Path) -> list[Turn]:
    """Every human or strong-model turn of the permissive dialogue and instruction files."""
    turns = []
    for read in (dialogue_turns, instruction_turns, benchmark_turns):
        for history, response, source in read(data):
            kept = tuple(part.strip() for part in history if part.strip())
            if response.strip() and kept:
                turns.append(Turn(kept, response.strip(), source))
    return turns


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


class Maker:
    """Makes training examples: real turns, chats made from passages, and faults of both."""

    def __init__(self, data: Path, seed: int, development: bool) -> None:
        rng = random.Random(seed)
        turns = [t for t in real_turns(data) if held_out(t.history[0]) == development]
        self.turns: dict[str, list[Turn]] = defaultdict(list)
        for turn in turns:
            self.turns[turn.source].append(turn)
        facts, tales = passages(data)
        self.facts = [p for p in facts if held_out(p[0]) == development]
        self.tales = [p for p in tales if held_out(p[0]) == development]
        plain = [t.response for t in turns] + [" ".join(p) for p in self.facts + self.tales]
        self.babbler = faults.Babbler(
            text.lower() for text in rng.sample(plain, min(6000, len(plain)))
        )
        self.foreign = [
            row["output"]
            for row in common.read_rows(data / "eval/oasst1_validation_prompts.jsonl")
            if row["lang"] != "en" and held_out(row["output"]) == development
        ]

    def counts(self) -> dict[str, int]:
        """Rows by source."""
        out = {name: len(rows) for name, rows in self.turns.items()}
        return out | {"t0_facts": len(self.facts), "t0_personal": len(self.tales)}

    def draw(self, rng: random.Random) -> Turn:
        """One good turn."""
        kind = rng.random()
        if kind < 0.42:
            personal = rng.random() < 0.4
            chat: list[str] = []
            while len(chat) < 2:
                chat = chat_turns(rng.choice(self.tales if personal else self.facts), rng, personal)
            at = rng.randint(1, len(chat) - 1)
            return Turn(tuple(chat[:at]), chat[at], "personal" if personal else "facts")
        weights = {"hh": 10, "roleplay": 3, "oasst": 2, "rasbt": 1.5, "dpo": 1, "gsm8k": 0.7}
        names = list(self.turns)
        name = rng.choices(names, [weights.get(n, 1) for n in names])[0]
        turn = rng.choice(self.turns[name])
        most = rng.choice((12, 20, 30, 50))
        history = tuple(clip(part, rng, 40) for part in turn.history[-rng.choice((1, 2, 4)) :])
        return Turn(history, clip(turn.response, rng, most), turn.source)

    def broken(self, text: str, rng: random.Random) -> tuple[str, float, float, str]:
        """A faulty form of a text, with targets for naturalness and understandability."""
        share = rng.choice((0.5, 0.8))
        mild = 1 - share
        options: list[tuple[float, Callable[[], tuple[str, float, float]]]] = [
            (2, lambda: (faults.shuffle_words(text, rng, 1.0), 0.0, 0.0)),
            (2, lambda: (faults.shuffle_words(text, rng, share), 0.3 * mild, 0.4 * mild)),
            (1, lambda: (faults.swap_neighbours(text, rng, share), 0.3 * mild, 0.5 * mild)),
            (2, lambda: (faults.delete_words(text, rng, share), 0.4 * mild, 0.5 * mild)),
            (1, lambda: (faults.repeat_words(text, rng, share), 0.2 * mild, 0.4 * mild)),
            (2, lambda: (faults.repeat_phrase(text, rng), 0.05, 0.25)),
            (1, lambda: (faults.repeat_sentence(text, rng), 0.05, 0.4)),
            (1, lambda: (faults.loop_to_length(text, rng), 0.0, 0.1)),
            (2, lambda: (faults.truncate(text, rng), 0.35, 0.45)),
            (1, lambda: (faults.gibberish(text, rng), 0.0, 0.0)),
            (0.7, lambda: (faults.typos(text, rng, share), 0.4 * mild, 0.7 * mild)),
            (1, lambda: (faults.drop_small_words(text, rng), 0.15, 0.45)),
            (3, lambda: (self.babbler.replace(text, rng, share), 0.35 * mild, 0.35 * mild)),
            (3, lambda: (self.babbler.derail(text, rng), 0.15, 0.2)),
            (
                2,
                lambda: (
                    self.babbler.babble(rng.randint(5, 30), rng, rng.choice((1, 2, 2))),
                    0.1,
                    0.1,
                ),
            ),
            (0.7, lambda: (clip(rng.choice(self.foreign), rng, 40), 0.1, 0.05)),
            (1.5, lambda: (rng.choice(faults.GENERIC), 0.55, 0.8)),
            (0.5, lambda: (rng.choice(faults.EMPTYISH), 0.05, 0.1)),
            (0.5, lambda: (rng.choice(faults.REFUSALS), 0.5, 0.85)),
            (0.7, lambda: (f"{rng.choice(LEAD_INS)} {rng.choice(LEAD_INS)} {text}", 0.4, 0.6)),
        ]
        at = rng.choices(range(len(options)), [weight for weight, _ in options])[0]
        made, natural, understandable = options[at][1]()
        if made.split() == text.split():
            return "", 0.05, 0.1, "empty"
        return made, natural, understandable, FAULTS[at]

    def unrelated(self, turn: Turn, rng: random.Random) -> tuple[str, float, str]:
        """A fluent response that does not fit the history, with its coherence target."""
        history = " ".join(turn.history)
        kind = rng.choices(
            ("other", "hard", "copy", "echo", "generic", "next_topic", "broken"),
            (5, 2, 2, 0.5, 3, 0.5, 5),
        )[0]
        if kind == "other":
            return self.draw(rng).response, 0.0, kind
        if kind == "hard":
            known = set(history.lower().split())
            best, top = "", -1.0
            for _ in range(12):
                other = self.peer(turn, rng)
                said = set(other.lower().split())
                overlap = len(said & known) / math.sqrt(len(said) + 1)
                if other != turn.response and overlap > top:
                    best, top = other, overlap
            return best, 0.1, kind
        if kind == "copy":
            old = clip(rng.choice(turn.history), rng, 60)
            return old, 0.1, kind
        if kind == "echo":
            return f"{clip(rng.choice(turn.history), rng, 25)} {turn.response}", 0.45, kind
        if kind == "generic":
            return rng.choice(faults.GENERIC + faults.REFUSALS), 0.4, kind
        if kind == "next_topic":
            other = self.peer(turn, rng)
            return f"{clip(turn.response, rng, 15)} {clip(other, rng, 20)}", 0.4, kind
        made, natural, _, name = self.broken(turn.response, rng)
        return (
            made,
            0.35 * natural + (0.3 if name in ("truncate", "typos", "delete") else 0.0),
            name,
        )

    def peer(self, turn: Turn, rng: random.Random) -> str:
        """A response of the same kind from another dialogue."""
        if turn.source in ("facts", "personal"):
            pool = self.facts if turn.source == "facts" else self.tales
            chat = chat_turns(rng.choice(pool), rng, turn.source == "personal")
            return chat[-1]
        return clip(
            rng.choice(self.turns[turn.source]).response, rng, max(12, len(turn.response.split()))
        )

    def pair(self, rng: random.Random) -> tuple[Example, Example]:
        """A question with a good response and with a faulty one to the same history."""
        turn = self.draw(rng)
        question = rng.choices(tuple(QUESTIONS), (0.45, 0.25, 0.3))[0]
        if question == "coherence":
            response, target, fault = self.unrelated(turn, rng)
        else:
            response, natural, understandable, fault = self.broken(turn.response, rng)
            target = natural if question == "naturalness" else understandable
        form, history = QUESTIONS[question], "\n".join(turn.history)
        good = form.format(response=turn.response, history=history)
        bad = form.format(response=response, history=history)
        return Example(good, 1.0, question, "none"), Example(bad, target, question, fault)

    def examples(self, rng: random.Random, pairs: int) -> list[Example]:
        """Good and faulty examples in turn."""
        return [example for _ in range(pairs) for example in self.pair(rng)]


def build_tokenizer(texts: Iterator[str], size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE over lower-cased text; `do n't` and `don't` become the same tokens.

    Like T5's own tokenizer it turns a literal `</s>` into the end token and appends one.
    """
    tokenizer = Tokenizer(models.BPE())
    rules = [
        (r"[ \t]+", " "),
        (r" *\n\s*", "\n"),
        (r"[‘’`]", "'"),
        (r"[“”]|''", '"'),
        (r" (?=n't\b)", ""),
        (r" (?='(?:s|re|ve|ll|d|m)\b)", ""),
        (r" (?=[.,!?;:%)\]])", ""),
        (r"(?<=[(\[$]) ", ""),
        (r"(?<=\w) - (?=\w)", "-"),
        (r"(?<=\w)n' t\b", "n't"),
    ]
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase()]
        + [normalizers.Replace(Regex(find), put) for find, put in rules]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    end = AddedToken("</s>", lstrip=True, rstrip=True, normalized=False, special=True)
    special = ["<pad>", end, "<unk>", MASK]
    trainer = BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        show_progress=False,
        max_token_length=16,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token=end,
        unk_token="<unk>",
        mask_token=MASK,
        model_max_length=1024,
        padding_side="right",
        model_input_names=["input_ids", "attention_mask"],
    )


def build_model(vocabulary: int, args: argparse.Namespace) -> T5ForConditionalGeneration:
    """A fresh tiny T5 with shared embeddings."""
    config = T5Config(
        vocab_size=vocabulary,
        d_model=args.width,
        d_kv=32,
        num_heads=args.width // 32,
        d_ff=args.hidden,
        num_layers=args.layers,
        num_decoder_layers=1,
        dropout_rate=0.0,
        feed_forward_proj="relu",
        tie_word_embeddings=True,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    )
    return T5ForConditionalGeneration(config)


def set_start(
    model: T5ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path
) -> None:
    """Start from static word vectors, with heads that know where to look.

    The first coordinates of an embedding are the vector of the token's text. Of six heads two look
    at the previous and at the next token; three have queries equal to keys
    and avoid their own place, so that a token finds its like elsewhere, in the history too.
    Branches start small.
    """
    vectors = next(iter(load_file(folder / "model.safetensors").values())).float()
    pieces = Tokenizer.from_file(str(folder / "tokenizer.json"))
    width = model.config.d_model
    table = torch.randn(len(tokenizer), width) * 0.3
    for token in range(4, len(tokenizer)):
        ids = pieces.encode(tokenizer.decode([token]).strip(), add_special_tokens=False).ids
        if ids:
            mean = vectors[ids].mean(0)
            table[token, : len(mean)] = mean / (mean.std() + 1e-6)
    with torch.no_grad():
        model.shared.weight.copy_(table)
        for name, weight in model.named_parameters():
            if name.endswith(("wo.weight", "SelfAttention.o.weight")):
                weight.mul_(0.3)
        bias = model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight
        bias[0, :3] = -8.0
        bias[1, 3] = bias[17, 4] = 8.0
        for block in model.encoder.block:
            attention = block.layer[0].SelfAttention
            for head in range(3):
                rows = slice(head * model.config.d_kv, (head + 1) * model.config.d_kv)
                basis = torch.linalg.qr(torch.randn(width, model.config.d_kv))[0].T * 0.5
                attention.q.weight[rows] = basis
                attention.k.weight[rows] = basis


def optimizer_of(model: T5ForConditionalGeneration) -> torch.optim.Optimizer:
    """AdamW; the embeddings, seen in few batches each, move faster."""
    rest = [weight for name, weight in model.named_parameters() if "shared" not in name]
    groups = [{"params": rest, "scale": 1.0}, {"params": [model.shared.weight], "scale": 7.0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)


def batches(
    items: list[tuple[list[int], float]], budget: int, rng: random.Random
) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Length-bucketed batches of about `budget` tokens, in random order."""
    ordered = sorted(items, key=lambda item: len(item[0]) + rng.random() * 8)
    out, at = [], 0
    while at < len(ordered):
        size, width = 0, 0
        while at + size < len(ordered):
            width = max(width, len(ordered[at + size][0]))
            if size and width * (size + 1) > budget:
                break
            size += 1
        group = ordered[at : at + size]
        width = max(len(ids) for ids, _ in group)
        ids = torch.zeros(size, width, dtype=torch.long)
        for row, (tokens, _) in enumerate(group):
            ids[row, : len(tokens)] = torch.tensor(tokens)
        out.append((ids, (ids != 0).long(), torch.tensor([target for _, target in group])))
        at += size
    rng.shuffle(out)
    return out


def answer_loss(
    model: T5ForConditionalGeneration,
    ids: torch.Tensor,
    seen: torch.Tensor,
    target: torch.Tensor,
    yes: int,
    no: int,
) -> torch.Tensor:
    """Cross-entropy of P(Yes) / (P(Yes) + P(No)) at the first decoder step."""
    start = torch.zeros(len(ids), 1, dtype=torch.long)
    logits = model(input_ids=ids, attention_mask=seen, decoder_input_ids=start).logits[:, 0].float()
    chance = logits[:, yes] - logits[:, no]
    return torch.nn.functional.binary_cross_entropy_with_logits(chance, target)


def answer_ids(tokenizer: PreTrainedTokenizerFast) -> tuple[int, int]:
    """The first token ids of "Yes" and "No"."""
    return tokenizer("Yes")["input_ids"][0], tokenizer("No")["input_ids"][0]


def score(
    model: T5ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]
) -> list[float]:
    """P(Yes) / (P(Yes) + P(No)) of each text."""
    yes, no = answer_ids(tokenizer)
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    out = [0.0] * len(texts)
    model.eval()
    for at in range(0, len(order), 32):
        rows = order[at : at + 32]
        batch = tokenizer(
            [texts[row] for row in rows],
            padding=True,
            truncation=True,
            max_length=1024,
            return_tensors="pt",
        )
        with torch.no_grad():
            logits = model(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                decoder_input_ids=torch.zeros(len(rows), 1, dtype=torch.long),
            ).logits[:, 0]
        for row, value in zip(
            rows, torch.sigmoid(logits[:, yes] - logits[:, no]).tolist(), strict=True
        ):
            out[row] = value
    return out


def overlap(response: str, history: str) -> float:
    """Share of the response's words that stand in the history."""
    said = response.lower().split()
    known = set(history.lower().split())
    return sum(word in known for word in said) / max(1, len(said))


def human_agreement(
    model: T5ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, data: Path
) -> dict[str, dict[str, float]]:
    """Spearman with the human scores of Topical-Chat, next to trivial features."""
    rows = common.read_rows(data / "unieval/data/topical_chat.json")
    features = {
        "length": [float(len(row["system_output"].split())) for row in rows],
        "distinct_words": [float(len(set(row["system_output"].split()))) for row in rows],
        "type_token": [
            len(set(row["system_output"].split())) / max(1, len(row["system_output"].split()))
            for row in rows
        ],
        "overlap": [overlap(row["system_output"], row["source"]) for row in rows],
    }
    out: dict[str, dict[str, float]] = {}
    for question, form in QUESTIONS.items():
        texts = [form.format(response=row["system_output"], history=row["source"]) for row in rows]
        human = [row["scores"][question] for row in rows]
        found = {"model": spearmanr(score(model, tokenizer, texts), human)[0]}
        found |= {name: spearmanr(values, human)[0] for name, values in features.items()}
        out[question] = {name: round(float(value), 3) for name, value in found.items()}
    return out


def area(good: Sequence[float], bad: Sequence[float]) -> float:
    """Probability that a good text scores above a bad one."""
    return sum((g > b) + 0.5 * (g == b) for g in good for b in bad) / max(1, len(good) * len(bad))


def synthetic_quality(
    model: T5ForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    maker: Maker,
    seed: int,
    count: int,
) -> dict[str, dict[str, float]]:
    """By question and fault: probability that a held-out good turn scores above a faulty one."""
    rng = random.Random(seed)
    examples = maker.examples(rng, count // 2)
    values = score(model, tokenizer, [example.text for example in examples])
    groups: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in QUESTIONS}
    for example, value in zip(examples, values, strict=True):
        groups[example.question][example.fault].append(value)
    out: dict[str, dict[str, float]] = {}
    for question, by in groups.items():
        good = by.pop("none")
        out[question] = {"all": round(area(good, [v for vs in by.values() for v in vs]), 3)}
        out[question] |= {name: round(area(good, by[name]), 3) for name in sorted(by)}
    return out


def parse() -> argparse.Namespace:
    """Command line."""
    parser = common.base_parser(__doc__)
    parser.add_argument("--out", type=Path, default=common.ASSETS / "unieval")
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--vectors", type=Path, default=VECTORS, help="static word vectors")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--tokens", type=int, default=4096, help="tokens in a batch")
    parser.add_argument("--longest", type=int, default=256, help="tokens of a training example")
    parser.add_argument("--rate", type=float, default=7e-4, help="peak learning rate")
    parser.add_argument("--measure", action="store_true", help="only measure the exported folder")
    return parser.parse_args()


SOURCES = {
    "hh": ("HH-RLHF, harmless-base test split", "Anthropic/hh-rlhf", "MIT"),
    "oasst": (
        "OASST1 validation, English; other languages as faults",
        "OpenAssistant/oasst1",
        "Apache-2.0",
    ),
    "roleplay": ("GPTeacher roleplay", "teknium1/GPTeacher", "MIT"),
    "rasbt": ("Synthetic instruction data, 1,100", "rasbt/LLMs-from-scratch", "Apache-2.0"),
    "self": ("Self-Instruct seed and user-oriented tasks", "yizhongw/self-instruct", "Apache-2.0"),
    "dpo": ("DPO demonstration file, chosen answers", "hiyouga/LLaMA-Factory", "Apache-2.0"),
    "gsm8k": ("GSM8K train, part", "openai/grade-school-math", "MIT"),
    "vicuna": ("Answers to the Vicuna questions, three models", "lm-sys/FastChat", "Apache-2.0"),
    "mtbench": ("MT-Bench answers, one model", "lm-sys/FastChat", "Apache-2.0"),
    "t0_facts": (
        "T0 prompts: encyclopaedic passages, made into chats",
        "see training/README.md",
        "Apache-2.0",
    ),
    "t0_personal": (
        "T0 prompts: reviews and blogs, made into chats",
        "see training/README.md",
        "Apache-2.0",
    ),
}


def card(args: argparse.Namespace, found: dict[str, Any]) -> None:
    """The model card: what was done and what was measured."""
    counts = Maker(args.data, args.seed, development=False).counts()
    human = found["topical_chat"]
    names = list(next(iter(human.values())))
    rows = [(question, *values.values(), UNIEVAL[question]) for question, values in human.items()]
    every = sorted({fault for values in found["synthetic"].values() for fault in values})
    blank = "–"
    faulty = [
        (fault, *(found["synthetic"][question].get(fault, blank) for question in QUESTIONS))
        for fault in every
    ]
    missed = [
        f"{question}: {human[question]['model']:.3f}, aimed at {aim:.2f}"
        for question, aim in AIMS.items()
        if human[question]["model"] < aim
    ]
    beaten = [
        f"{question}: {name} alone reaches {value:.3f}"
        for question, values in human.items()
        for name, value in values.items()
        if name != "model" and abs(value) >= values["model"]
    ]
    common.write_card(
        args.out,
        title="Starter dialogue evaluator",
        purpose=(
            "A tiny T5 that answers UniEval's three dialogue questions with Yes or No at the first "
            "decoder step: the score is P(Yes) / (P(Yes) + P(No)). It stands behind `naturalness`, "
            "`coherence` and `understandability` in the starter profile, so that everything runs "
            "without a network. It is no replacement for `MingZhong/unieval-dialog` and its "
            "agreement with people is weak, below that of trivial features (see Missed). It sees "
            "English text that is broken: gibberish, other languages, loops, shuffled or missing "
            "words, truncation. It does not see that a fluent response belongs to another "
            "dialogue, and knows nothing of meaning, facts or taste. Training stopped while the "
            "loss was still falling. Text is lower-cased and contractions are joined before it is "
            "read, so capitals and tokenised style do not matter. Long and multi-turn histories "
            "work up to 1,024 tokens; training examples were cut at "
            f"{args.longest}."
        ),
        facts={
            "architecture": f"T5, width {args.width}, {args.layers} encoder layers, 1 of decoder",
            "parameters": f"{found['parameters']:,}",
            "vocabulary": f"{args.vocabulary:,}, byte-level BPE, lower-cased",
            "seed": args.seed,
            "steps": f"{args.steps:,}; the schedule was planned for 1,800 and re-planned after 600",
            "batch": f"up to {args.tokens:,} tokens",
            "initialised from": "random weights; embeddings from model2vec-bge-base-128 (MIT)",
            "weights": "float16 safetensors",
        },
        sources=[common.Source(*SOURCES[name], rows=count) for name, count in counts.items()],
        sections={
            "Examples": (
                "Good turns are real ones, and passages told in turns inside short conversational "
                "frames. Faulty ones are made from them with a seed (`training/corruptions.py`): "
                "words shuffled, dropped, repeated or replaced, loops, truncation, gibberish, "
                "other languages, babble of a word chain, generic replies; for coherence also "
                "turns of other dialogues, chosen for many shared words, and copies of the "
                "history. Mild faults have targets between 0 and 1. Every twentieth dialogue, by "
                "hash, is held out."
            ),
            "Agreement with people": (
                "Spearman with the human scores of Topical-Chat (360 responses), from the saved "
                "folder in single precision, next to trivial features of the response and to the "
                "published model. No training row and no setting comes from it; it was read once, "
                "after training.\n\n"
                + common.table(("question", *names, "UniEval (published)"), rows)
            ),
            "Synthetic faults, held-out dialogues": (
                "Probability that a good turn scores above a faulty one.\n\n"
                + common.table(("fault", *QUESTIONS), faulty)
            ),
            "Missed": "\n".join(f"- {line}" for line in missed + beaten) or "No aim was missed.",
        },
        tags=("t5", "unieval"),
    )


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Quality of the exported folder, loaded in single precision."""
    model = T5ForConditionalGeneration.from_pretrained(args.out, dtype=torch.float32)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(args.out)
    maker = Maker(args.data, args.seed, development=True)
    found = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "topical_chat": human_agreement(model, tokenizer, args.data),
        "synthetic": synthetic_quality(model, tokenizer, maker, args.seed + 1, 4000),
    }
    (args.scratch / "unieval").mkdir(parents=True, exist_ok=True)
    (args.scratch / "unieval/measured.json").write_text(
        json.dumps(found, indent=1) + "\n", encoding="utf-8"
    )
    return found


def take_step(
    model: T5ForConditionalGeneration, optimizer: torch.optim.Optimizer, rate: float
) -> None:
    """Clip the gradients, move the weights, forget the gradients."""
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def make_tokenizer(maker: Maker, args: argparse.Namespace) -> PreTrainedTokenizerFast:
    """The tokenizer of an earlier run, or a new one."""
    folder = args.scratch / "unieval/tokenizer"
    if folder.exists():
        return PreTrainedTokenizerFast.from_pretrained(folder)
    examples = maker.examples(random.Random(args.seed), 15000)
    texts = (example.text.replace("</s>", " ") + " Yes No" for example in examples)
    tokenizer = build_tokenizer(texts, args.vocabulary)
    tokenizer.save_pretrained(folder)
    return tokenizer


def train(args: argparse.Namespace) -> None:
    """Train, with a checkpoint every 100 steps to resume from."""
    path = args.scratch / "unieval/checkpoint.pt"
    maker = Maker(args.data, args.seed, development=False)
    print("rows", maker.counts(), flush=True)
    tokenizer = make_tokenizer(maker, args)
    yes, no = answer_ids(tokenizer)
    model = build_model(len(tokenizer), args)
    set_start(model, tokenizer, args.vectors)
    optimizer = optimizer_of(model)
    step, chunk = 0, 0
    if state := common.load_checkpoint(path):
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, chunk = state["step"], state["chunk"]
    began, losses = time.time(), []
    while step < args.steps:
        rng = random.Random(args.seed * 1000 + chunk)
        chunk += 1
        examples = maker.examples(rng, 3000)
        texts = [example.text for example in examples]
        encoded = tokenizer(texts, truncation=True, max_length=args.longest)["input_ids"]
        pairs = list(zip(encoded, (example.target for example in examples), strict=True))
        for ids, seen, target in batches(pairs, args.tokens, rng):
            if step >= args.steps:
                break
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = answer_loss(model, ids, seen, target, yes, no)
            loss.backward()
            take_step(model, optimizer, args.rate * common.cosine_lr(step, args.steps, 50, 0.02))
            step += 1
            losses.append(loss.item())
            if step % 50 == 0:
                mean, spent = sum(losses[-50:]) / len(losses[-50:]), time.time() - began
                print(f"step {step} loss {mean:.4f} after {spent:.0f} s", flush=True)
            if step % 100 == 0 or step == args.steps:
                keep = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                common.save_checkpoint(path, keep | {"step": step, "chunk": chunk})
            if step % 300 == 0 or step == args.steps:
                common.save_half(model, args.out)
                tokenizer.save_pretrained(args.out)


def main() -> None:
    """Train unless told only to measure, then measure the exported folder."""
    args = parse()
    common.set_up(args.seed, args.threads)
    if not args.measure:
        train(args)
    found = measure(args)
    card(args, found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
