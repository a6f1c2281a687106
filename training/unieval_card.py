"""Measure the starter dialogue evaluator and write its model card.

It alone reads the human scores of Topical-Chat, which nothing is trained on.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import common
import torch
from scipy.stats import spearmanr
from train_coherence import STAGES
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration
from unieval_examples import QUESTIONS
from unieval_model import score
from unieval_quality import area, human_agreement, measure
from unieval_related import REAL, Related
from unieval_turns import USED, bank

UNIEVAL = {"naturalness": 0.514, "coherence": 0.613, "understandability": 0.468}
AIMS = {"naturalness": 0.30, "coherence": 0.40, "understandability": 0.30}
PURPOSE = (
    "A tiny T5 that answers UniEval's three dialogue questions with Yes or No at the first decoder "
    "step: the score is P(Yes) / (P(Yes) + P(No)). It stands behind `naturalness`, `coherence` and "
    "`understandability` in the starter profile, so that everything runs without a network. It is "
    "no replacement for `MingZhong/unieval-dialog`: its agreement with people is weak. It sees "
    "English text that is broken (gibberish, other languages, loops, shuffled or repeated words, "
    "truncation, what a small language model makes up), and whether the words of a response have "
    "to do with those of the last turn. It takes a response that merely repeats the history for a "
    "coherent one, and knows nothing of facts or taste. "
    "Text is lower-cased and contractions are joined before it is read, so capitals and tokenised "
    "style do not matter. Long and multi-turn histories work up to 1,024 tokens; training examples "
    "were cut at 384."
)
EXAMPLES = (
    "Turns are real ones, and passages told in turns inside short conversational frames. What is "
    "wrong inside a response an earlier model learnt (`training/train_unieval.py`), whose answers "
    "are the targets of the first two questions: from the turns, each with a faulty twin, which is "
    "what the starter causal LM, tuned on the same turns, says there (greedily or with nucleus 0.3 "
    "to 0.9, some answers after the first words of the real turn) or the turn with seeded damage "
    "(`training/corruptions.py`: words shuffled, dropped, repeated or replaced, loops, truncation, "
    "gibberish, other languages, babble of a word chain, generic replies). There mild faults cost "
    "less, sampled answers cost more the longer they are, and how good a clean or sampled response "
    "is, the reward model's linear teacher says (`training/reward_teacher.py`). For coherence any "
    "two responses to the same history are shown: its own, one of another dialogue, the nearest of "
    "several, the small LM's, or a damaged one. The target is the probability that such a pair "
    "belongs together, by the cosine of all-MiniLM-L6-v2 with the last turn, less what the "
    "response lacks in naturalness, by the earlier model, to the lower quarter of real ones. Every "
    "twentieth dialogue, by hash, is held out."
)
TOPICAL_CHAT = (
    "With so few responses the standard error of a Spearman is about 0.05. No training row comes "
    "from this set. The values of the trivial features and of an earlier version of this model "
    "(0.248, 0.217 and 0.086 in the order below) were known when the examples were designed. The "
    "scores were then read for eight finished models of different examples and first weights; the "
    "other seven reached 0.375, 0.360, 0.270, 0.332, 0.337, 0.286 and 0.326, 0.320, 0.286, 0.220, "
    "0.265, 0.243, 0.228 and 0.248, 0.184, 0.043, 0.054, 0.121, 0.206, 0.276 and 0.226. The last "
    "one read is shipped: it alone is above every trivial feature on all three questions, by less "
    "than a standard error each, so that its values flatter it."
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


def main() -> None:
    """Measure the folder on all sets and write its card."""
    parser = common.base_parser(__doc__)
    parser.add_argument("--out", type=Path, default=common.ASSETS / "unieval", help="the model")
    args = parser.parse_args()
    common.set_up(args.seed, args.threads)
    model = T5ForConditionalGeneration.from_pretrained(args.out, dtype=torch.float32)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(args.out)
    found = measure(args.out, args)
    found["topical_chat"] = human_agreement(model, tokenizer, args.data)
    found["belongs"] = agreement_with_teacher(model, tokenizer, args)
    print(json.dumps(found, indent=1))
    card(args, model.config, found)


def agreement_with_teacher(
    model: T5ForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    args: argparse.Namespace,
) -> dict[str, float]:
    """How far the answers on coherence follow the teacher's, on held-out dialogues."""
    related = Related(args.data, args.seed, args.scratch / "unieval", development=True)
    rows = related.real_pairs(random.Random(args.seed + 2), 1000)
    values = score(model, tokenizer, [row.text for row in rows])
    by = {
        kind: [v for v, row in zip(values, rows, strict=True) if row.fault == kind] for kind in REAL
    }
    return {
        "teacher": round(float(spearmanr(values, [row.target for row in rows])[0]), 3),
        "other": round(area(by["own"], by["other"]), 3),
        "like": round(area(by["own"], by["like"]), 3),
    }


def card(args: argparse.Namespace, config: T5Config, found: dict[str, Any]) -> None:
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
            "architecture": (
                f"T5, width {config.d_model}, {config.num_layers} encoder layers, 1 of decoder"
            ),
            "parameters": f"{found['parameters']:,}",
            "vocabulary": f"{config.vocab_size:,}, byte-level BPE, lower-cased",
            "seed": args.seed,
            "steps": (
                f"{STAGES[0].steps:,} on what belongs together, then {STAGES[1].steps:,} on all "
                "questions; the earlier model 2,600"
            ),
            "batch": "up to 4,096 tokens, an example at most 384 (the earlier model: 256)",
            "initialised from": (
                "weights that compare (`training/unieval_comparison.py`); embeddings from "
                "model2vec-bge-base-128 (MIT)"
            ),
            "sampled responses": "the starter causal LM, tuned on the same turns (Apache-2.0)",
            "fit of other turns": "cosines of all-MiniLM-L6-v2 (Apache-2.0)",
            "quality of responses": "the teacher of the reward model, whose card lists its rows",
            "weights": "float16 safetensors",
            "rows": (
                "what belongs together was learnt from all of the turns below, the rest from those "
                f"among the first {USED:,} in random order; the generator was tuned on about three "
                "fifths of them"
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
                + "\n\nCoherence of real responses alone, on held-out dialogues: Spearman with "
                f"all-MiniLM-L6-v2's cosine {found['belongs']['teacher']:.3f}; the real response "
                f"above one of another dialogue {found['belongs']['other']:.3f}, above the nearest "
                f"of 4 to 40 {found['belongs']['like']:.3f}."
            ),
            "Missed": "\n".join(f"- {line}" for line in missed + beaten) or "No aim was missed.",
        },
        tags=("t5", "unieval"),
    )


if __name__ == "__main__":
    main()
