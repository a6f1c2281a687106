"""The rounds of IterSelectTune on made-up labels: what they find, keep and refuse."""

import hashlib

import numpy as np
import pytest

from instructmine.contracts import Context
from instructmine.errors import EvidenceError, UsageError
from instructmine.modelref import ModelRef
from instructmine.stages._rounds import EASY, HARD, Rounds, Settings

THINGS = ["river", "stone", "bread", "window", "garden", "engine", "letter", "winter"]
SMALL = Settings(draw=0.5, batch=0.1, holdout=20, clusters=6, rounds=2, most_rounds=3, epochs=3)


def prompts(n=240):
    """A fifth asks for a proof: those are hard."""
    return [
        f"Prove that every {THINGS[i % 8]} number {i} is odd." if i % 5 == 0
        else f"Name the colour of {THINGS[i % 8]} {i}." for i in range(n)
    ]  # fmt: skip


@pytest.fixture
def rounds(tmp_path):
    def make(settings=SMALL, label=None, n=240, folder="a", seed=1):
        texts = prompts(n)
        ids = [hashlib.md5(text.encode()).hexdigest() for text in texts]
        order = np.argsort(ids)
        texts = [texts[at] for at in order]
        rng = np.random.default_rng(0)
        kind = np.array([text.startswith("Prove") for text in texts])
        vectors = np.where(kind[:, None], [1.0, 0, 0, 0], [0, 1.0, 0, 0])
        vectors = vectors + 0.3 * rng.normal(size=(n, 4))
        vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        asked = []

        def say(rows):
            asked.extend(rows.tolist())
            return [HARD if texts[row].startswith("Prove") else EASY for row in rows]

        made = Rounds(
            settings=settings, ids=np.array(ids, dtype="S32")[order], vectors=vectors,
            texts=lambda rows: [texts[row] for row in rows], label=label or say,
            base=ModelRef("starter:encoder"), folder=tmp_path / folder, seed=seed,
            context=Context("cpu", 1),
        )  # fmt: skip
        made.asked = asked
        return made

    return make


def test_later_rounds_find_more_hard_ones_than_random(rounds):
    made = rounds()
    done = made.run()
    assert done[0].facts["hard"] <= 12 and np.isnan(done[0].q).all()
    assert done[1].facts["hard"] >= 2 * done[0].facts["hard"]
    assert done[1].facts["holdout"]["rows"] == 20
    assert 0 < done[1].facts["coverage"] <= 1
    assert np.allclose(done[1].q, 0.9 * done[1].m + 0.1 * done[1].r)
    assert len(made.hard) == sum(one.facts["hard"] for one in done)
    random = rounds(Settings(**{**vars(SMALL), "take": "random"}), folder="b").run()
    assert random[1].facts["hard"] < done[1].facts["hard"]


def test_nothing_is_labelled_twice_and_the_hold_out_is_never_learned(rounds):
    made = rounds()
    done = made.run()
    assert len(made.asked) == len(set(made.asked))
    batches = np.concatenate([one.rows for one in done])
    assert not set(batches.tolist()) & set(made.held.tolist())
    assert not set(made.free.tolist()) & set(made.asked)


def test_a_stopped_run_goes_on_to_the_same_rounds(rounds):
    whole = rounds().run()
    stopped = rounds(folder="b")
    real, calls = stopped.label, []

    def fails(rows):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(rows)

    stopped.label = fails
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    again = rounds(folder="b")
    found = again.run()
    assert len(again.asked) == 24 * (len(found) - 1)  # hold-out and the first batch were known
    for one, other in zip(whole, found, strict=True):
        assert one.rows.tolist() == other.rows.tolist() and one.labels == other.labels
        assert np.allclose(one.q, other.q, equal_nan=True)


def test_it_ends_when_a_fresh_batch_is_known_well_enough(rounds):
    settings = Settings(**{**vars(SMALL), "stop_accuracy": 0.0, "most_rounds": 9})
    assert len(rounds(settings).run()) == 2


def test_it_ends_when_the_pool_is_used_up(rounds):
    settings = Settings(**{**vars(SMALL), "batch": 0.5, "draw": 1.0, "most_rounds": 9,
                           "stop_accuracy": 1.0, "rounds": 9})  # fmt: skip
    made = rounds(settings, n=60)
    assert not len(made.free) if made.run() else False


def test_labels_that_teach_nothing_are_refused(rounds):
    with pytest.raises(EvidenceError, match="all 48 labels are 'easy'"):
        rounds(label=lambda rows: [EASY] * len(rows)).run()
    with pytest.raises(EvidenceError, match="could be labelled .malformed"):
        rounds(label=lambda rows: ["malformed"] * len(rows), folder="b").run()


def test_rows_without_a_label_are_counted_and_left_out(rounds):
    made = rounds()
    real = made.label
    made.label = lambda rows: ["refused", *real(rows)[1:]]
    done = made.run()
    assert done[0].facts["unlabelled"] == 1 and done[0].facts["rows"] == 24


@pytest.mark.parametrize(
    "wrong",
    [{"alpha": 1.2}, {"batch": 0.0}, {"draw": 2}, {"rounds": 0}, {"most_rounds": 1},
     {"holdout": -1}, {"clusters": 0}, {"nearest": 0}],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(UsageError):
        Settings(**wrong)
