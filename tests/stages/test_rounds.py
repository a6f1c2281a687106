"""The rounds of IterSelectTune on made-up labels: what they find, keep and refuse."""

import hashlib

import numpy as np
import pytest

from instructmine.contracts import Context
from instructmine.errors import EvidenceError, StoreError, UsageError
from instructmine.modelref import ModelRef
from instructmine.stages._rounds import EASY, HARD, Labels, Rounds, Settings

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
    def make(settings=SMALL, label=None, n=240, folder="a", seed=1, texts=None):
        texts = texts or prompts(n)
        ids = [hashlib.md5(f"{i} {text}".encode()).hexdigest() for i, text in enumerate(texts)]
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
            found = [HARD if texts[row].startswith("Prove") else EASY for row in rows]
            return Labels(tuple(found))

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


@pytest.mark.parametrize("name", ["holdout.json", "round-000/round.json"])
@pytest.mark.parametrize("damage", ["", '{"ids": 3}', "[1]"])
def test_a_damaged_file_of_a_round_is_named(rounds, name, damage):
    folder = rounds().folder
    rounds().run()
    (folder / name).write_text(damage)
    with pytest.raises(StoreError, match="is damaged .*delete"):
        rounds().run()


def test_it_ends_when_a_fresh_batch_is_known_well_enough(rounds):
    settings = Settings(**{**vars(SMALL), "stop_accuracy": 0.0, "most_rounds": 9})
    assert len(rounds(settings).run()) == 2


def test_it_ends_when_the_pool_is_used_up(rounds):
    settings = Settings(**{**vars(SMALL), "batch": 0.5, "draw": 1.0, "most_rounds": 9,
                           "stop_accuracy": 1.0, "rounds": 9})  # fmt: skip
    made = rounds(settings, n=60)
    assert sum(len(one.rows) for one in made.run()) == 60 - len(made.held)


def test_labels_that_teach_nothing_are_refused(rounds):
    with pytest.raises(EvidenceError, match="all 48 labels are 'easy'"):
        rounds(label=lambda rows: Labels((EASY,) * len(rows))).run()
    with pytest.raises(EvidenceError, match="can be learned from .malformed"):
        rounds(label=lambda rows: Labels(("malformed",) * len(rows)), folder="b").run()
    with pytest.raises(EvidenceError, match="30 answers of the base model are empty"):
        rounds(label=lambda rows: Labels((HARD,) * len(rows), empty=15), folder="c").run()


def test_a_first_batch_of_one_label_is_followed_by_another_random_one(rounds):
    settings = Settings(**{**vars(SMALL), "rounds": 3})
    made = rounds(settings)
    real, calls = made.label, []

    def easy_at_first(rows):
        calls.append(1)
        return real(rows) if len(calls) != 2 else Labels((EASY,) * len(rows))

    made.label = easy_at_first  # the first call is the hold-out's
    done = made.run()
    assert np.isnan(done[1].m).all() and np.isnan(done[1].q).all()
    assert 0 < done[1].facts["hard"] < len(done[1].rows) / 2  # as many as by chance: a fifth
    assert np.isfinite(done[2].q).all()


def test_a_prompt_that_is_held_out_is_not_learned_from_its_copy(rounds):
    texts = [text for text in prompts(120) for _ in range(2)]
    made = rounds(texts=texts, settings=Settings(**{**vars(SMALL), "holdout": 60}))
    learned = []
    real = made._learn
    made._learn = lambda known, folder: [learned.extend(known), real(known, folder)]
    made.run()
    held = set(made.texts(made.held))
    batches = [row for one in made.done for row in one.rows.tolist()]
    assert any(text in held for text in made.texts(batches))  # labelled, as any other row
    assert learned and not held & {one.text for one in learned}


def test_rows_without_a_label_are_counted_and_left_out(rounds):
    made = rounds()
    real = made.label
    made.label = lambda rows: Labels(("refused", *real(rows).each[1:]))
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
