"""Converts a downloaded model's pickled weights to safetensors, once, without running its code.

    python -m instructmine.models.convert unieval-dialog unieval-safetensors

instructmine loads safetensors only. Some published models exist as `pytorch_model.bin` alone;
torch's `weights_only` reader takes nothing but tensors from it and refuses everything else.
"""

from __future__ import annotations

import argparse
import pickle
import shutil
import sys
from pathlib import Path

from instructmine.errors import InstructmineError, ModelError
from instructmine.files import publish
from instructmine.modelref import IDENTITY_SUFFIXES


def convert(source: Path, out: Path) -> Path:
    """Write `source`'s weights as `out/model.safetensors`, with its config and tokenizer.

    Tensors that share memory (tied embeddings) are written once each, by value. Returns `out`.
    Raises ModelError when there are no pickled weights or they hold more than tensors.
    """
    import torch
    from safetensors.torch import save_file

    shards = sorted(source.glob("pytorch_model*.bin"))
    if not shards:
        raise ModelError(f"{source} holds no pytorch_model*.bin; give a downloaded model's folder")
    if out.resolve() == source.resolve():
        raise ModelError(f"{out} is the model itself; give another folder to write to")
    weights: dict[str, torch.Tensor] = {}
    for shard in shards:
        try:
            weights |= torch.load(shard, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise ModelError(
                f"{shard} holds more than tensors or is damaged, and is not read; get it again "
                "from its author"
            ) from error
    for path in source.iterdir():
        if path.suffix in IDENTITY_SUFFIXES and "index" not in path.name:
            with publish(out / path.name) as temporary:
                shutil.copyfile(path, temporary)
    tensors = {name: tensor.clone().contiguous() for name, tensor in weights.items()}
    with publish(out / "model.safetensors") as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
        temporary.chmod(shards[0].stat().st_mode & 0o666 | 0o600)  # safetensors writes 600
    return out


def main() -> None:
    """Convert from the command line; an error is one line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path, help="folder with pytorch_model.bin")
    parser.add_argument("out", type=Path, help="folder to write")
    options = parser.parse_args()
    try:
        out = convert(options.source, options.out)
    except InstructmineError as error:
        sys.exit(f"error: {error}")
    sys.stdout.write(f"wrote {out}\n")


if __name__ == "__main__":
    main()
