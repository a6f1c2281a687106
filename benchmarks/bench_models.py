"""Measure the indicators that read models against how other projects compute them.

Everything runs in one process on the given threads, in turns, and the fastest of `--rounds` CPU
times counts. Equal results are checked first: a comparison of different numbers means nothing.

    python benchmarks/bench_models.py --rows 300 --out bench_models.json

Baselines, restated from the projects' public code, given the same texts and models:
- Cherry_LLM: one text a pass, full logits, hidden states kept, the prefix tokenised again to
  find the response, and a loop over tokens for token-wise losses (as `--mod cherry` does).
- Superfiltering: the same without the loop over tokens.
- data-juicer: one text a pass, full logits, the response tokenised again to find its length.
- fixed batches: eight texts in file order, padded, full logits (as OpenDataArena does).
- bare passes: `model(ids)` over batches of equal length without padding, the same number of
  tokens: a bound that no way of batching can pass. Once with all logits, once with those of as
  many positions as the responses have.
- UniEval: eight inputs in file order per question, full logits, softmax over the vocabulary.
- reward loop: one text a pass through transformers.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

FILES = (  # a realistic mixture: short and long, plain and code
    "train/alpaca_data.json",
    "train/dolly_3k_alpagasus_selected.json",
    "train/lima_1029.json",
    "train/gpteacher_roleplay.json",
    "train/new_codealpaca.json",
)


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="data folder")
    parser.add_argument("--rows", type=int, default=300, help="examples, drawn evenly from files")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--rounds", type=int, default=3, help="the fastest round counts")
    parser.add_argument("--lm", default="starter:lm", help="causal LM")
    parser.add_argument("--unieval", default="starter:unieval", help="UniEval T5")
    parser.add_argument("--reward", default="starter:reward", help="reward classifier")
    parser.add_argument("--only", choices=("lm", "unieval", "reward"), help="one part")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    return parser.parse_args()


def read_examples(data: Path, rows: int) -> list[Any]:
    """Read single-turn examples, evenly from the files, in file order."""
    from instructmine.pool import Example

    examples = []
    for name in FILES:
        records = json.loads((data / name).read_text(encoding="utf-8"))
        records = [r for r in records if r["output"].strip()]
        share = rows // len(FILES)
        step = max(1, len(records) // share)
        for record in records[::step][:share]:
            prompt = record["instruction"]
            if record.get("input"):
                prompt = f"{prompt}\n{record['input']}"
            examples.append(Example.single(prompt, record["output"]))
    return examples


class Clock:
    """CPU seconds of several ways to do one thing, measured in turns."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds

    def measure(self, ways: dict[str, Callable[[], Any]]) -> dict[str, float]:
        """Return the fastest CPU seconds of each way."""
        best = dict.fromkeys(ways, float("inf"))
        for _ in range(self.rounds):
            for name, way in ways.items():
                start = time.process_time()
                way()
                best[name] = min(best[name], time.process_time() - start)
        return best


# ── language model ──────────────────────────────────────────────────────────────────────────


class Peers:
    """How other projects compute the losses; texts are given, boundaries they find themselves."""

    def __init__(self, model: Any, tokenizer: Any, limit: int) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.limit = limit

    def part_text(self, text: str, target: str, *, loop: bool) -> float:
        """Loss of `target` in `text`, as Cherry_LLM's function of nearly this name."""
        import torch

        log_softmax = torch.nn.LogSoftmax(dim=-1)
        nll_loss = torch.nn.NLLLoss(reduction="none")
        ids = self.tokenizer.encode(
            text, return_tensors="pt", truncation=True, max_length=self.limit
        )
        start = len(self.tokenizer.encode(text[: text.rfind(target)]))
        labels = ids.clone()
        labels[0, :start] = -100
        with torch.no_grad():
            output = self.model(ids, labels=labels, output_hidden_states=True)
        perplexity = torch.exp(output.loss)
        if loop:
            losses = []
            for i in range(1, ids.shape[1]):
                shares = log_softmax(output.logits[0, i - 1])
                loss = nll_loss(shares.unsqueeze(0), ids[0, i].unsqueeze(0))
                losses.append(loss.item())
        return float(perplexity.log())

    def cherry(self, texts: Sequence[tuple[str, str]], *, loop: bool) -> list[float]:
        """Conditioned losses; the unconditioned pass runs too."""
        losses = []
        for before, response in texts:
            self.part_text("### Response:" + response, response, loop=loop)
            losses.append(self.part_text(before + response, response, loop=loop))
        return losses

    def data_juicer(self, texts: Sequence[tuple[str, str]]) -> list[float]:
        """Conditioned losses; the unconditioned pass runs too."""
        import torch

        def loss(text: str, response: str) -> float:
            ids = self.tokenizer(text, max_length=self.limit, truncation=True, return_tensors="pt")[
                "input_ids"
            ]
            found = self.tokenizer(
                response, max_length=self.limit, truncation=True, return_tensors="pt"
            )["input_ids"][0]
            labels = ids.clone()
            labels[0, : -(len(found) - int(self.tokenizer.bos_token_id is not None))] = -100
            with torch.no_grad():
                return self.model(input_ids=ids, labels=labels).loss.item()

        found = []
        for before, response in texts:
            found.append(loss((before + response).strip(), response.strip()))
            loss(response.strip(), response.strip())
        return found

    def fixed_batches(self, spans: Sequence[Any], size: int = 8) -> list[float]:
        """Losses of given spans in batches of file order, all logits computed."""
        import torch

        losses = []
        for start in range(0, len(spans), size):
            part = spans[start : start + size]
            longest = max(len(span) for span in part)
            ids = torch.zeros((len(part), longest), dtype=torch.long)
            mask = torch.zeros_like(ids)
            for row, span in enumerate(part):
                ids[row, : len(span)] = torch.tensor(span.ids)
                mask[row, : len(span)] = 1
            with torch.no_grad():
                logits = self.model(input_ids=ids, attention_mask=mask).logits
            for row, span in enumerate(part):
                shares = logits[row, span.start - 1 : span.end - 1].log_softmax(-1)
                wanted = torch.tensor(span.response)
                losses.append(-shares[range(len(wanted)), wanted].mean().item())
        return losses

    def one_by_one(self, spans: Sequence[Any]) -> list[float]:
        """The yardstick for equality: transformers' own loss of each span, by itself."""
        import torch

        losses = []
        for span in spans:
            ids = torch.tensor([span.ids[: span.end]])
            labels = ids.clone()
            labels[:, : span.start] = -100
            with torch.no_grad():
                losses.append(self.model(input_ids=ids, labels=labels).loss.item())
        return losses

    def bare(self, tokens: int, width: int, budget: int, kept: float) -> None:
        """Plain passes over `tokens` tokens in full batches; `kept` is the share of logits."""
        import torch

        rows = max(1, budget // width)
        ids = torch.randint(5, 400, (rows, width))
        keep = 0 if kept == 1 else max(1, round(width * kept))
        with torch.no_grad():
            for _ in range(round(tokens / (rows * width))):
                self.model(input_ids=ids, use_cache=False, logits_to_keep=keep)


def bench_lm(options: argparse.Namespace, examples: Sequence[Any], clock: Clock) -> dict[str, Any]:
    """Perplexity and IFD."""
    import numpy as np
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from instructmine.contracts import Context
    from instructmine.modelref import ModelRef
    from instructmine.models.causal_lm import CausalLM, TokenSpan

    ref = ModelRef(options.lm)
    ours = CausalLM.load(ref, context=Context(device="cpu", threads=options.threads))
    tokenizer = AutoTokenizer.from_pretrained(ref.folder())
    plain = AutoModelForCausalLM.from_pretrained(ref.folder(), dtype="float32").eval()
    limit = ours.max_length or 2048
    peers = Peers(plain, tokenizer, limit)
    turns = [example.turns[-1] for example in examples]
    rendered = [ours.renderer.turn(turn.history, turn.response) for turn in turns]
    # A tokenizer that adds BOS by itself must not find one in the text.
    adds = tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]
    bos = tokenizer.bos_token or ""
    texts = [(t.before.removeprefix(bos) if adds else t.before, t.response) for t in rendered]

    found = ours.response_loss(turns, unconditioned=True)
    spans, _ = ours.spans(turns)
    alone = [TokenSpan([ours.start, *span.response], 1, len(span.response) + 1) for span in spans]
    difference = max(
        np.abs(found.conditioned - peers.one_by_one(spans)).max(),
        np.abs(found.unconditioned - peers.one_by_one(alone)).max(),
    )
    whole = np.array([not span.cut for span in spans])
    drift = {}
    for name, losses in (
        ("Cherry_LLM", peers.cherry(texts, loop=False)),
        ("data-juicer", peers.data_juicer(texts)),
    ):
        drift[name] = float((np.abs(found.conditioned - losses)[whole] > 1e-4).mean())
    lengths = np.array([len(span) for span in (*spans, *alone)])
    tokens, share = int(lengths.sum()), float(2 * found.tokens.sum() / lengths.sum())
    width = round(float((lengths**2).sum() / lengths.sum()))  # as a token sees it
    budget = ours.runner.budget
    seconds = clock.measure(
        {
            "instructmine": lambda: ours.response_loss(turns, unconditioned=True),
            "Cherry_LLM": lambda: peers.cherry(texts, loop=True),
            "Superfiltering": lambda: peers.cherry(texts, loop=False),
            "data-juicer": lambda: peers.data_juicer(texts),
            "fixed batches": lambda: peers.fixed_batches([*spans, *alone]),
            "bare passes, all logits": lambda: peers.bare(tokens, width, budget, 1),
            "bare passes, response logits": lambda: peers.bare(tokens, width, budget, share),
        }
    )
    return {
        "examples": len(turns),
        "tokens": tokens,
        "largest_difference": float(difference),
        "cut_texts": len(found.truncated),
        "other_boundary_share": drift,
        "padding_share": ours.runner.padding_share,
        "cpu_seconds": seconds,
    }


# ── UniEval and reward ──────────────────────────────────────────────────────────────────────


def unieval_scores(model: Any, tokenizer: Any, inputs: Sequence[str], size: int = 8) -> list[float]:
    """UniEval's scorer: batches in file order, all logits, softmax over the vocabulary."""
    import torch

    yes, no = (tokenizer(word)["input_ids"][0] for word in ("Yes", "No"))
    softmax = torch.nn.Softmax(dim=1)
    scores = []
    for start in range(0, len(inputs), size):
        part = list(inputs[start : start + size])
        with torch.no_grad():
            source = tokenizer(
                part, max_length=1024, truncation=True, padding=True, return_tensors="pt"
            )
            target = tokenizer(
                ["No"] * len(part), truncation=True, padding=True, return_tensors="pt"
            )
            output = model(
                input_ids=source["input_ids"],
                attention_mask=source["attention_mask"],
                labels=target["input_ids"][:, 0].unsqueeze(-1),
            )
            logits = output.logits.view(-1, model.config.vocab_size)
            positive, negative = softmax(logits)[:, yes], softmax(logits)[:, no]
        pairs = zip([x.item() for x in positive], [x.item() for x in negative], strict=True)
        scores += [a / (a + b) for a, b in pairs]
    return scores


def bench_unieval(
    options: argparse.Namespace, examples: Sequence[Any], clock: Clock
) -> dict[str, Any]:
    """The three questions of UniEval."""
    import numpy as np
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    from instructmine.contracts import Context
    from instructmine.indicators.unieval import QUESTIONS, question_text
    from instructmine.modelref import ModelRef
    from instructmine.models.seq2seq import YesNoModel

    ref = ModelRef(options.unieval)
    ours = YesNoModel.load(ref, context=Context(device="cpu", threads=options.threads))
    tokenizer = AutoTokenizer.from_pretrained(ref.folder())
    plain = AutoModelForSeq2SeqLM.from_pretrained(ref.folder(), dtype="float32").eval()
    turns = [example.turns[-1] for example in examples]
    texts = [question_text(name, turn) for name in QUESTIONS for turn in turns]
    inputs = [text.before + text.response + text.after for text in texts]

    def theirs() -> list[float]:
        found: list[float] = []
        for start in range(0, len(inputs), len(turns)):
            found += unieval_scores(plain, tokenizer, inputs[start : start + len(turns)])
        return found

    found = ours.answers(texts)
    whole = np.array([index not in found.truncated for index in range(len(texts))])
    difference = np.abs(found.values - theirs())[whole].max()
    seconds = clock.measure({"instructmine": lambda: ours.answers(texts), "UniEval": theirs})
    return {
        "examples": len(turns),
        "largest_difference": float(difference),
        "cut_texts": len(found.truncated),
        "padding_share": ours.runner.padding_share,
        "cpu_seconds": seconds,
    }


def bench_reward(
    options: argparse.Namespace, examples: Sequence[Any], clock: Clock
) -> dict[str, Any]:
    """Rewards of a one-logit classifier."""
    import numpy as np
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from instructmine.contracts import Context
    from instructmine.modelref import ModelRef
    from instructmine.models.reward import RewardModel

    ref = ModelRef(options.reward)
    ours = RewardModel.load(ref, context=Context(device="cpu", threads=options.threads))
    tokenizer = AutoTokenizer.from_pretrained(ref.folder())
    plain = AutoModelForSequenceClassification.from_pretrained(ref.folder(), dtype="float32").eval()
    turns = [example.turns[-1] for example in examples]

    def theirs() -> list[float]:
        rewards = []
        for turn in turns:
            messages = [{"role": m.role, "content": m.content} for m in turn.history]
            messages.append({"role": "assistant", "content": turn.response})
            ids = tokenizer.apply_chat_template(
                messages,
                return_tensors="pt",
                return_dict=True,
                truncation=True,
                max_length=ours.max_length,
            )
            with torch.no_grad():
                rewards.append(plain(**ids).logits[0][0].item())
        return rewards

    found = ours.rewards(turns)
    whole = np.array([index not in found.truncated for index in range(len(turns))])
    difference = np.abs(found.values - theirs())[whole].max()
    seconds = clock.measure({"instructmine": lambda: ours.rewards(turns), "reward loop": theirs})
    return {
        "examples": len(turns),
        "largest_difference": float(difference),
        "cut_texts": len(found.truncated),
        "padding_share": ours.runner.padding_share,
        "cpu_seconds": seconds,
    }


PARTS = {"lm": bench_lm, "unieval": bench_unieval, "reward": bench_reward}
TITLES = {"lm": "perplexity and ifd", "unieval": "three UniEval questions", "reward": "reward"}


def show(name: str, result: dict[str, Any]) -> None:
    """Print one part as a table: how many times faster ours is than each."""
    seconds = result["cpu_seconds"]
    ours = seconds["instructmine"]
    print(f"\n{TITLES[name]}: {result['examples']} examples, padding {result['padding_share']:.1%}")
    print(f"  largest difference from one text at a time: {result['largest_difference']:.1e}")
    for peer, share in result.get("other_boundary_share", {}).items():
        print(f"  {peer} finds another boundary in {share:.1%} of texts")
    print(f"  {'way':<30}{'CPU s':>9}{'examples/s':>12}{'ratio':>8}")
    for way, spent in seconds.items():
        print(f"  {way:<30}{spent:>9.2f}{result['examples'] / spent:>12.1f}{spent / ours:>8.2f}")


def main() -> int:
    """Run the parts and return 1 where results differ."""
    options = parse()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the same threads for all
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    examples = read_examples(options.data, options.rows)
    clock = Clock(options.rounds)
    results: dict[str, Any] = {}
    for name, part in PARTS.items():
        if options.only in (None, name):
            results[name] = part(options, examples, clock)
            show(name, results[name])
    if options.out:
        about = {
            "rows": len(examples),
            "threads": options.threads,
            "rounds": options.rounds,
            "models": {name: getattr(options, name) for name in results},
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
        options.out.write_text(json.dumps({**about, **results}, indent=1) + "\n")
    different = [name for name, r in results.items() if not r["largest_difference"] <= 1e-5]
    if different:
        print(f"results differ by more than 1e-5: {', '.join(different)}", file=sys.stderr)
    return int(bool(different))


if __name__ == "__main__":
    raise SystemExit(main())
