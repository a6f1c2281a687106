import numpy as np
import pytest
from candidate_tables import candidates, unit

from instructmine.errors import UsageError
from instructmine.selectors.target import Target


def brute(made):
    similarity = (made.targets @ made.embeddings.T).round(5)
    rank = {row: place for place, row in enumerate(made.by_quality().tolist())}
    left = set(range(len(made)))
    chosen = []
    while left:
        for target in range(len(made.targets)):
            if left:
                best = min(left, key=lambda row: (-similarity[target, row], rank[row]))
                left.remove(best)
                chosen.append(best)
    return chosen


@pytest.mark.parametrize("targets", [1, 2, 7, 40])
def test_is_the_plain_round_robin(targets):
    made = candidates(150, targets=targets)
    assert Target().rank(made).order.tolist() == brute(made)


def test_targets_that_want_the_same_rows_take_turns():
    """All targets equal: every list runs dry again and again."""
    made = candidates(120)
    targets = np.repeat(made.targets[:1], 9, axis=0)
    made = type(made)(made.ids, made.quality, made.scores, made.embeddings, targets)
    order = Target().rank(made).order
    similarity = (made.embeddings[order] @ targets[0]).round(5)
    assert similarity.tolist() == sorted(similarity.tolist(), reverse=True)


def test_of_equally_near_ones_the_better_comes_first():
    base = unit(np.random.default_rng(0).normal(size=(10, 8)))
    made = candidates(20, d=8, vectors=np.concatenate([base, base]))
    order = Target().rank(made).order.tolist()
    for row in range(10):
        pair = sorted([row, row + 10], key=lambda one: (made.quality[one], made.ids[one]))
        assert [one for one in order if one % 10 == row] == pair


def test_no_target_says_which_option_to_pass():
    made = candidates(5)
    bare = type(made)(made.ids, made.quality, made.scores, made.embeddings)
    with pytest.raises(UsageError, match="--target FILE"):
        Target().rank(bare)
