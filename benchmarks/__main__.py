"""Run every benchmark and gather the tables: `make bench`.

    python -m benchmarks --out build/bench

Each `bench_*.py` runs as a process of its own with `--out NAME.json`; what it prints goes into
`bench.md`, in order of name.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Run them all; a benchmark that fails is reported and does not stop the others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    parser.add_argument("--only", default="", help="run those whose name contains this")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    head = (
        f"# Benchmarks\n\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, {platform.system()}. Ratios are the point; "
        "seconds are of this machine.\n"
    )
    sections = [head]
    failed = []
    for script in sorted(Path(__file__).parent.glob("bench_*.py")):
        name = script.stem.removeprefix("bench_")
        if options.only not in name:
            continue
        print(f"── {name}", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{script.stem}", "--out",
             str(options.out / f"{name}.json")],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        print(done.stdout, flush=True)
        sections.append(f"## {name}\n\n```\n{done.stdout.strip()}\n```\n")
        if done.returncode:
            failed.append(name)
    (options.out / "bench.md").write_text("\n".join(sections))
    print(f"wrote {options.out / 'bench.md'}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
