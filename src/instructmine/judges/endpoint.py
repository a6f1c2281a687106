"""A model behind any OpenAI-compatible `/chat/completions` as the judge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from instructmine.chat_endpoint import MESSAGE_TOKENS, Chat, ChatClient, Reply, UnansweredError
from instructmine.contracts import Context, Judge, execution
from instructmine.judge_prompt import JudgePrompt, load_prompt, read_reply
from instructmine.spending import Meter, estimated_tokens
from instructmine.verdicts import LIMITED, UNANSWERED, Question, Usage, Verdict

TYPICAL_REPLY = 120  # tokens of a verdict with its reasons, for estimates


@dataclass(frozen=True, kw_only=True)
class Endpoint(Judge):
    """Asks a chat server. The key comes from OPENAI_API_KEY and is kept nowhere.

    model: its name on the server. base_url: default OPENAI_BASE_URL, else OpenAI's. prompt:
    `default` or a TOML file. The server's address is no identity: the same model behind another
    address is the same judge.
    """

    version = 1

    model: str = ""
    prompt: str = "default"
    temperature: float | None = 0.0
    max_tokens: int = 1024
    base_url: str | None = execution(None)
    concurrency: int = execution(8)
    timeout: float = execution(120.0)
    attempts: int = execution(6)
    token_field: str = execution("max_tokens")

    def __post_init__(self) -> None:
        """Refuse an address that cannot be. Raises UsageError."""
        if self.base_url is not None:
            Chat(model=self.model, base_url=self.base_url).url()

    def identity(self) -> dict[str, Any]:
        """The fields, with the prompt's version and digest for its name."""
        return {**super().identity(), "prompt": load_prompt(self.prompt).identity()}

    def estimate(self, question: Question) -> Usage:
        """Estimate one question's usage from the text to be sent."""
        sent = load_prompt(self.prompt).messages(question)
        tokens = sum(estimated_tokens(m.content) + MESSAGE_TOKENS for m in sent)
        return Usage(1, tokens, min(TYPICAL_REPLY, self.max_tokens))

    def open(self, context: Context, meter: Meter) -> _EndpointJudging:
        """Make the client; nothing is sent yet."""
        chat = Chat(
            model=self.model, base_url=self.base_url, temperature=self.temperature,
            max_tokens=self.max_tokens, concurrency=self.concurrency, timeout=self.timeout,
            attempts=self.attempts, token_field=self.token_field,
        )  # fmt: skip
        return _EndpointJudging(ChatClient(chat, meter, "judge"), load_prompt(self.prompt))


class _EndpointJudging:
    def __init__(self, client: ChatClient, prompt: JudgePrompt) -> None:
        self.client = client
        self.prompt = prompt

    def judge(self, questions: Sequence[Question]) -> Iterator[tuple[int, Verdict]]:
        for index, found in self.client.each(len(questions), lambda i: self._one(questions[i])):
            if isinstance(found, UnansweredError):
                yield index, Verdict(problem=UNANSWERED, text=str(found), usage=found.usage)
            else:
                yield index, found

    def _one(self, question: Question) -> Verdict | None:
        reply = self.client.ask(self.prompt.messages(question))
        if reply is None:
            return None
        verdict = _verdict(question, reply)
        if verdict.problem != "malformed":
            return verdict
        try:
            more = self.client.ask(self.prompt.again(question, reply.text))
        except UnansweredError as error:
            raise UnansweredError(str(error), reply.usage + error.usage) from None
        if more is None:  # the question is asked anew when the limit is raised
            return Verdict(problem=LIMITED, usage=reply.usage)
        second = _verdict(question, more)
        text = f"{reply.text}\n\n[asked again]\n\n{more.text}"
        usage = verdict.usage + second.usage
        return Verdict(**{**vars(second), "text": text, "usage": usage})


def _verdict(question: Question, reply: Reply) -> Verdict:
    said = {"text": reply.text, "served": reply.served, "usage": reply.usage}
    if reply.refused:
        return Verdict(problem="refused", **said)
    if reply.too_long:
        return Verdict(problem="too long", **said)
    if reply.cut:  # its last line is not its last word
        return Verdict(problem="malformed", **said)
    read = read_reply(question, reply.text)
    return Verdict(read.outcome, read.grade, read.problem, **said)
