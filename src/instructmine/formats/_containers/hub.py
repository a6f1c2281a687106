"""Datasets of the Hugging Face Hub, streamed through the `datasets` library."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from typing import Any, NamedTuple

from instructmine.errors import MissingExtraError, PoolError
from instructmine.formats._rows import Item

_NAME = r"\w[\w.-]*"
_ID = re.compile(
    rf"(?:hf://(?:datasets/)?)?(?P<repo>{_NAME}/{_NAME})(?:/(?P<config>{_NAME}))?(?::(?P<split>{_NAME}))?"
)


class HubDataset(NamedTuple):
    """One split of a Hub dataset, written `owner/name[/config][:split]`."""

    repo: str
    config: str | None
    split: str | None


def parse(source: str) -> HubDataset | None:
    """Return what a source names on the Hub, or None if it cannot be a Hub dataset."""
    match = _ID.fullmatch(source)
    return HubDataset(match["repo"], match["config"], match["split"]) if match else None


def read(dataset: HubDataset, keep: Container[int] | None = None) -> Iterator[Item]:
    """Yield one item per row of the split, downloading as it goes.

    Raises MissingExtraError without `datasets`, PoolError when the dataset cannot be reached.
    """
    rows = iter(_open(dataset))
    row = 0
    while True:
        try:
            record = next(rows)
        except StopIteration:
            return
        except Exception as error:  # whatever a download may raise, the user gets one line
            raise PoolError(_failed(dataset, error)) from error
        if keep is None or row in keep:
            yield Item(row, record)
        row += 1


def _open(dataset: HubDataset) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("datasets", "hub", f"the Hub dataset {dataset.repo}") from error
    try:
        loaded = datasets.load_dataset(
            dataset.repo, dataset.config, split=dataset.split, streaming=True
        )
    except Exception as error:
        raise PoolError(_failed(dataset, error)) from error
    if dataset.split is not None:
        return loaded
    if "train" in loaded:
        return loaded["train"]
    if len(loaded) == 1:
        return next(iter(loaded.values()))
    raise PoolError(
        f"the Hub dataset {dataset.repo} has the splits {', '.join(loaded)}; "
        f"name one: {dataset.repo}:{next(iter(loaded))}"
    )


def _failed(dataset: HubDataset, error: Exception) -> str:
    reason = next((line for line in str(error).splitlines() if line.strip()), "")
    return (
        f"no file or folder is called {dataset.repo}, and the Hub dataset of that name cannot "
        f"be read ({type(error).__name__}: {reason[:200]}); check the name, the network and, for "
        "a gated dataset, `hf auth login`"
    )
