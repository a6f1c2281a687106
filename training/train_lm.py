"""Train the starter causal LM: a small Llama (or GPT-NeoX) on T0's passages.

The model stands behind `perplexity` and `ifd` in the starter profile and is the base model of
small fine-tuning experiments. It is trained on general text (prompts and targets of T0 rows as
running text) and on no instruction pool. Run again to continue; the finished folder is measured
as it was saved. Time: about 25 minutes on one idle CPU core.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import (
    ASSETS,
    T0_SOURCE,
    T0Split,
    base_parser,
    cap_passages,
    cosine_lr,
    folder_megabytes,
    load_checkpoint,
    read_rows,
    save_checkpoint,
    save_half,
    set_up,
    t0_split,
    t0_text,
    table,
    word_grams,
    write_card,
)
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

BOS, EOS, PAD = "<|bos|>", "<|eos|>", "<|pad|>"
WORDS = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = """{{ bos_token }}{% for message in messages %}\
{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}\
{% elif message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\\n\\n' }}\
{% elif message['role'] == 'assistant' %}{{ 'Assistant:' }}\
{% generation %}{{ ' ' + message['content'] + eos_token }}{% endgeneration %}{{ '\\n\\n' }}\
{% else %}{{ raise_exception('Unknown role: ' + message['role']) }}\
{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"""
STAGES = ((0.50, 256), (0.90, 512), (1.00, 1024))
"""Sequence length while the share of steps done is below the first number."""
MICRO_TOKENS = 2048
"""Tokens per forward pass: small enough for the caches of a CPU core."""


def main() -> None:
    """Train, save, measure."""
    args = parse()
    set_up(args.seed, args.threads)
    split = t0_split(args.data)
    rows = cap_passages(split.train, args.passage_cap, args.seed)
    tokenizer = train_tokenizer(rows, args)
    documents = [encode(tokenizer, t0_text(row)) for row in rows]
    tokens = sum(map(len, documents))
    print(f"{len(rows)} rows, {tokens} tokens an epoch, {len(split.held_out)} rows measured on")
    if not args.measure_only:
        seconds = train(tokenizer, documents, split, args)
        if seconds is None:
            return
    else:
        seconds = (load_checkpoint(args.scratch / "lm.pt") or {"seconds": 0.0})["seconds"]
    save_tokenizer(tokenizer, args.out)
    figures = measure(args.out, documents, unseen(split, rows), args)
    card(figures, rows, tokens, split, seconds, args)


def parse() -> argparse.Namespace:
    """Options; the defaults are the shipped model's."""
    parser = base_parser(__doc__)
    parser.add_argument("--out", type=Path, default=ASSETS / "lm")
    parser.add_argument("--architecture", choices=("llama", "gpt_neox"), default="llama")
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--heads", type=int, default=3)
    parser.add_argument("--mlp", type=int, default=512)
    parser.add_argument("--context", type=int, default=1024, help="tokens")
    parser.add_argument("--passage-cap", type=int, default=3, help="times an epoch per passage")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--lr", type=float, default=6e-3, help="peak, hidden matrices (Muon)")
    parser.add_argument("--lr-adamw", type=float, default=4e-3, help="peak, embeddings and norms")
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--warmup", type=int, default=60)
    parser.add_argument("--save-every", type=int, default=100)
    parser.add_argument("--stop-at", type=int, help="stop after this step (to try a setting out)")
    parser.add_argument("--measure-only", action="store_true", help="measure the saved folder")
    return parser.parse_args()


# ---------------------------------------------------------------------------- tokenizer


def train_tokenizer(rows: list[dict[str, Any]], args: argparse.Namespace) -> Any:  # noqa: ANN401
    """A byte-level BPE with single digits, BOS in front of every text, and a chat template."""
    if (args.out / "tokenizer.json").exists():
        return AutoTokenizer.from_pretrained(args.out)
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=args.vocabulary,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator((t0_text(row) for row in rows), trainer)
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A",
        pair=f"{BOS} $A {BOS} $B",
        special_tokens=[(BOS, bpe.token_to_id(BOS))],
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=args.context,
        padding_side="right",
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )
    save_tokenizer(tokenizer, args.out)
    return AutoTokenizer.from_pretrained(args.out)


def save_tokenizer(tokenizer: Any, folder: Path) -> None:  # noqa: ANN401
    """Save with the chat template inside `tokenizer_config.json`, readable by older versions."""
    tokenizer.save_pretrained(folder, save_jinja_files=False)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    for key in ("backend", "is_local", "local_files_only"):
        config.pop(key, None)
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def encode(tokenizer: Any, text: str) -> np.ndarray:  # noqa: ANN401
    """BOS, the text's tokens, EOS."""
    ids = tokenizer.backend_tokenizer.encode(text).ids
    return np.array([*ids, tokenizer.eos_token_id], dtype=np.uint16)


# ----------------------------------------------------------------------------- training


def build(args: argparse.Namespace, tokenizer: Any) -> PreTrainedModel:  # noqa: ANN401
    """The untrained model; both architectures have about as many parameters."""
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": args.width,
        "num_hidden_layers": args.layers,
        "num_attention_heads": args.heads,
        "max_position_embeddings": args.context,
        "tie_word_embeddings": True,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = (
        LlamaConfig(intermediate_size=args.mlp, **shape)
        if args.architecture == "llama"
        else GPTNeoXConfig(intermediate_size=args.mlp * 3 // 2, **shape)  # no gate: wider
    )
    return AutoModelForCausalLM.from_config(config)


def optimizers(model: PreTrainedModel, args: argparse.Namespace) -> list[torch.optim.Optimizer]:
    """Muon for the hidden matrices, AdamW for the embeddings and the norms."""
    hidden = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    embeddings = [p for n, p in model.named_parameters() if "embed" in n]
    norms = [p for p in model.parameters() if p.ndim == 1]
    groups = [
        {"params": embeddings, "weight_decay": args.weight_decay},
        {"params": norms, "weight_decay": 0.0},
    ]
    muon = torch.optim.Muon(
        hidden, lr=args.lr, weight_decay=args.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    return [muon, torch.optim.AdamW(groups, lr=args.lr_adamw, betas=(0.9, 0.95), eps=1e-10)]


def blocks(documents: list[np.ndarray], size: int, seed: int) -> Any:  # noqa: ANN401
    """Endless blocks of `size` + 1 tokens: documents in a new random order every epoch."""
    rest = np.zeros(0, dtype=np.uint16)
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(documents))
        stream = np.concatenate([rest, *(documents[i] for i in order)])
        whole = (len(stream) - 1) // size
        for index in range(whole):
            yield stream[index * size : (index + 1) * size + 1]
        rest = stream[whole * size :]


def train(
    tokenizer: Any,  # noqa: ANN401
    documents: list[np.ndarray],
    split: T0Split,
    args: argparse.Namespace,
) -> float | None:
    """Train to the last step, save the folder, and return the seconds it took over all runs."""
    path = args.scratch / "lm.pt"
    model = build(args, tokenizer)
    steppers = optimizers(model, args)
    step, seconds = 0, 0.0
    if state := load_checkpoint(path):
        model.load_state_dict(state["model"])
        for stepper, saved in zip(steppers, state["optimizers"], strict=True):
            stepper.load_state_dict(saved)
        torch.set_rng_state(state["rng"])
        step, seconds = state["step"], state["seconds"]
    held_out = [encode(tokenizer, t0_text(row))[: args.context] for row in split.held_out[::3]]
    source = blocks(documents, args.batch_tokens, args.seed)
    for _ in range(step):
        next(source)
    started, losses = time.perf_counter() - seconds, []
    model.train()
    while step < args.steps:
        length = next(length for share, length in STAGES if step < share * args.steps)
        losses.append(update(model, steppers, next(source), length, step, args))
        step += 1
        seconds = time.perf_counter() - started
        if step % 10 == 0:
            rate = step * args.batch_tokens / seconds
            print(f"{step} loss {np.mean(losses[-10:]):.4f} {rate:.0f} tokens/s", flush=True)
        if step % args.save_every == 0 or step == args.steps:
            keep = {"step": step, "seconds": seconds, "rng": torch.get_rng_state()}
            keep["model"] = model.state_dict()
            keep["optimizers"] = [stepper.state_dict() for stepper in steppers]
            save_checkpoint(path, keep)
            done = args.out if step == args.steps else args.scratch / "lm_partial"
            save_half(model, done)
            save_tokenizer(tokenizer, done)
            nats = np.concatenate(token_losses(model, held_out)).mean()
            print(f"{step} held-out nats/token {nats:.4f} after {seconds:.0f} s", flush=True)
            model.train()
        if step == args.stop_at:
            return None
    return seconds


def update(
    model: PreTrainedModel,
    steppers: list[torch.optim.Optimizer],
    block: np.ndarray,
    length: int,
    step: int,
    args: argparse.Namespace,
) -> float:
    """One step on one block of tokens; returns the loss."""
    ids = torch.from_numpy(block.astype(np.int64))
    total = 0.0
    for start in range(0, len(ids) - 1, MICRO_TOKENS):
        inputs = ids[:-1][start : start + MICRO_TOKENS].view(-1, length)
        labels = ids[1:][start : start + MICRO_TOKENS]
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=inputs, use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(
                logits.view(len(labels), -1), labels, reduction="sum"
            )
        loss = loss / (len(ids) - 1)
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    factor = cosine_lr(step, args.steps, args.warmup)
    for stepper, peak in zip(steppers, (args.lr, args.lr_adamw), strict=True):
        for group in stepper.param_groups:
            group["lr"] = peak * factor
        stepper.step()
        stepper.zero_grad(set_to_none=True)
    return total


# ---------------------------------------------------------------------------- measuring


@torch.inference_mode()
def token_losses(model: PreTrainedModel, texts: list[np.ndarray]) -> list[np.ndarray]:
    """Nats of every token after the first, per text. One text at a time, no padding."""
    model.eval()
    out = []
    for ids in texts:
        batch = torch.from_numpy(ids.astype(np.int64))[None]
        logits = model(input_ids=batch, use_cache=False).logits[0, :-1].float()
        losses = torch.nn.functional.cross_entropy(logits, batch[0, 1:], reduction="none")
        out.append(losses.numpy())
    return out


@dataclass
class Trigrams:
    """Interpolated Kneser-Ney trigrams over the same tokens, the baseline to beat.

    One discount per order, from the counts of counts (n1 / (n1 + 2 n2)).
    """

    vocabulary: int

    def fit(self, documents: list[np.ndarray]) -> Trigrams:
        """Count. Lower orders count distinct left contexts."""
        size = self.vocabulary
        grams: Counter[int] = Counter()
        for ids in documents:
            x = np.concatenate([[ids[0]], ids]).astype(np.int64)
            grams.update(((x[:-2] * size + x[1:-1]) * size + x[2:]).tolist())
        keys = np.fromiter(grams.keys(), np.int64, len(grams))
        three = dict(grams)
        two = Counter((keys % size**2).tolist())
        one = Counter((np.fromiter(two.keys(), np.int64, len(two)) % size).tolist())
        self.orders = [self.tables(counts) for counts in (one, two, three)]
        return self

    def tables(self, counts: dict[int, int]) -> tuple[dict, dict, dict, float]:
        """Counts, and per context their sum and their number, and the discount."""
        values = Counter(counts.values())
        discount = values[1] / (values[1] + 2 * values[2])
        total: Counter[int] = Counter()
        kinds: Counter[int] = Counter()
        for key, count in counts.items():
            total[key // self.vocabulary] += count
            kinds[key // self.vocabulary] += 1
        return counts, total, kinds, discount

    def losses(self, ids: np.ndarray) -> np.ndarray:
        """Nats of every token after the first."""
        size = self.vocabulary
        x = [int(i) for i in (ids[0], *ids)]
        out = []
        for place in range(2, len(x)):
            a, b, c = x[place - 2 : place + 1]
            p = 1 / size
            contexts = (0, b, a * size + b)
            for (counts, total, kinds, discount), context in zip(
                self.orders, contexts, strict=True
            ):
                if n := total.get(context, 0):
                    own = max(0.0, counts.get(context * size + c, 0) - discount)
                    p = own / n + discount * kinds[context] / n * p
            out.append(-math.log(p))
        return np.array(out)


def bits_per_byte(nats: list[np.ndarray], tokenizer: Any, texts: list[np.ndarray]) -> float:  # noqa: ANN401
    """Total bits of the tokens after BOS, over the UTF-8 bytes that these tokens stand for."""
    decode = tokenizer.backend_tokenizer.decode
    size = sum(len(decode(ids[1:].tolist()).encode("utf-8")) for ids in texts)
    return float(sum(n.sum() for n in nats)) / math.log(2) / size


def unseen(split: T0Split, trained: list[dict[str, Any]], share: float = 0.25) -> T0Split:
    """Leave out held-back rows whose passage still slipped through as "wording of the template".

    Those are rows with more than `share` of their 8-grams in the rows trained on: a few passages
    occur in so many rows of a template that `t0_split` takes them for its wording.
    """
    seen = set().union(*(word_grams(t0_text(row)) for row in trained))
    kept = []
    for row in split.held_out:
        grams = word_grams(t0_text(row))
        if len(grams & seen) <= share * len(grams):
            kept.append(row)
    print(f"measured on {len(kept)} of {len(split.held_out)} held-back rows")
    return replace(split, held_out=kept)


def measured_texts(data: Path, split: T0Split) -> dict[str, list[str]]:
    """Texts that training never saw: held-back T0 rows, and other files used only to measure."""
    texts = {"T0, held-back templates and passages": [t0_text(row) for row in split.held_out]}
    extra = {
        "C4 documents": ("train/c4_demo.jsonl", ("text",), 1),
        "Dolly responses": ("train/dolly_3k_alpagasus_selected.json", ("output",), 10),
        "Alpaca responses": ("train/alpaca_data.json", ("output",), 100),
    }
    for name, (file, fields, every) in extra.items():
        if (data / file).exists():
            rows = read_rows(data / file)[::every]
            texts[name] = [t for row in rows if (t := " ".join(row[f] for f in fields).strip())]
    return texts


def measure(
    folder: Path, documents: list[np.ndarray], split: T0Split, args: argparse.Namespace
) -> dict[str, Any]:
    """Load the saved folder in float32 and measure it next to the baselines."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    size = len(tokenizer)
    trigrams = Trigrams(size).fit(documents)
    counts = np.bincount(np.concatenate(documents), minlength=size) + 1.0
    unigram = -np.log(counts / counts.sum())
    rows = []
    for name, texts in measured_texts(args.data, split).items():
        ids = [encode(tokenizer, text)[:-1][: args.context] for text in texts]
        nats = token_losses(model, ids)
        tokens = int(sum(len(i) - 1 for i in ids))
        bits = [
            bits_per_byte(n, tokenizer, ids)
            for n in (nats, [trigrams.losses(i) for i in ids], [unigram[i[1:]] for i in ids])
        ]
        perplexity = math.exp(sum(n.sum() for n in nats) / tokens)
        rows.append((name, len(ids), tokens, *bits, perplexity))
        print(rows[-1], flush=True)
    figures = {"rows": rows, "parameters": sum(p.numel() for p in model.parameters())}
    seen = token_losses(model, [ids[: args.context] for ids in documents[:200]])
    figures["nats seen"] = sum(n.sum() for n in seen) / sum(map(len, seen))
    figures["follows"] = follows(model, tokenizer, args)
    print(figures["follows"], f"{folder_megabytes(folder):.2f} MB")
    return figures


def follows(model: PreTrainedModel, tokenizer: Any, args: argparse.Namespace) -> dict[str, float]:  # noqa: ANN401
    """How often a response is likelier after its own instruction than after another row's.

    Chance is 0.5. Uses Dolly rows (for measuring only) in the chat template.
    """
    path = args.data / "train/dolly_3k_alpagasus_selected.json"
    if not path.exists():
        return {}
    rows = [r for r in read_rows(path) if r["output"].strip() and not r["input"].strip()][:301]

    def response_loss(instruction: str, response: str) -> float:
        user = [{"role": "user", "content": instruction}]
        head = tokenizer.apply_chat_template(user, tokenize=False, add_generation_prompt=True)
        start = encode(tokenizer, head.removeprefix(BOS))[:-1]
        ids = np.concatenate([start, encode(tokenizer, " " + response)[1:-1]])[: args.context]
        return float(token_losses(model, [ids])[0][len(start) - 1 :].mean())

    own, other, alone = [], [], []
    for row, next_row in zip(rows, rows[1:], strict=False):
        response = row["output"].strip()
        own.append(response_loss(row["instruction"], response))
        other.append(response_loss(next_row["instruction"], response))
        alone.append(float(token_losses(model, [encode(tokenizer, response)[:-1]])[0].mean()))
    return {
        "pairs": len(own),
        "own beats other": float(np.mean(np.array(own) < np.array(other))),
        "mean nats own": float(np.mean(own)),
        "mean nats other": float(np.mean(other)),
        "mean nats alone": float(np.mean(alone)),
    }


def card(
    figures: dict[str, Any],
    rows: list[dict[str, Any]],
    tokens: int,
    split: T0Split,
    seconds: float,
    args: argparse.Namespace,
) -> None:
    """Write the model card from what was measured."""
    header = ("texts", "rows", "tokens", "this model, bits/byte", "3-gram", "1-gram", "ppl/token")
    quality = table(header, figures["rows"])
    quality += (
        "\n\nLower is better. Measured on the saved float16 files loaded in float32, BOS in front, "
        f"the first {args.context} tokens of each text. The baselines are an interpolated "
        "Kneser-Ney 3-gram and a 1-gram over the same tokens and the same training rows."
    )
    if f := figures["follows"]:
        quality += (
            f"\n\nOf {f['pairs']} Dolly responses, {f['own beats other']:.3f} are likelier after "
            "their own instruction than after the next row's (chance .5); mean loss per token "
            f"{f['mean nats own']:.3f} nats after the own instruction, {f['mean nats other']:.3f} "
            f"after another, {f['mean nats alone']:.3f} without any."
        )
    seen = args.steps * args.batch_tokens
    kind = "Llama" if args.architecture == "llama" else "GPT-NeoX"
    saved = 1 - figures["rows"][0][3] / figures["rows"][0][4]
    write_card(
        args.out,
        title="Starter causal LM",
        purpose=(
            f"A tiny {kind} that runs in milliseconds on a CPU. It stands behind `perplexity` and "
            "`ifd` in instructmine's starter profile and is the base model of small fine-tuning "
            "experiments. It is a plain language model, not an assistant: its texts are not "
            "facts and not advice. English only."
        ),
        facts={
            "architecture": f"{kind}, {args.layers} layers, width {args.width}, "
            f"{args.heads} heads, tied embeddings",
            "parameters": f"{figures['parameters']:,}",
            "tokenizer": f"byte-level BPE, {args.vocabulary:,} tokens, single digits; BOS is added "
            "in front of every text",
            "context": f"{args.context} tokens (trained at 256, then 512, then 1,024)",
            "seed": args.seed,
            "steps x tokens": f"{args.steps:,} x {args.batch_tokens:,} = {seen:,}",
            "training rows, tokens an epoch": f"{len(rows):,}; {tokens:,} "
            f"({seen / tokens:.1f} epochs)",
            "optimiser": f"Muon (lr {args.lr}) for hidden matrices, AdamW (lr {args.lr_adamw}) "
            f"for the rest, weight decay {args.weight_decay}, cosine to 0, "
            "bfloat16 autocast",
            "time": f"{seconds / 60:.0f} minutes on a shared CPU core",
            "command": f"`python training/train_lm.py --architecture {args.architecture}`",
        },
        sources=[
            replace(T0_SOURCE, rows=len(rows)),
        ],
        sections={
            "Measured": quality,
            "Chat template": (
                "Plain text tags, no special role tokens: `<|bos|>{system}\\n\\nUser: {user}\\n\\n"
                "Assistant: {answer}<|eos|>\\n\\n`. The generation prompt ends in `Assistant:` "
                "without a space, so that prompt tokens are a prefix of the whole. The model was "
                "not trained on this template: fine-tuning teaches it. The template writes BOS "
                "itself; do not add special tokens a second time when you tokenise its text."
            ),
            "Held back": (
                "Every tenth template by hash, whole; of each, 12 rows are measured on and every "
                f"training row sharing an 8-word passage with one was dropped "
                f"({split.passages_dropped:,} rows): `t0_split` in training/common.py. Of the "
                f"{len(split.held_out)} rows, {figures['rows'][0][1]} were measured on: the others "
                "have more than a quarter of their 8-word passages in the training rows, "
                "because `t0_split` took a common passage for the template's wording. "
                f"Templates held back ({len(split.held_templates)}): "
                + ", ".join(f"`{name}`" for name in split.held_templates)
                + ".\n\nThe other rows of these templates hold passages that training saw in "
                "other templates: their perplexity is too low. So is that of every other T0 row."
            ),
            "Missed": (
                f"- Undertrained: {seen / tokens:.1f} passes over the training rows, in which a "
                f"passage occurs up to {args.passage_cap} times. On held-back T0 it needs "
                f"{saved:.0%} fewer bits than the 3-gram.\n"
                f"- Knows its training rows too well: {figures['nats seen']:.2f} nats a token on "
                f"200 of them, {math.log(figures['rows'][0][6]):.2f} on held-back ones.\n"
                "- Knows little: the rows hold about 7 MB of distinct text. Facts, arithmetic and "
                "code are beyond it.\n"
                "- Texts longer than 1,024 tokens are outside what it was trained on.\n"
                "- Not measured: languages other than English, bias, toxicity. T0's passages are "
                "reviews, news, plots and encyclopaedia text, unfiltered.\n"
                "- T0's licence is that of the compilation. Five collections that forbid "
                "commercial use were left out; the others keep the terms of their sources.\n"
            ),
        },
        tags=("text-generation", args.architecture),
    )


if __name__ == "__main__":
    main()
