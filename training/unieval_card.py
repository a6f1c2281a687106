"""The model card of the starter dialogue evaluator."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

import common
from unieval_examples import QUESTIONS
from unieval_turns import USED, bank

UNIEVAL = {"naturalness": 0.514, "coherence": 0.613, "understandability": 0.468}
AIMS = {"naturalness": 0.30, "coherence": 0.40, "understandability": 0.30}
PURPOSE = (
    "A tiny T5 that answers UniEval's three dialogue questions with Yes or No at the first decoder "
    "step: the score is P(Yes) / (P(Yes) + P(No)). It stands behind `naturalness`, `coherence` and "
    "`understandability` in the starter profile, so that everything runs without a network. It is "
    "no replacement for `MingZhong/unieval-dialog`: its agreement with people is weak, and for "
    "coherence below that of trivial features (see Missed). It sees English text that is broken: "
    "gibberish, other "
    "languages, loops, shuffled or repeated words, truncation, and what a small language model "
    "makes up. It hardly sees that a fluent response belongs to another dialogue, and knows "
    "nothing of meaning, facts or taste. "
    "Text is lower-cased and contractions are joined before it is read, so capitals and tokenised "
    "style do not matter. Long and multi-turn histories work up to 1,024 tokens; training examples "
    "were cut at 256."
)
EXAMPLES = (
    "Good turns are real ones, and passages told in turns inside short conversational frames. Each "
    "has a faulty twin with the same history: what the starter causal LM, tuned on the same turns, "
    "says there (greedily or with nucleus 0.3 to 0.9, some answers after the first words of the "
    "real turn); the turn with seeded damage (`training/corruptions.py`: words shuffled, dropped, "
    "repeated or replaced, loops, truncation, gibberish, other languages, babble of a word chain, "
    "generic replies); for coherence also turns of other dialogues, most of them picked for their "
    "likeness to the history, and copies of the history. Targets lie between 0 and 1: mild faults "
    "cost less, sampled answers cost more the longer they are, and the cosine of all-MiniLM-L6-v2 "
    "with the last turn says how well a turn of another dialogue fits. How good a clean or sampled "
    "response is, the reward model's linear teacher says (`training/reward_teacher.py`). "
    "Beside the answer the model learnt which words of a response are sound. Every "
    "twentieth dialogue, by hash, is held out."
)
TOPICAL_CHAT = (
    "With so few responses the standard error of a Spearman is about 0.05. No training row comes "
    "from this set. The values of the trivial features and of an earlier version of this model "
    "(0.248, 0.217 and 0.086 in the order below) were known when the examples were designed. The "
    "scores were then read for seven finished models of different examples and first weights; the "
    "other six reached 0.360, 0.270, 0.332, 0.337, 0.286 and 0.326, 0.286, 0.220, 0.265, 0.243, "
    "0.228 and 0.248, 0.043, 0.054, 0.121, 0.206, 0.276 and 0.226. The best on the first two "
    "questions is shipped, so that its values flatter it."
)
SOURCES = {
    "hh": ("HH-RLHF, harmless-base test split", "Anthropic/hh-rlhf", "MIT"),
    "oasst": (
        "OASST1 validation, English; other languages as faults too",
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
    "facts": (
        "T0 prompts: encyclopaedic passages, made into chats",
        "see training/README.md",
        "Apache-2.0",
    ),
    "personal": (
        "T0 prompts: reviews and blogs, made into chats",
        "see training/README.md",
        "Apache-2.0",
    ),
}


def card(args: argparse.Namespace, found: dict[str, Any]) -> None:
    """The model card: what was done and what was measured."""
    turns = [turn for turn in bank(args.data, args.seed, args.scratch / "unieval") if not turn.held]
    counts = Counter(turn.source for turn in turns)
    human = found["topical_chat"]
    names = list(next(iter(human.values())))
    rows = [(question, *values.values(), UNIEVAL[question]) for question, values in human.items()]
    every = sorted({fault for values in found["synthetic"].values() for fault in values})
    blank = "–"
    faulty = [
        (fault, *(found["synthetic"][question].get(fault, blank) for question in QUESTIONS))
        for fault in every
    ]
    development = [(name, *values.values()) for name, values in found["development"].items()]
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
        purpose=PURPOSE,
        facts={
            "architecture": f"T5, width {args.width}, {args.layers} encoder layers, 1 of decoder",
            "parameters": f"{found['parameters']:,}",
            "vocabulary": f"{args.vocabulary:,}, byte-level BPE, lower-cased",
            "seed": args.seed,
            "steps": f"{args.steps:,}",
            "batch": f"up to {args.tokens:,} tokens, an example at most {args.longest}",
            "initialised from": "random weights; embeddings from model2vec-bge-base-128 (MIT)",
            "sampled responses": "the starter causal LM, tuned on the same turns (Apache-2.0)",
            "fit of other turns": "cosines of all-MiniLM-L6-v2 (Apache-2.0)",
            "quality of responses": "the teacher of the reward model, whose card lists its rows",
            "weights": "float16 safetensors",
            "rows": (
                f"the T5 learnt from those of the turns below that are among the first {USED:,} in "
                "random order; the generator was tuned on about three fifths of them"
            ),
        },
        sources=[common.Source(*SOURCES[name], rows=count) for name, count in counts.items()],
        sections={
            "Examples": EXAMPLES,
            "Agreement with people": (
                "Spearman with the human scores of Topical-Chat (360 responses), from the saved "
                "folder in single precision, next to trivial features of the response and to the "
                f"published model. {TOPICAL_CHAT}\n\n"
                + common.table(("question", *names, "UniEval (published)"), rows)
                + "\n\nSpearman with people's naturalness of system utterances about restaurants "
                "(sfres, 1,181) and hotels (sfhot, 875), not trained on either.\n\n"
                + common.table(
                    ("set", *next(iter(found["development"].values()))),
                    development,
                )
            ),
            "Synthetic faults, held-out dialogues": (
                "Probability that a good turn scores above a faulty one. `sampled` rows are "
                "answers of the small language model, by nucleus.\n\n"
                + common.table(("fault", *QUESTIONS), faulty)
            ),
            "Missed": "\n".join(f"- {line}" for line in missed + beaten) or "No aim was missed.",
        },
        tags=("t5", "unieval"),
    )
