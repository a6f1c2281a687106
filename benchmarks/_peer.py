"""Peers in environments of their own: a process of theirs, spoken to in lines of JSON.

Both sides take turns in one run, and each times itself in CPU seconds. `benchmarks/environments.py`
makes the environments from `benchmarks/peers/NAME.txt`; the script that runs in one is
`benchmarks/peers/run_NAME.py`.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class MissingPeerError(Exception):
    """The environment of a peer is not there, or the peer does not run in it."""


class Peer:
    """A running peer."""

    def __init__(self, name: str) -> None:
        """Start it. Raises MissingPeerError where its environment was not made."""
        python = ROOT / f".venv-peer-{name}" / "bin" / "python"
        script = ROOT / "benchmarks" / "peers" / f"run_{name.replace('-', '_')}.py"
        if not python.is_file():
            raise MissingPeerError("its environment could not be made")
        self.process = subprocess.Popen(
            [str(python), str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, cwd=ROOT,
        )  # fmt: skip

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: Any) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()  # which ends its loop
        self.process.wait()

    def call(self, do: str, **what: Any) -> dict[str, Any]:
        """Ask for something. Raises MissingPeerError with what went wrong on the other side.

        The answer holds "seconds", the CPU seconds that the peer took for it.
        """
        if self.process.stdin is None or self.process.stdout is None:
            raise MissingPeerError("it cannot be spoken to")
        try:
            self.process.stdin.write(json.dumps({"do": do, **what}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, which reading finds out
        line = self.process.stdout.readline()
        if not line:
            raise MissingPeerError("it ended without an answer")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise MissingPeerError(f"it fails here ({answer['error']})")
        return answer
