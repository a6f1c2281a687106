"""What `make bench` runs, in order, and with which sizes.

The full sizes take about 20 minutes on two idle cores, the quick ones a few: they show that
everything runs, and their figures mean nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Part:
    """One benchmark: `bench_NAME.py`, its arguments, and those of a quick run.

    {shared} and {out} stand for the data folder and the folder of results.
    """

    name: str
    full: str
    quick: str

    def arguments(self, quick: bool, shared: Path, out: Path) -> list[str]:
        """Return the arguments of the script, without --out."""
        chosen = self.quick if quick else self.full
        return [one.format(shared=shared, out=out) for one in chosen.split()]


_SHARED = "--shared {shared} "
_DATA = "--data {shared}/data "

AGAINST_PEERS = (
    Part("mtld", _SHARED + "--rounds 7", _SHARED + "--texts 100 --rounds 2"),
    Part("knn", "--rounds 5", "--rows 2000 --copies 50 --rounds 2"),
    Part("models", _SHARED + "--rows 40 --rounds 5", _SHARED + "--rows 5 --rounds 2"),
    Part("own_environments", _SHARED + "--rows 100", _SHARED + "--rows 10 --rounds 2"),
    Part("selectors", "--rounds 3", "--scale 0.05 --rounds 2"),
    Part("dedup", _SHARED + "--rounds 5", _SHARED + "--rows 2000 --copies 50 --rounds 2"),
    Part("rule", "--rounds 7", "--trials 60 --rounds 2"),
    Part("search", "", "--runs 2"),
    Part("openllm", _SHARED, _SHARED + "--items 20 --rounds 2"),
    Part(
        "training",
        _SHARED + "--rows 64 --rounds 3 --trials 2",
        _SHARED + "--rows 16 --batch 8 --rounds 1 --trials 0",
    ),
    Part(
        "judge",
        _SHARED + "--questions 160 --prompts 24 --tokens 64",
        _SHARED + "--questions 16 --prompts 2 --tokens 8 --rounds 2 --judge-rounds 2",
    ),
)
OURSELVES = (
    Part("allocator", _SHARED, _SHARED + "--steps 2"),
    Part("approximate", "--rows 20000", "--rows 2000"),
    Part("iterate", _SHARED + "--vectors 100000 --pool 300", _SHARED + "--vectors 5000 --pool 0"),
    Part("scale", "--scratch {out}/scale", "--rows 2000 --scratch {out}/scale"),
    Part(
        "select",
        _DATA + "--threads 1 --size 300 --pool train/dolly_3k_alpagasus_selected.json",
        _DATA + "--threads 1 --size 10 --rows 100 --pool train/dolly_3k_alpagasus_selected.json",
    ),
    Part("report", "--pool= --rows 50000", "--pool= --rows 500 --size 50"),
    Part("gpu", _SHARED, _SHARED),
)
SUITE = AGAINST_PEERS + OURSELVES
