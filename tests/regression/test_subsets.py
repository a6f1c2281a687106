import itertools

import numpy as np
import pytest
from simulated import trials

from instructmine.regression.subsets import Subsets, design, eliminate, normal_equations


def test_every_subset_occurs_once_smaller_ones_first():
    subsets = Subsets.of(4)
    found = [tuple(np.flatnonzero(mask)) for mask in subsets.masks]
    wanted = [c for size in range(1, 5) for c in itertools.combinations(range(4), size)]
    assert found == wanted
    codes = (subsets.masks * 2 ** np.arange(4)).sum(axis=1)
    assert subsets.place[codes].tolist() == list(range(15))


@pytest.mark.parametrize("p", [1, 2, 5])
def test_elimination_gives_the_residuals_of_least_squares(p):
    data = trials(0, n=30, slopes=(0.5,) * p, correlation=0.6)
    z, y = design(data.x), np.column_stack([data.y, data.y**2])
    weights = np.random.default_rng(1).integers(0, 4, size=(3, 30)).astype(float)
    rows = np.broadcast_to(np.column_stack([z, y])[:, :, None], (30, p + 3, 3))
    seen = set()
    for code, left in eliminate(normal_equations(z, y, weights), rows):
        columns = [0, *(1 + j for j in range(p) if code >> j & 1)]
        for lane, weight in enumerate(np.sqrt(weights)):
            slopes = np.linalg.lstsq(z[:, columns] * weight[:, None], y * weight[:, None])[0]
            np.testing.assert_allclose(left[:, :, lane], y - z[:, columns] @ slopes, atol=1e-8)
        seen.add(code)
    assert seen == set(range(2**p))


def test_a_singular_resample_ends_nothing():
    data = trials(0, n=12)
    weights = np.zeros((1, 12))
    weights[0, :2] = 6  # two distinct rows for five coefficients
    rows = np.column_stack([design(data.x), data.y])[:, :, None]
    left = [
        r for _, r in eliminate(normal_equations(design(data.x), data.y[:, None], weights), rows)
    ]
    assert all(np.isfinite(one).all() for one in left)
