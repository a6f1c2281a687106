"""Fixtures of the whole suite: shared folders, one thread per worker, tiny models."""

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Run in the background of a script, the suite inherits that interrupts are ignored, and so would
# the commands that it interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption(
        "--shared", default="../shared", help="folder with public data and small models"
    )
    parser.addoption(
        "--regenerate-golden",
        action="store_true",
        help="write the golden values of the starter models anew",
    )


def _shared(config, name):
    folder = (ROOT / config.getoption("--shared") / name).resolve()
    if not folder.is_dir():
        pytest.skip(f"no {name} folder in --shared {config.getoption('--shared')}")
    return folder


@pytest.fixture(scope="session")
def shared_data(pytestconfig):
    """Folder of public data; the test is skipped where there is none."""
    return _shared(pytestconfig, "data")


@pytest.fixture(scope="session")
def shared_models(pytestconfig):
    """Folder of small pretrained models; the test is skipped where there is none."""
    return _shared(pytestconfig, "models")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Tiny models with random weights: `tiny("llama")` is the folder of one."""
    import tiny_models

    root = tmp_path_factory.mktemp("models")
    made = {}

    def get(name, **options):
        key = (name, *sorted(options.items()))
        if key not in made:
            made[key] = root / f"{name}-{len(made)}"
            getattr(tiny_models, name)(made[key], **options)
        return made[key]

    return get
