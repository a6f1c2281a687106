"""Loads models from local folders, safely and quietly: safetensors only, never remote code."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from safetensors import SafetensorError

from instructmine.contracts import Context
from instructmine.errors import ModelError, UsageError
from instructmine.models.spec import ModelSpec

# What transformers raises where a folder does not hold what is asked for, or a damaged file.
LOAD_ERRORS = (ValueError, OSError, KeyError, RuntimeError, ImportError, SafetensorError)
_MALLOC_OPTIONS = {-3: 32 << 20, -1: 512 << 20, -2: 64 << 20}  # mmap and trim threshold, top pad
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the libraries' progress bars, warnings and log lines for a while."""
    from transformers.utils import logging as library

    level, bars = library.get_verbosity(), library.is_progress_bar_enabled()
    encoder_log = logging.getLogger("sentence_transformers")
    encoder_level = encoder_log.level
    library.set_verbosity_error()
    library.disable_progress_bar()
    encoder_log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        library.set_verbosity(level)
        if bars:
            library.enable_progress_bar()
        encoder_log.setLevel(encoder_level)


def torch_dtype(name: str) -> torch.dtype:
    """Return the dtype of a name. Raises UsageError for an unknown one."""
    if name not in _DTYPES:
        raise UsageError(f"no dtype is called '{name}'; known: {', '.join(_DTYPES)}")
    return _DTYPES[name]


@functools.cache
def keep_freed_memory() -> None:
    """Let glibc keep the memory of freed activations for the next operation.

    It otherwise gives every large block back to the system at once, and a fifth of the time of a
    small model on a CPU goes into having the same pages again. Elsewhere this does nothing.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        for option, value in _MALLOC_OPTIONS.items():
            libc.mallopt(option, value)


def torch_device(context: Context) -> torch.device:
    """Return the device to run on, and set the number of threads that was asked for.

    Raises UsageError for a device this machine lacks.
    """
    if context.threads is not None:
        torch.set_num_threads(context.threads)
    keep_freed_memory()
    if context.device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(context.device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"device '{context.device}' cannot be used here; try --device cpu"
        ) from error
    return device


def load_model(
    auto_class: Any,
    spec: ModelSpec,
    *,
    dtype: str,
    context: Context,
    purpose: str,
    unread: tuple[str, ...] = (),
    **options: Any,
) -> Any:
    """Load a model with one of the `Auto…` classes, ready for inference on its device.

    purpose: what it is to serve as ("a reward model"), for messages. unread: how the names of
    weights begin whose output nobody reads, so that they may be missing.
    Raises ModelError where the folder holds another kind of model or lacks weights.
    """
    require_safetensors(spec)
    device = torch_device(context)
    with quiet():
        try:
            model, info = auto_class.from_pretrained(
                str(spec.folder),
                dtype=torch_dtype(dtype),
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                **options,
            )
        except LOAD_ERRORS as error:
            what = ", ".join(spec.architectures) or spec.model_type or "no known architecture"
            raise ModelError(
                f"model '{spec.name}' ({what}) cannot be loaded as {purpose} "
                f"({type(error).__name__}); give a folder that holds one"
            ) from error
    read = [name for name in info["missing_keys"] if not name.startswith(unread)]
    refuse_missing(spec, read, purpose)
    return model.eval().requires_grad_(False).to(device)


def refuse_missing(spec: ModelSpec, missing: Any, purpose: str) -> None:
    """Raise ModelError where weights were not in the file: they would be random numbers."""
    absent = sorted(missing)
    if absent:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise ModelError(
            f"model '{spec.name}' lacks the weights {absent[0]}{more}, so it is not {purpose}; "
            "give a folder that holds one"
        )


def require_safetensors(spec: ModelSpec) -> None:
    """Raise ModelError for a folder whose weights are pickles, which are never loaded."""
    for folder in {spec.folder, *(path.parent for path in spec.folder.glob("*/*.bin"))}:
        pickles = [p for p in folder.glob("*.bin") if p.name.startswith("pytorch_model")]
        if pickles and not any(folder.glob("*.safetensors")):
            raise ModelError(
                f"model '{spec.name}' holds {pickles[0].name} and no safetensors; pickled weights "
                "can run code: convert it once with python -m instructmine.models.convert"
            )
    if not any(spec.folder.rglob("*.safetensors")):
        raise ModelError(
            f"model '{spec.name}' has no safetensors weights; on the hub name a revision that has "
            f"them ({spec.name}@refs/pr/1), or download and convert it: see docs/profiles.md"
        )
