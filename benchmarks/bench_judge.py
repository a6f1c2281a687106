"""Verdicts per second against a plain sequential client, and answers per CPU second.

    python -m benchmarks.bench_judge --out build/bench/judge.json

Judging: a server on loopback answers after a fixed latency; the plain client sends the very same
requests one after the other with httpx and keeps nothing. Verdicts are compared before anything
is said about time, which is wall-clock here. Answers: the starter LM answers prompts greedily;
the others are `model.generate` per prompt, and in batches of 8 in file order with left padding.
Their texts are compared.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

try:
    from benchmarks import _data, _report
except ImportError:  # run as a file
    import _data
    import _report


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # at the usual 5 the sixth of many at once tries again a second later


class Server:
    """A judge that prefers the answer whose text is the longer, after a fixed latency."""

    def __init__(self, latency: float) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["content-length"]))
                text = json.loads(data)["messages"][-1]["content"]
                first, second = (len(p) for p in text.split("<<<ANSWER ")[1:3])
                time.sleep(latency)
                verdict = "TIE" if first == second else "1" if first > second else "2"
                message = {"role": "assistant", "content": f"So.\nVERDICT: {verdict}"}
                body = {
                    "choices": [{"message": message, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 500, "completion_tokens": 8},
                }
                payload = json.dumps(body).encode()
                head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "
                self.wfile.write(f"{head}{len(payload)}\r\n\r\n".encode() + payload)

        self._http = _Listener(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()


def questions(count: int) -> list[Any]:
    """Make pairs of answers."""
    from instructmine.pool import Message
    from instructmine.verdicts import Question

    made = _data.generated(3 * count)
    return [
        Question.pair((Message("user", made[i]),), made[i + 1], made[i + 2])
        for i in range(0, 3 * count, 3)
    ]


def plain(server: Server, asked: Sequence[Any]) -> list[str]:
    """Send one request after the other."""
    import httpx

    from instructmine.judge_prompt import load_prompt, read_reply

    prompt, found = load_prompt(), []
    with httpx.Client() as client:
        for one in asked:
            messages = [{"role": m.role, "content": m.content} for m in prompt.messages(one)]
            body = {"model": "m", "messages": messages, "max_tokens": 1024, "temperature": 0}
            reply = client.post(f"{server.url}/chat/completions", json=body).json()
            said = reply["choices"][0]["message"]["content"]
            found.append(read_reply(one, said).outcome)
    return found


def bench_verdicts(options: argparse.Namespace) -> tuple[list[dict[str, Any]], list[Any]]:
    """Verdicts per second of wall-clock time; and the comparisons."""
    table: list[dict[str, Any]] = []
    comparisons: list[Any] = []
    asked = questions(options.questions)
    for latency in (0.02, 0.2):
        some = asked if latency < 0.1 else asked[: options.questions // 4]
        turns = judged(Server(latency), some, options.judge_rounds)
        base = turns.median["plain client"]
        table += [
            {
                "who": who,
                "latency, ms": round(1000 * latency),
                "verdicts": len(some),
                "verdicts/s": len(some) / took,
                "speed, of the plain client's": base / took,
            }
            for who, took in turns.median.items()
        ]
        comparisons += [
            _report.compared(
                turns, f"{len(some)} verdicts at {1000 * latency:.0f} ms, {who[14:]}",
                "plain client", ours=who, label="httpx, one request after the other",
                equality="verdicts are equal", how=_report.PLAIN, packages=("httpx",),
                quantity="wall-clock seconds",
            )
            for who in ("instructmine, 1 at once", "instructmine, 8 at once")
        ]  # fmt: skip
    return table, comparisons


def judged(server: Server, some: Sequence[Any], rounds: int) -> _report.Turns:
    """Ask in every way, in every round; return wall-clock seconds."""
    from instructmine.judges.endpoint import Endpoint
    from instructmine.judging import Bench

    turns = _report.Turns()

    def timed(who: str, run: Any) -> Any:
        began = time.perf_counter()
        found = run()
        turns.add(who, time.perf_counter() - began)
        return found

    for _ in range(rounds):
        wanted = timed("plain client", lambda: plain(server, some))
        with tempfile.TemporaryDirectory() as folder:
            for crew in (1, 8, 32):
                judge = Endpoint(model="m", base_url=server.url, concurrency=crew)
                bench = Bench(judge, Path(folder) / str(crew))
                found = timed(f"instructmine, {crew} at once", lambda b=bench: b.verdicts(some))
                assert [one.outcome for one in found if one] == wanted, "verdicts differ"
            again = Bench(judge, Path(folder) / "32")
            timed("instructmine, run again", lambda b=again: b.verdicts(some))
    return turns


def bench_answers(options: argparse.Namespace) -> tuple[list[dict[str, Any]], list[Any]]:
    """Answer tokens per CPU second, one thread; and the comparisons."""
    import torch

    from instructmine.contracts import Context
    from instructmine.modelref import ModelRef
    from instructmine.models.generate import Generator
    from instructmine.models.loading import quiet
    from instructmine.pool import Message
    from instructmine.sampling import Sampling

    torch.set_num_threads(1)
    sampling = Sampling(max_new_tokens=options.tokens)
    ours = Generator.load(
        ModelRef("starter:lm"), sampling, context=Context(device="cpu", threads=1)
    )
    path = options.shared / "data/train/alpaca_data.json"
    if path.is_file():
        rows = json.loads(path.read_text(encoding="utf-8"))
        rows = rows[:: len(rows) // options.prompts][: options.prompts]
        texts = [f"{row['instruction']}\n{row['input']}".strip() for row in rows]
    else:
        texts = [text[:400] for text in _data.generated(options.prompts)]
    histories = [(Message("user", text),) for text in texts]
    found: dict[str, list[str]] = {}
    counted: dict[str, int] = {}

    def batched() -> None:
        answers = dict(ours.answer(histories))
        found["instructmine"] = [answers[i].text for i in range(len(texts))]
        counted["instructmine"] = sum(one.tokens for one in answers.values())

    def bare(name: str, size: int) -> None:
        prompts = [
            ours.tokenizer(
                ours.renderer.text(one, add_generation_prompt=True), add_special_tokens=False
            )["input_ids"]
            for one in histories
        ]
        texts = []
        with torch.inference_mode(), quiet():
            for start in range(0, len(prompts), size):
                batch = prompts[start : start + size]
                longest = max(map(len, batch))
                ids = torch.tensor([[0] * (longest - len(row)) + row for row in batch])
                mask = torch.tensor([[0] * (longest - len(r)) + [1] * len(r) for r in batch])
                made = ours.model.generate(
                    input_ids=ids, attention_mask=mask, max_new_tokens=options.tokens,
                    do_sample=False, eos_token_id=ours.ends, pad_token_id=0,
                )  # fmt: skip
                texts += ours.tokenizer.batch_decode(made[:, longest:], skip_special_tokens=True)
        found[name] = [text.strip() for text in texts]

    contenders = {
        "instructmine": batched,
        "model.generate, one prompt": lambda: bare("model.generate, one prompt", 1),
        "batches of 8 in file order": lambda: bare("batches of 8 in file order", 8),
    }
    turns = _report.take_turns(contenders, options.rounds)
    seconds = turns.median
    base = seconds["model.generate, one prompt"]
    rows = [
        {
            "who": who,
            "prompts": len(texts),
            "tokens": counted["instructmine"],
            "tokens/s": counted["instructmine"] / took,
            "speed, of one prompt's": base / took,
            "answers as one prompt's": sum(
                a == b for a, b in zip(
                    found[who], found["model.generate, one prompt"], strict=True
                )
            ) / len(texts),
        }
        for who, took in seconds.items()
    ]  # fmt: skip
    equal = {row["who"]: row["answers as one prompt's"] for row in rows}
    comparisons = [
        _report.compared(
            turns, f"answers to {len(texts)} prompts", who,
            label=f"transformers {who}", packages=("transformers", "torch"),
            equality=f"{equal[_report.OURS]:.0%} of our texts are as one prompt's alone, "
            f"{equal[who]:.0%} of theirs",
        )
        for who in seconds
        if who != _report.OURS
    ]  # fmt: skip
    return rows, comparisons


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both parts."""
    made = _report.parser(main.__doc__ or "")
    made.set_defaults(rounds=3)
    made.add_argument("--judge-rounds", type=int, default=3, help="rounds of the verdicts")
    made.add_argument("--questions", type=int, default=400)
    made.add_argument("--prompts", type=int, default=96)
    made.add_argument("--tokens", type=int, default=128, help="longest answer")
    options = made.parse_args(arguments)
    verdicts, verdict_ratios = bench_verdicts(options)
    answers, answer_ratios = bench_answers(options)
    side = options.out.with_name(f"{options.out.stem}-answers.json") if options.out else None
    _report.show("Answers of the starter LM, one thread", answers, side)
    ratios = verdict_ratios + answer_ratios
    _report.show("Verdicts of a server on loopback", verdicts, options.out, ratios)


if __name__ == "__main__":
    main()
