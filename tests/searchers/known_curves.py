"""Losses against size that are known, and a search run over them by ask and tell alone."""

import math


def convex(size, best=2500):
    return 1 + 0.02 * math.log(size / best) ** 2


def falling(size):
    return 1 + 0.5 * size**-0.3


def bump(size):
    return falling(size) + 0.05 * math.exp(-((math.log(size / 1800)) ** 2) / 0.1)


CURVES = {"convex": convex, "falling": falling, "bump": bump}


def run(search, curve, most=200):
    """Return what was proposed, in order, each answered at once."""
    asked = []
    while len(asked) < most and (size := search.ask()) is not None:
        asked.append(size)
        search.tell(size, curve(size), float(size))
    return asked
