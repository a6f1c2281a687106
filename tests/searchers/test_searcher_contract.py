"""What every searcher must keep, built-in or not: it runs over all that are found."""

import logging
import math
import pickle
import sys

import pytest
from known_curves import CURVES, convex, run

from instructmine import plugins
from instructmine.contracts import Searcher, SizeRange

NAMES = list(plugins.names("searchers"))
RANGES = [SizeRange(512, 10_000, 3), SizeRange(8, 32, 4), SizeRange(1, 2, 2), SizeRange(7, 7, 3)]
every_searcher = pytest.mark.parametrize("name", NAMES)


def build(name):
    return plugins.load("searchers", name, Searcher)()


def test_the_documented_searchers_are_found():
    assert set(NAMES) == {"blend", "grid", "halving", "random"}


@every_searcher
@pytest.mark.parametrize("sizes", RANGES, ids=str)
@pytest.mark.parametrize("curve", CURVES.values(), ids=list(CURVES))
def test_proposes_whole_numbers_in_range_and_comes_to_an_end(name, sizes, curve):
    search = build(name).open(sizes, seed=0)
    asked = run(search, curve, most=500)
    assert 0 < len(asked) < 500
    assert all(type(size) is int and sizes.minimum <= size <= sizes.maximum for size in asked)
    assert search.ask() is None and search.ask() is None


@every_searcher
def test_repeats_itself_for_the_same_seed_and_losses(name):
    once = run(build(name).open(RANGES[0], seed=5), convex)
    assert run(build(name).open(RANGES[0], seed=5), convex) == once


@every_searcher
def test_asks_ahead_give_the_same_sizes(name):
    alone = run(build(name).open(RANGES[0], seed=1), convex)
    search, asked = build(name).open(RANGES[0], seed=1), []
    while True:
        ahead = []
        while len(ahead) < 4 and (size := search.ask()) is not None:
            ahead.append(size)
        if not ahead:
            break
        for size in ahead:
            search.tell(size, convex(size), float(size))
        asked += ahead
    assert asked == alone


@every_searcher
@pytest.mark.parametrize("lost", [lambda n, size: n == 0, lambda n, size: n % 2, lambda n, size: 1],
                         ids=["first", "every other", "all"])  # fmt: skip
def test_survives_trainings_that_diverge(name, lost):
    count = iter(range(10_000))
    asked = run(
        build(name).open(RANGES[0], seed=0),
        lambda size: math.nan if lost(next(count), size) else convex(size),
    )
    assert len(asked) >= 2


@every_searcher
def test_takes_a_size_that_it_did_not_ask_for(name):
    search = build(name).open(RANGES[0], seed=0)
    search.tell(777, 1.0, 777.0)
    search.tell(50_000, 1.0, 1.0)
    asked = run(search, convex)
    assert asked and max(asked) <= 10_000


@every_searcher
def test_is_inert_and_picklable(name):
    one = build(name)
    assert pickle.loads(pickle.dumps(one)) == one and hash(one) == hash(build(name))


@every_searcher
def test_says_nothing_and_leaves_logging_and_modules_alone(name, capfd):
    level, ray = logging.root.manager.disable, "ray" in sys.modules
    run(build(name).open(RANGES[1], seed=0), convex)
    streams = capfd.readouterr()
    assert not streams.out and not streams.err
    assert logging.root.manager.disable == level and ("ray" in sys.modules) == ray
