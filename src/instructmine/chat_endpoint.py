"""A client for servers that speak OpenAI's `/chat/completions`, many requests at a time.

The key is read from OPENAI_API_KEY when the client is made, sent in one header, and is nowhere
else: no file, no log, no message. What passes (429, 5xx, resets, time-outs, garbled replies) is
tried again with growing, jittered pauses; what does not pass is one line.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from instructmine.errors import MissingExtraError, ModelError, UsageError
from instructmine.pool import Message
from instructmine.spending import Meter, estimated_tokens
from instructmine.verdicts import Usage

OPENAI = "https://api.openai.com/v1"
LONGEST_WAIT = 300.0  # seconds that a server may ask for before we give up
MESSAGE_TOKENS = 8  # of roles and separators, per message, where we must estimate
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0

Found = TypeVar("Found")


@dataclass(frozen=True)
class Reply:
    """What a server answered. refused: it would not; cut: its limit ended it; too_long: asked."""

    text: str = ""
    refused: bool = False
    cut: bool = False
    too_long: bool = False
    served: str = ""
    usage: Usage = field(default_factory=Usage)


class UnansweredError(Exception):
    """Every attempt of one request failed with something that might pass; usage: of all."""

    def __init__(self, why: str, usage: Usage) -> None:
        super().__init__(why)
        self.usage = usage


class _PassingError(Exception):
    """One attempt failed with something that might pass; `after` seconds if the server says so."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


@dataclass(frozen=True)
class Chat:
    """Where to ask, whom, and how: an inert description. None leaves a setting to the server.

    attempts: of one request. token_field: what the server calls its limit of new tokens; some
    know `max_completion_tokens` alone.
    """

    model: str
    base_url: str | None = None
    temperature: float | None = 0.0
    top_p: float | None = None
    seed: int | None = None
    max_tokens: int = 1024
    concurrency: int = 8
    timeout: float = 120.0
    attempts: int = 6
    token_field: str = "max_tokens"

    def url(self) -> str:
        """Return the address to post to. Raises UsageError for one that cannot be."""
        base = self.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI
        scheme, _, rest = base.partition("://")
        if scheme not in ("http", "https") or not rest:
            raise UsageError(f"'{base.rpartition('@')[2]}' is no base URL; write http://HOST/v1")
        if "@" in rest.partition("/")[0]:
            raise UsageError("the base URL holds a password; put the key into OPENAI_API_KEY")
        return base.rstrip("/") + "/chat/completions"


class ChatClient:
    """Sends requests of one `Chat`; safe to use from several threads."""

    def __init__(self, chat: Chat, meter: Meter, purpose: str) -> None:
        """Check the address and the key; nothing is sent yet.

        purpose: what it serves as ("judge"), for messages. Raises UsageError, MissingExtraError.
        """
        try:
            import httpx
            import tenacity
        except ImportError as error:
            raise MissingExtraError(
                error.name or "httpx", "judge", f"the {purpose} endpoint"
            ) from error
        if not chat.model:
            how = {"judge": "--judge-model NAME or --set endpoint.model=NAME"}
            raise UsageError(
                f"name the model of the {purpose} endpoint: {how.get(purpose, 'endpoint:NAME')}"
            )
        self.chat, self.meter, self.purpose = chat, meter, purpose
        self.url = chat.url()
        self._key = os.environ.get("OPENAI_API_KEY", "").strip()
        if not self._key and self.url.startswith(OPENAI):
            raise UsageError(
                f"the {purpose} endpoint {OPENAI} needs a key: set OPENAI_API_KEY, or name another "
                "server with OPENAI_BASE_URL"
            )
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        try:
            self._http = httpx.Client(
                headers=headers,
                timeout=httpx.Timeout(chat.timeout, connect=min(30.0, chat.timeout)),
                limits=httpx.Limits(
                    max_connections=chat.concurrency, max_keepalive_connections=chat.concurrency
                ),
            )
        except (ValueError, UnicodeError):  # its message would show the header
            raise UsageError("OPENAI_API_KEY holds characters that no key has; set it anew") from (
                None
            )
        self._stopped = threading.Event()
        self._hold_until = 0.0
        self._reached = False
        self._hopeless = False  # no request can succeed, so none is begun
        self._pause = tenacity.wait_random_exponential(_FIRST_PAUSE, _LONGEST_PAUSE)
        self._tenacity = tenacity

    # ── one request ─────────────────────────────────────────────────────────────────────────

    def ask(self, messages: Sequence[Message]) -> Reply | None:
        """Return the reply, or None where the meter lets no request pass.

        Raises UnansweredError where no attempt succeeded, ModelError or UsageError for what no
        further attempt can mend.
        """
        body = self._body(messages)
        text_tokens = sum(estimated_tokens(m.content) + MESSAGE_TOKENS for m in messages)
        estimate = Usage(1, text_tokens, self.chat.max_tokens)
        attempts = 0
        retrying = self._tenacity.Retrying(
            stop=self._tenacity.stop_after_attempt(self.chat.attempts),
            retry=self._tenacity.retry_if_exception_type(_PassingError),
            wait=self._wait,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            for attempt in retrying:
                with attempt:
                    self._sleep(self._hold_until - time.monotonic())
                    if self._stopped.is_set() or self._hopeless or not self.meter.reserve(estimate):
                        return None
                    attempts += 1
                    took = Usage(1)
                    try:
                        reply = self._send(body, text_tokens)
                        took = reply.usage
                    finally:
                        self.meter.settle(estimate, took)
        except _PassingError as error:
            raise UnansweredError(f"{error}, {attempts} times", Usage(attempts)) from None
        except ModelError:
            self._hopeless = True
            raise
        earlier = Usage(attempts - 1)
        return Reply(**{**vars(reply), "usage": reply.usage + earlier})

    def _body(self, messages: Sequence[Message]) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.chat.model,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            self.chat.token_field: self.chat.max_tokens,
        }
        for name in ("temperature", "top_p", "seed"):
            if (value := getattr(self.chat, name)) is not None:
                body[name] = value
        return body

    def _send(self, body: Mapping[str, Any], text_tokens: int) -> Reply:
        import httpx

        try:
            response = self._http.post(self.url, json=body)
        except httpx.TimeoutException as error:
            raise _PassingError(f"no answer within {self.chat.timeout:g} s") from error
        except httpx.ConnectError as error:
            if not self._reached:  # nobody is there at all: no use in waiting
                raise ModelError(
                    f"the {self.purpose} endpoint {self.url} cannot be reached "
                    f"({self._shown(str(error))}); check its address and that the server runs"
                ) from None
            raise _PassingError("the connection failed") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _PassingError(f"the connection broke ({type(error).__name__})") from error
        self._reached = True
        if response.status_code == 200:
            return self._read(response, text_tokens)
        return self._refusal(response)

    def _read(self, response: Any, text_tokens: int) -> Reply:
        try:
            data = response.json()
            choice = data["choices"][0]
            message = choice["message"]
            content = message.get("content") or ""
            if not isinstance(content, str):
                content = "".join(part.get("text", "") for part in content)
            text = content.encode("utf-8", "replace").decode()
            counted = data.get("usage") or {}
            usage = Usage(
                1,
                int(counted.get("prompt_tokens") or text_tokens),
                int(counted.get("completion_tokens") or estimated_tokens(text)),
            )
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise _PassingError("a reply that is no chat completion") from error
        finish = choice.get("finish_reason")
        return Reply(
            text=text or str(message.get("refusal") or ""),
            refused=bool(message.get("refusal")) or finish == "content_filter",
            cut=finish == "length",
            served=str(data.get("model") or ""),
            usage=usage,
        )

    def _refusal(self, response: Any) -> Reply:
        """Sort an error status: what passes, what is about this request, and what is fatal."""
        status, said = response.status_code, self._said(response)
        if status == 429 and "insufficient_quota" not in said:
            raise _PassingError("too many requests (429)", _retry_after(response))
        if status >= 500 or status in (408, 409, 425):
            raise _PassingError(f"server error {status}", _retry_after(response))
        words = said.lower()
        if (
            status in (400, 413, 422)
            and "content" in words
            and ("filter" in words or "policy" in words)
        ):
            return Reply(text=said, refused=True, usage=Usage(1))
        if status == 413 or (
            status == 400 and ("context" in words or "too long" in words) and "token" in words
        ):
            return Reply(text=said, too_long=True, usage=Usage(1))
        raise self._fatal(status, said)

    def _fatal(self, status: int, said: str) -> Exception:
        where = f"the {self.purpose} endpoint {self.url}"
        if status in (401, 403):  # its words may hold a part of the key
            what = "refused the key" if self._key else "wants a key"
            return ModelError(f"{where} {what} ({status}); set OPENAI_API_KEY to one that is valid")
        if status == 404:
            return ModelError(
                f"{where} answers 404; check its address and the model's name '{self.chat.model}'"
            )
        if status == 429:
            return ModelError(f"{where} says that the account's quota is used up (429); top it up")
        return ModelError(f"{where} answers {status}: {said or 'nothing'}; change the request")

    def _said(self, response: Any) -> str:
        """Return a server's error message on one line, without the key."""
        try:
            error = response.json()["error"]
            text = f"{error.get('message', '')} {error.get('code') or ''}"
        except (ValueError, LookupError, TypeError, AttributeError):
            text = response.text
        return self._shown(text)

    def _shown(self, text: str) -> str:
        line = " ".join(text.split())[:200]
        return line.replace(self._key, "…") if self._key else line

    # ── pauses ──────────────────────────────────────────────────────────────────────────────

    def _wait(self, state: Any) -> float:
        """Return the pause before the next attempt; a server's own word holds for all threads."""
        error = state.outcome.exception()
        after = getattr(error, "after", None)
        if after is None:
            return float(self._pause(state))
        if after > LONGEST_WAIT:
            raise UnansweredError(
                f"{error}, and asks to wait {after:.0f} s", Usage(state.attempt_number)
            )
        self._hold_until = max(self._hold_until, time.monotonic() + after)
        return float(after) + random.uniform(0, _FIRST_PAUSE)  # not all threads at the same moment

    def _sleep(self, seconds: float) -> None:
        if seconds > 0:
            self._stopped.wait(seconds)

    # ── many requests ───────────────────────────────────────────────────────────────────────

    def each(
        self, count: int, work: Callable[[int], Found | None]
    ) -> Iterator[tuple[int, Found | UnansweredError]]:
        """Yield (index, result) of `work` for every index, as they come; None is left out.

        An index for which no attempt succeeded comes with its error. Raises ModelError where
        none succeeded many times in a row. After an error what is under way is still yielded, so
        that nothing paid for is lost.
        """
        failures, most = 0, max(3, self.chat.concurrency)
        trouble: list[BaseException] = []
        for index, found, error in self._finished(count, work, lambda: bool(trouble)):
            if isinstance(error, UnansweredError):
                failures += 1
                yield index, error
                if failures >= most:
                    why = (
                        f"the {self.purpose} endpoint {self.url} does not answer ({error}); what "
                        "came is kept, run the same command later"
                    )
                    trouble.append(ModelError(why))
            elif error is not None:
                trouble.append(error)
            elif found is not None:
                failures = 0
                yield index, found
        if trouble:
            raise trouble[0]

    def _finished(
        self, count: int, work: Callable[[int], Found | None], stop: Callable[[], bool]
    ) -> Iterator[tuple[int, Found | None, BaseException | None]]:
        """Yield calls as they finish; when told to stop, only those that had begun.

        Twice `concurrency` calls are begun and not yet taken up by the reader at the most, so
        that a crash can lose no more, and no call waits for the reader to keep an earlier one.
        """
        todo: SimpleQueue[int | None] = SimpleQueue()
        done: SimpleQueue[tuple[int, Found | None, BaseException | None]] = SimpleQueue()

        def run() -> None:
            while (index := todo.get()) is not None and not self._stopped.is_set():
                try:
                    done.put((index, work(index), None))
                except BaseException as error:
                    done.put((index, None, error))

        crew = range(min(self.chat.concurrency, count))
        for _ in crew:  # daemons: whoever interrupts us need not wait for a slow server
            threading.Thread(target=run, daemon=True).start()
        indices, pending = iter(range(count)), 0
        try:
            while True:
                if stop():
                    with contextlib.suppress(Empty):
                        while True:
                            todo.get_nowait()
                            pending -= 1
                else:
                    for index in itertools.islice(indices, 2 * len(crew) - pending):
                        todo.put(index)
                        pending += 1
                if not pending:
                    return
                yield done.get()
                pending -= 1
        except BaseException:  # interrupted, or the reader has gone: wake who sleeps
            self._stopped.set()
            self._http.close()
            raise
        finally:
            for _ in crew:
                todo.put(None)


def _retry_after(response: Any) -> float | None:
    """Return the seconds a server asks to wait: a number, or a date."""
    from email.utils import parsedate_to_datetime

    text = response.headers.get("retry-after", "")
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
