"""A chat server on loopback that plays a judge, with every fault a real one has."""

import json
import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from instructmine.verdicts import Question

ANSWER = re.compile(r"<<<(ANSWER|CONVERSATION) ([12]) (\w+)>>>\n(.*?)\n<<<END \3>>>", re.DOTALL)


def longer(first, second):
    """Prefer the longer answer: a judge whose verdicts are easy to foresee."""
    return "TIE" if len(first) == len(second) else "1" if len(first) > len(second) else "2"


class JudgeServer:
    """Answers `/v1/chat/completions`.

    decide: (first, second) → verdict. faults: what to do instead for the next requests, in order:
    a status, (429, seconds), "reset", "garbled", "slow", or the words of a reply. key: demanded.
    """

    def __init__(self, decide=longer, *, latency=0.0, faults=(), key=None, usage=True):
        self.decide, self.latency, self.key, self.usage = decide, latency, key, usage
        self.faults = list(faults)
        self.requests = []
        self.statuses = Counter()
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                server.handle(self)

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def close(self):
        self._http.shutdown()
        self._http.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def handle(self, request):
        body = json.loads(request.rfile.read(int(request.headers["content-length"])))
        with self._lock:
            self.requests.append(body)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            fault = self.faults.pop(0) if self.faults else None
        try:
            time.sleep(self.latency)
            self._respond(request, body, fault)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client did not wait
        finally:
            with self._lock:
                self.at_once -= 1

    def _respond(self, request, body, fault):
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            shown = request.headers.get("authorization", "nothing")
            return self._send(request, 401, {"error": {"message": f"wrong key: {shown}"}})
        if fault == "reset":
            request.close_connection = True
            request.connection.shutdown(2)
            return None
        if fault == "slow":
            time.sleep(1.5)
        if fault == "garbled":
            return self._send(request, 200, "{not json")
        if isinstance(fault, tuple):
            headers = {"retry-after": str(fault[1])}
            return self._send(request, fault[0], {"error": {"message": "slow down"}}, headers)
        if isinstance(fault, int):
            return self._send(request, fault, {"error": {"message": "the server broke"}})
        if isinstance(fault, dict):
            return self._send(request, 200, fault)
        words = fault if isinstance(fault, str) and fault != "slow" else self.say(body)
        made = {
            "model": "judge-1-served",
            "choices": [{"message": {"role": "assistant", "content": words},
                         "finish_reason": "stop"}],
        }  # fmt: skip
        if self.usage:
            made["usage"] = {"prompt_tokens": 100, "completion_tokens": 10}
        return self._send(request, 200, made)

    def say(self, body):
        text = body["messages"][-1]["content"]
        if "Reply" in text[:6] or "did not end with" in text:
            text = body["messages"][-3]["content"]
        found = {number: said for _, number, _, said in ANSWER.findall(text)}
        if "GRADE" in text.rsplit("First say", 1)[-1]:
            return f"It is so long.\nGRADE: {min(10, 1 + len(found.get('1', '')) // 10)}"
        return f"I looked at both.\nVERDICT: {self.decide(found['1'], found['2'])}"

    def _send(self, request, status, data, headers=None):
        with self._lock:
            self.statuses[status] += 1
        payload = (data if isinstance(data, str) else json.dumps(data)).encode()
        request.send_response(status)
        request.send_header("content-type", "application/json")
        request.send_header("content-length", str(len(payload)))
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(payload)


def question(number, a="short", b="a longer answer", reference=""):
    from instructmine.pool import Message

    return Question.pair((Message("user", f"Question {number}?"),), a, b, reference)
