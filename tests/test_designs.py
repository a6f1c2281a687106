"""Designs: subsets of the stated size, whose make-up covers what a rule will be asked about."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructmine.designs import mixture, stratified
from instructmine.errors import UsageError

SOURCES = np.repeat(np.arange(3, dtype=np.int32), [50, 200, 750])
NAMES = ("a", "b", "c")


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 1000), st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_every_subset_has_its_size_without_repeats(size, seed, count):
    for one in mixture(SOURCES, NAMES, count=count, size=size, seed=seed):
        assert len(one.positions) == size
        assert (np.diff(one.positions) > 0).all()


def test_mixtures_are_uniform_over_proportions():
    source = np.repeat(np.arange(3, dtype=np.int32), 1000)
    subsets = mixture(source, NAMES, count=400, size=100, seed=1)
    shares = np.array([np.bincount(source[s.positions], minlength=3) for s in subsets]) / 100
    # Dirichlet(1, 1, 1): mean 1/3, sd sqrt(2/9/4) = .236
    assert np.allclose(shares.mean(axis=0), 1 / 3, atol=0.05)
    assert np.allclose(shares.std(axis=0), 0.236, atol=0.03)


def test_a_small_source_gives_all_it_has_and_the_others_the_rest():
    subsets = mixture(SOURCES, NAMES, count=50, size=900, seed=0)
    counts = np.array([np.bincount(SOURCES[s.positions], minlength=3) for s in subsets])
    assert (counts.sum(axis=1) == 900).all()
    assert (counts <= [50, 200, 750]).all()


def test_the_seed_decides():
    first, again, other = (
        mixture(SOURCES, NAMES, count=3, size=20, seed=seed) for seed in (1, 1, 2)
    )
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].positions, other[0].positions)


def test_a_longer_design_begins_with_the_shorter_one():
    short = mixture(SOURCES, NAMES, count=3, size=20, seed=1)
    long = mixture(SOURCES, NAMES, count=6, size=20, seed=1)
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(short, long, strict=False))


def test_an_empty_source_and_a_size_beyond_the_rows_are_refused():
    with pytest.raises(UsageError, match="source 'd' has no usable row"):
        mixture(SOURCES, (*NAMES, "d"), count=1, size=1, seed=0)
    with pytest.raises(UsageError, match="1,001 rows cannot be drawn from 1,000 usable"):
        mixture(SOURCES, NAMES, count=1, size=1001, seed=0)
    with pytest.raises(UsageError, match="--size must be 1 or more"):
        mixture(SOURCES, NAMES, count=1, size=0, seed=0)


def test_strata_reach_as_far_out_as_a_selection_does():
    rng = np.random.default_rng(0)
    values = {"x": rng.normal(size=9000), "y": rng.normal(size=9000)}
    subsets = stratified(values, count=120, size=90, seed=3)
    means = {name: np.array([v[s.positions].mean() for s in subsets]) for name, v in values.items()}
    best = {name: np.sort(v)[-90:].mean() for name, v in values.items()}
    for number, name in enumerate(values):
        own = means[name][number::2]
        assert own.max() > 0.8 * best[name] and own.min() < -0.8 * best[name]
        assert (np.abs(own) < 0.3).sum() >= 15  # the middle third of its trials
        assert np.abs(means[name][1 - number :: 2]).max() < 0.5  # the other's trials
    assert subsets[0].about.startswith("low x") and subsets[3].about.startswith("high y")


def test_a_logarithm_has_no_strata_of_its_own():
    values = np.random.default_rng(0).lognormal(size=500)
    other = np.random.default_rng(1).normal(size=500)
    plain = stratified({"length": values, "other": other}, count=12, size=20, seed=0)
    logged = {"length": values, "log_length": np.log1p(values), "other": other}
    again = stratified(logged, count=12, size=20, seed=0)
    assert [one.about for one in again] == [one.about for one in plain]
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(again, plain, strict=True))


def test_stratified_refuses_what_does_not_vary():
    with pytest.raises(UsageError, match="'x' is the same for every row"):
        stratified({"x": np.ones(10)}, count=1, size=2, seed=0)
    with pytest.raises(UsageError, match="needs at least one indicator"):
        stratified({}, count=1, size=2, seed=0)
