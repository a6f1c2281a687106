"""Makes the environments that the benchmarks run in: ours with most peers, and one per other peer.

    python3 -m benchmarks.environments

`.venv-bench` holds instructmine and what installs beside it (`benchmarks/requirements.txt`, with
the pins of `constraints.txt`); `.venv-peer-NAME` holds a peer whose pins clash with ours
(`benchmarks/peers/NAME.txt`). A peer that cannot be installed is said and left out. An environment
whose files have not changed since is kept. Needs nothing but Python and a package index.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "benchmarks"


def make(name: str, arguments: Sequence[str], sources: Sequence[Path]) -> bool:
    """Make an environment unless it is there; return whether it is there now."""
    folder = ROOT / name
    stamp = folder / ".installed"
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return True
    print(f"making {name}: minutes, and up to 3 GB", flush=True)
    venv.create(folder, clear=True, symlinks=True, with_pip=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    done = subprocess.run(
        [*pip, "--disable-pip-version-check", *arguments], cwd=ROOT, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        print(f"{name} cannot be made: {lines[-1] if lines else 'pip failed'}", flush=True)
        return False
    stamp.write_text(wanted)
    return True


def main() -> None:
    """Make them all; only ours must succeed."""
    ours, pins = HERE / "requirements.txt", ROOT / "constraints.txt"
    arguments = ["-c", str(pins), "-e", ".[all]", "-r", str(ours)]
    if not make(".venv-bench", arguments, (ours, pins, ROOT / "pyproject.toml")):
        sys.exit("the environment of the benchmarks cannot be made")
    for path in sorted((HERE / "peers").glob("*.txt")):
        make(f".venv-peer-{path.stem}", ["-r", str(path)], (path,))


if __name__ == "__main__":
    main()
