"""How other projects compute what our model indicators compute, restated from their public code.

Each is given the same texts and the same model. None is weakened: what costs time here costs
time there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


class LanguageModelPeers:
    """Losses of responses, as other projects compute them; they find boundaries themselves."""

    def __init__(self, model: Any, tokenizer: Any, limit: int) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.limit = limit

    def cherry(self, texts: Sequence[tuple[str, str]], *, loop: bool = True) -> list[float]:
        """Cherry_LLM (`data_analysis.py --mod cherry`), both passes; returns the conditioned one.

        loop: its loop over tokens for token-wise losses, which Superfiltering left out.
        """
        losses = []
        for before, response in texts:
            self._part_text("### Response:" + response, response, loop)
            losses.append(self._part_text(before + response, response, loop))
        return losses

    def _part_text(self, text: str, target: str, loop: bool) -> float:
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

    def data_juicer(self, texts: Sequence[tuple[str, str]]) -> list[float]:
        """data-juicer (`llm_perplexity_filter`, its IFD filter), both passes."""
        losses = []
        for before, response in texts:
            losses.append(self._loss((before + response).strip(), response.strip()))
            self._loss(response.strip(), response.strip())
        return losses

    def _loss(self, text: str, response: str) -> float:
        limits = {"max_length": self.limit, "truncation": True, "return_tensors": "pt"}
        ids = self.tokenizer(text, **limits)["input_ids"]
        found = self.tokenizer(response, **limits)["input_ids"][0]
        labels = ids.clone()
        labels[0, : -(len(found) - int(self.tokenizer.bos_token_id is not None))] = -100
        with torch.no_grad():
            return float(self.model(input_ids=ids, labels=labels).loss.item())

    def fixed_batches(self, spans: Sequence[Any], size: int = 8) -> list[float]:
        """Batches of eight in file order, padded, all logits, as OpenDataArena does."""
        losses = []
        for start in range(0, len(spans), size):
            part = spans[start : start + size]
            longest = max(len(span) for span in part)
            ids = torch.zeros((len(part), longest), dtype=torch.long)
            mask = torch.zeros_like(ids)
            for row, span in enumerate(part):
                ids[row, : len(span)] = torch.tensor(span.ids)
                mask[row, : len(span)] = 1
            labels = ids.clone()
            for row, span in enumerate(part):
                labels[row, : span.start] = -100
                labels[row, span.end :] = -100
            with torch.no_grad():
                logits = self.model(input_ids=ids, attention_mask=mask).logits
            wanted = labels[:, 1:]
            loss = torch.nn.functional.cross_entropy(
                logits[:, :-1].reshape(-1, logits.shape[-1]), wanted.reshape(-1), reduction="none"
            ).view_as(wanted)
            losses += (loss.sum(1) / (wanted != -100).sum(1)).tolist()
        return losses

    def one_by_one(self, spans: Sequence[Any]) -> list[float]:
        """The yardstick of equality: transformers' own loss of each span by itself."""
        losses = []
        for span in spans:
            ids = torch.tensor([span.ids[: span.end]])
            labels = ids.clone()
            labels[:, : span.start] = -100
            with torch.no_grad():
                losses.append(float(self.model(input_ids=ids, labels=labels).loss.item()))
        return losses

    def bare(self, tokens: int, width: int, budget: int, kept: float = 1) -> None:
        """Plain passes over `tokens` tokens in full batches; `kept`: share of logits computed."""
        rows = max(1, budget // width)
        ids = torch.randint(5, self.model.config.vocab_size, (rows, width))
        keep = 0 if kept == 1 else max(1, round(width * kept))
        with torch.no_grad():
            for _ in range(round(tokens / (rows * width))):
                self.model(input_ids=ids, use_cache=False, logits_to_keep=keep)


def unieval(model: Any, tokenizer: Any, inputs: Sequence[str], size: int = 8) -> list[float]:
    """UniEval's scorer: eight inputs in file order, all logits, softmax over the vocabulary."""
    yes, no = (tokenizer(word)["input_ids"][0] for word in ("Yes", "No"))
    softmax = torch.nn.Softmax(dim=1)
    limits = {"max_length": 1024, "truncation": True, "padding": True, "return_tensors": "pt"}
    scores: list[float] = []
    for start in range(0, len(inputs), size):
        part = list(inputs[start : start + size])
        with torch.no_grad():
            source = tokenizer(part, **limits)
            target = tokenizer(["No"] * len(part), **limits)
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


def rewards(model: Any, tokenizer: Any, turns: Sequence[Any], limit: int | None) -> list[float]:
    """One conversation at a time through the chat template and the classifier."""
    found = []
    for turn in turns:
        messages = [{"role": m.role, "content": m.content} for m in turn.history]
        messages.append({"role": "assistant", "content": turn.response})
        ids = tokenizer.apply_chat_template(
            messages, return_tensors="pt", return_dict=True, truncation=True, max_length=limit
        )
        with torch.no_grad():
            found.append(float(model(**ids).logits[0][0].item()))
    return found
