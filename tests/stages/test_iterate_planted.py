"""`iterate` on a pool whose hard rows are known: hardness is in the words of the instruction."""

import hashlib

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import instructmine as im
from judge_server import JudgeServer
from pools import write

TOPICS = (
    "bridges", "bread", "whales", "violins", "glaciers", "coffee", "chess", "satellites",
    "gardens", "bicycles", "volcanoes", "poetry",
)  # fmt: skip
EASY = ("Name a fact about", "Say something about", "List two words for", "Describe the look of",
        "Greet a friend who likes", "Write a short line on")  # fmt: skip
HARD = ("Prove step by step a theorem on", "Derive the equations behind")
NOISE = 0.05  # of the judge's verdicts


def share(text):
    """A number from 0 to 1 that depends on the text alone."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") / 2**32


@pytest.fixture(scope="module")
def planted():
    """Rows, and which of their responses are hard: a quarter, spread evenly over the topics."""
    rows, hard = [], {}
    for number in range(960):
        asks = (*EASY, *HARD)[number % 8]
        prompt = f"{asks} {TOPICS[number // 8 % 12]}, for reader {number // 96}."
        response = f"Response {number}: it depends on who reads it, and on how long they stay."
        rows.append({"instruction": prompt, "input": "", "output": response})
        hard[response] = asks in HARD
    return rows, hard


@pytest.fixture(scope="module")
def run(planted, tmp_path_factory):
    """Runs `iterate` against a judge that knows what is hard, and errs in one of twenty."""
    rows, hard = planted
    work = tmp_path_factory.mktemp("work")
    pool = write(work / "pool.jsonl", rows)

    def decide(first, second):
        place, own = ("1", first) if first in hard else ("2", second)
        wins = hard[own] != (share(own) < NOISE)
        return place if wins else "12".replace(place, "")

    with JudgeServer(decide) as server:

        def go(**options):
            return im.iterate(
                pool, base_model="starter", max_new_tokens=2, judge="endpoint",
                set=["endpoint.model=judge-1", f"endpoint.base_url={server.url}"],
                workdir=work, batch=0.05, draw=0.5, clusters=12, holdout=160, rounds=3,
                most_rounds=4, epochs=6, fraction=0.2, seed=1, threads=1, device="cpu", **options,
            )  # fmt: skip

        yield go


@pytest.fixture(scope="module")
def usual(run):
    return run()


def hard_of(table, hard, pool_rows):
    return np.array([hard[pool_rows[row]["output"]] for row in table["row"]])


def test_the_chosen_fifth_holds_twice_the_hard_rows_of_a_random_fifth(usual, planted):
    rows, hard = planted
    table = usual.decisions.to_pandas()
    truth = hard_of(table, hard, rows)
    chosen = table.selected.to_numpy()
    assert chosen.sum() == 192
    assert truth[chosen].sum() / truth.sum() >= 2 * chosen.mean()


def test_the_classifier_knows_hard_rows_that_it_was_not_taught(usual, planted):
    rows, hard = planted
    table = usual.decisions.to_pandas()
    unseen = table[table.label_source != "judge"]
    known = unseen[unseen.m.notna()]
    assert len(known) > 400
    assert roc_auc_score(hard_of(known, hard, rows), known.m) >= 0.9


def test_the_classifier_finds_words_better_than_similarity_and_that_better_than_chance(run, usual):
    results = {"random": run(take="random"), "similarity": run(alpha=0.0), "classifier": usual}
    found = {name: sum(one["hard"] for one in each.rounds[1:3]) for name, each in results.items()}
    assert found["random"] < found["similarity"] < found["classifier"], found
    assert 2 * found["random"] < found["classifier"], found
