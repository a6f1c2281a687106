import math

import numpy as np
import pytest
from known_curves import bump, convex, falling, run

from instructmine.config import load_profile
from instructmine.contracts import SizeRange
from instructmine.errors import UsageError
from instructmine.searchers.blend import Blend
from instructmine.searchers.grid import Grid
from instructmine.searchers.halving import Halving
from instructmine.searchers.random import RandomSizes

WIDE = SizeRange(512, 10_000, 3)


def test_grid_is_even_in_the_logarithm_and_holds_both_ends():
    asked = run(Grid(number=5).open(WIDE, seed=0), convex)
    assert asked == [512, 1076, 2263, 4757, 10_000]
    assert run(Grid(number=1).open(WIDE, seed=0), convex) == [10_000]
    assert run(Grid(number=99).open(SizeRange(3, 6), seed=0), convex) == [3, 4, 5, 6]


def test_grid_takes_sizes_of_ones_own_and_refuses_those_outside():
    own = load_profile("starter", ["grid.sizes=4000,600,4000"]).searcher("grid")
    assert run(own.open(WIDE, seed=0), convex) == [600, 4000]
    with pytest.raises(UsageError, match=r"grid.sizes holds 4,000, which is not between 512 and 9"):
        own.open(SizeRange(512, 999), seed=0)


def test_random_is_log_uniform_and_a_longer_draw_begins_with_the_shorter():
    drawn = run(RandomSizes(number=1000).open(WIDE, seed=0), convex, most=2000)
    assert len(set(drawn)) == 1000
    logs = np.log(drawn)
    quarters = np.histogram(logs, bins=4, range=(math.log(512), math.log(10_000)))[0]
    assert quarters.min() > 200
    assert run(RandomSizes(number=8).open(WIDE, seed=0), convex) == drawn[:8]
    assert run(RandomSizes(number=8).open(WIDE, seed=1), convex) != drawn[:8]
    assert sorted(run(RandomSizes(number=9).open(SizeRange(4, 6), seed=0), convex)) == [4, 5, 6]


def test_halving_gives_the_better_half_more_seeds():
    asked = run(Halving(number=8).open(SizeRange(512, 10_000, 4), seed=0), convex)
    rungs = asked[:8], asked[8:12], asked[12:]
    assert len(set(rungs[0])) == 8
    best = sorted(rungs[0], key=convex)
    assert sorted(rungs[1]) == sorted(best[:4])  # a second seed
    assert sorted(rungs[2]) == sorted(best[:2] * 2)  # a third and a fourth
    one = run(Halving(number=8).open(SizeRange(512, 10_000, 1), seed=0), convex)
    assert len(one) == 8


def test_halving_waits_for_the_rung():
    search = Halving(number=3).open(WIDE, seed=0)
    sizes = [search.ask() for _ in range(3)]
    assert search.ask() is None
    for size in sizes[:2]:
        search.tell(size, convex(size), 1)
    assert search.ask() is None
    search.tell(sizes[2], convex(sizes[2]), 1)
    assert search.ask() in sizes


def test_halving_drops_what_diverged():
    search = Halving(number=4).open(WIDE, seed=0)
    asked = run(search, lambda size: math.nan if size == 512 else falling(size))
    assert asked.count(512) == 1


def test_blend_begins_cheap_and_finds_the_best_of_a_convex_curve():
    for seed in range(5):
        asked = run(Blend().open(WIDE, seed=seed), convex, most=25)
        assert asked[:2] == [512, 10_000]
        assert len(set(asked)) == len(asked)
        assert min(map(convex, asked)) < 1.0005


def test_blend_sees_behind_a_bump_and_flaml_by_itself_does_not():
    def found(**options):
        searches = (Blend(**options).open(WIDE, seed=seed) for seed in range(5))
        return [min(run(one, bump, most=12), key=bump) for one in searches]

    assert found() == [10_000] * 5
    assert max(found(ends=False)) < 1500


def test_sizes_closer_than_the_resolution_are_one():
    asked = sorted(run(Blend(resolution=1.2).open(WIDE, seed=0), convex, most=60))
    assert all(b / a > 1.1 for a, b in zip(asked, asked[1:], strict=False))
    assert run(Blend(resolution=1.0).open(SizeRange(5, 8), seed=0), convex)


def test_ray_has_no_say(monkeypatch):
    alone = run(Blend().open(WIDE, seed=2), convex, most=10)
    monkeypatch.setitem(__import__("sys").modules, "ray", object())
    assert run(Blend().open(WIDE, seed=2), convex, most=10) == alone


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("grid.number=0", "grid.number must be 1 or more"),
        ("blend.resolution=0.9", "blend.resolution must be 1 or more"),
        ("halving.numbr=4", "no option of halving is called 'numbr'; did you mean number"),
        ("random.numbr=4", "no option of random is called 'numbr'; did you mean number"),
    ],
)
def test_wrong_options_are_one_line(setting, words):
    with pytest.raises(UsageError, match=words):
        load_profile("starter", [setting])


def test_a_selector_and_a_searcher_of_one_name_share_a_table():
    profile = load_profile("starter", ["random.number=3"])
    assert profile.searcher("random").number == 3
    profile.selector("random")


def test_an_unknown_searcher_is_guessed():
    with pytest.raises(UsageError, match="no searcher is called 'gird'; did you mean grid"):
        load_profile("starter").searcher("gird")
