"""The other side of `benchmarks/_peer.py`: answers lines of JSON, timing itself.

Runs in the peer's environment, so it knows nothing of instructmine.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"


def serve(do: dict[str, Callable[..., dict[str, Any]]], packages: tuple[str, ...]) -> None:
    """Answer until the input ends. `versions` is answered here."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    do = {"versions": lambda: {name: metadata.version(name) for name in packages}, **do}
    for line in sys.stdin:
        asked = json.loads(line)
        call = do[asked.pop("do")]
        start = time.process_time()
        try:
            found = call(**asked)
        except Exception as error:
            found = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"}
        found.setdefault("seconds", time.process_time() - start)
        answers.write(json.dumps(found) + "\n")
        answers.flush()
