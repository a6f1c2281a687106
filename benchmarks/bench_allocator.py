"""A short and a long training on a CPU, under the system's malloc and under another.

    python -m benchmarks.bench_allocator --out build/bench/allocator.json

Every training step asks for hundreds of tensors of sizes of its own. glibc's malloc leaves holes
between them, which it then searches: the longer a process trains, the more memory it holds and the
longer a step takes. Each training is its own process of one thread; the two allocators take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from ctypes.util import find_library
from pathlib import Path
from typing import Any

try:
    from benchmarks import _report
except ImportError:  # run as a file
    import _report


def train(shared: Path, steps: int) -> dict[str, float]:
    """Train the starter LM for so many steps; return what it took of this process."""
    try:
        from benchmarks.bench_training import examples
    except ImportError:  # run as a file
        from bench_training import examples
    from instructmine.contracts import Context
    from instructmine.modelref import ModelRef
    from instructmine.trainers.sft import Sft

    trainer = Sft(base_model=ModelRef("starter:lm"), steps=steps, batch_size=16, max_length=512)
    pool = examples(shared, 16 * steps)
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        made = trainer.train(pool, seed=0, folder=Path(folder) / "m", context=Context("cpu", 1))
    scale = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in KB on Linux
    return {
        "cpu_seconds": time.process_time() - began,
        "tokens": made.facts["tokens"],
        "loss": made.facts["train_loss"],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6,
    }


def child(shared: Path, steps: int, preload: str | None) -> dict[str, float]:
    """Run `train` in a process with an allocator."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if preload is not None:
        environment["LD_PRELOAD"] = preload
    done = subprocess.run(
        [sys.executable, __file__, "--shared", str(shared), "--train", str(steps)],
        env=environment, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Measure and print a table; write JSON with --out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--preload", default=find_library("jemalloc"), help="the other's library")
    parser.add_argument("--steps", type=int, nargs="*", default=[32, 256], help="of 16 examples")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--train", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        print(json.dumps(train(options.shared, options.train)))
        return
    rows: list[dict[str, Any]] = []
    libraries = [None, options.preload] if options.preload else [None]
    for steps in options.steps:
        for library in libraries:
            found = child(options.shared, steps, library)
            rate = found["tokens"] / found["cpu_seconds"]
            name = {"allocator": Path(library).name if library else "the system's"}
            rows.append({**name, "steps": steps, **found, "tokens a second": rate})
    missing = {} if options.preload else {"jemalloc": "not installed: name it with --preload"}
    _report.show("The starter LM in training, one thread", rows, options.out, missing=missing)


if __name__ == "__main__":
    main()
