"""Simulated trials whose truth is known."""

import numpy as np

from instructmine.regression.analysis import Observations


def trials(seed, n=60, slopes=(-0.4, 0.3, 0.0, 0.0), noise=0.3, correlation=0.3, sources=0):
    """Trials of correlated indicators a, b, c, … with the given slopes and normal noise."""
    rng = np.random.default_rng([11, seed])
    p = len(slopes)
    mixing = np.full((p, p), correlation) + (1 - correlation) * np.eye(p)
    x = rng.normal(size=(n, p)) @ np.linalg.cholesky(mixing).T
    y = 0.5 + x @ np.array(slopes) + noise * rng.normal(size=n)
    return observations(x, y, rng.dirichlet(np.ones(sources), size=n) if sources else None)


def mixtures(seed, n=60, between=1.0, within=0.0, p=3):
    """Mixtures of 4 sources: indicators differ by source; so does the loss, or by indicator a."""
    rng = np.random.default_rng([12, seed])
    shares = rng.dirichlet(np.ones(4), size=n)
    x = shares @ rng.normal(size=(4, p)) + 0.3 * rng.normal(size=(n, p))
    y = between * shares @ rng.normal(size=4) - within * x[:, 0] + 0.2 * rng.normal(size=n)
    return observations(x, y, shares)


def observations(x, y, shares=None):
    n, p = x.shape
    shares = np.empty((n, 0)) if shares is None else shares
    return Observations(
        names=tuple("abcdefghijkl"[:p]),
        x=x,
        y=y,
        trials=tuple(map(str, range(n))),
        sources=tuple("wxyz"[: shares.shape[1]]),
        proportions=shares,
    )
