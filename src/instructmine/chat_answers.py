"""Answers of a model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from instructmine.chat_endpoint import MESSAGE_TOKENS, Chat, ChatClient, Reply, UnansweredError
from instructmine.contracts import Answerer, Context, execution
from instructmine.pool import Message
from instructmine.sampling import Sampling
from instructmine.spending import Meter, estimated_tokens
from instructmine.verdicts import UNANSWERED, Answer, Usage


@dataclass(frozen=True, kw_only=True)
class EndpointAnswerer(Answerer):
    """Asks a chat server. The key comes from OPENAI_API_KEY and is kept nowhere."""

    version = 1

    model: str
    sampling: Sampling = field(default_factory=Sampling)
    base_url: str | None = execution(None)
    concurrency: int = execution(8)
    timeout: float = execution(120.0)
    attempts: int = execution(6)

    def estimate(self, history: Sequence[Message]) -> Usage:
        """Estimate one answer's usage, as long as it may be."""
        tokens = sum(estimated_tokens(one.content) + MESSAGE_TOKENS for one in history)
        return Usage(1, tokens, self.sampling.max_new_tokens)

    def open(self, context: Context, meter: Meter) -> _EndpointAnswering:
        """Make the client; nothing is sent yet."""
        drawn: dict[str, Any] = {}
        if self.sampling.temperature:
            drawn = {"top_p": self.sampling.top_p, "seed": self.sampling.seed}
        chat = Chat(
            model=self.model, base_url=self.base_url, temperature=self.sampling.temperature,
            max_tokens=self.sampling.max_new_tokens, concurrency=self.concurrency,
            timeout=self.timeout, attempts=self.attempts, **drawn,
        )  # fmt: skip
        return _EndpointAnswering(ChatClient(chat, meter, "model"))


class _EndpointAnswering:
    def __init__(self, client: ChatClient) -> None:
        self.client = client

    def answer(self, histories: Sequence[tuple[Message, ...]]) -> Iterator[tuple[int, Answer]]:
        found = self.client.each(len(histories), lambda i: self.client.ask(histories[i]))
        for index, reply in found:
            yield index, _answer(reply)


def _answer(reply: Reply | UnansweredError) -> Answer:
    if isinstance(reply, UnansweredError):
        return Answer("", problem=f"{UNANSWERED}: {reply}", usage=reply.usage)
    if reply.refused:
        return Answer("", problem="the model's server refuses to answer", usage=reply.usage)
    if reply.too_long:
        return Answer("", problem="its prompt is longer than the model reads", usage=reply.usage)
    finish = "length" if reply.cut else "stop"
    text, tokens = reply.text.strip(), reply.usage.tokens_out
    return Answer(text, tokens=tokens, finish=finish, usage=reply.usage)
