"""What is computed: bins, percentiles, correlations, topics, held-out predictions, commands."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructmine.pool import Example
from instructmine.regression.search import Folds
from instructmine.reporting.blocks import share, shown
from instructmine.reporting.cards import LONGEST, TEXT_BYTES
from instructmine.reporting.command import command_line
from instructmine.reporting.distributions import correlations, histogram, percentiles, spread
from instructmine.reporting.plain import INVISIBLE, visible
from instructmine.reporting.rule_section import held_out
from instructmine.reporting.samples import Sample, Sampled, languages
from instructmine.reporting.summary import UNPROVEN, how_sure
from instructmine.stages.select import select


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "–"), (0, "0"), (12345, "12,345"), (0.123456, "0.1235"), (-1.5, "−1.5"), (True, "yes"),
     (1234.5, "1,234"), (float("nan"), "–"), (1.2e-9, "1.2e−09"), ("text", "text")],
)  # fmt: skip
def test_values_are_printed_alike_everywhere(value, said):
    assert shown(value) == said


def test_shares():
    assert (share(1, 8), share(1, 1000), share(0, 8), share(1, 0)) == (
        "12.5 %", "0.1 %", "0.0 %", "–",
    )  # fmt: skip


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=80), st.integers(0, 80))
@settings(max_examples=50, deadline=None)
def test_a_histogram_counts_every_row_once(values, taken):
    selected = np.arange(len(values)) < taken
    found = histogram(np.array(values), selected)
    if found is not None:
        for shares in (found.chosen, found.rest):
            assert not len(shares) or shares.sum() == pytest.approx(100)


def test_skewed_columns_get_bins_of_equal_ratio():
    found = histogram(np.geomspace(1, 1e4, 500), np.zeros(500, dtype=bool))
    assert found.log
    assert found.edges[1] / found.edges[0] == pytest.approx(found.edges[-1] / found.edges[-2])
    assert histogram(np.full(9, 2.0), np.zeros(9, dtype=bool)) is None
    assert histogram(np.full(9, np.nan), np.zeros(9, dtype=bool)) is None


def test_spread_and_percentiles():
    values = np.array([1.0, 2.0, 3.0, np.nan])
    found = spread(values, np.array([False, False, True, False]))
    assert (found.known, found.mean, found.chosen_mean) == (3, 2.0, 3.0)
    assert found.shift == pytest.approx(1 / values[:3].std())
    assert percentiles(values, [0, 2, 3]) == [33, 100, None]


def test_correlations_put_like_beside_like():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 200))
    names, matrix = correlations({"a": a, "b": b, "a2": a + 0.01 * rng.normal(size=200)})
    assert abs(names.index("a") - names.index("a2")) == 1
    assert matrix[names.index("a"), names.index("a2")] > 0.99
    assert correlations({"a": a, "still": np.ones(200)}) is None


def test_held_out_predictions_know_nothing_of_their_trial():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 2))
    y = x @ [1.0, -2.0]
    folds = Folds(5, 1, 0)
    y[4] += 100  # its own prediction does not feel it
    fold = folds.draw(np.ones(30))[0]
    others = fold != fold[4]
    z = np.column_stack([np.ones(30), x])
    wanted = z[4] @ np.linalg.lstsq(z[others], y[others], rcond=None)[0]
    assert held_out(x, y, folds)[4] == pytest.approx(wanted)


def test_the_command_line_repeats_the_run_and_leaves_defaults_out():
    arguments = {
        "pool": ["a b.jsonl"], "size": 5, "rule": None, "dedup": "exact", "seed": 0,
        "decontaminate": ["x.jsonl", "y.jsonl"], "map": {"prompt": "q", "response": "a"},
        "force": True, "out": "gold.jsonl", "workdir": "w", "gone": 1,
    }  # fmt: skip
    line = command_line(select, {"command": "select", "arguments": arguments})
    assert line == (
        "instructmine select 'a b.jsonl' --size 5 --decontaminate x.jsonl --decontaminate y.jsonl "
        "--map prompt=q,response=a --force -o gold.jsonl"
    )


@given(st.text())
def test_visible_text_has_nothing_hidden(text):
    assert not INVISIBLE.search(visible(text))


RUSSIAN = "Вода кипит при ста градусах, а в горах она закипает раньше, потому что давление ниже."


@pytest.mark.parametrize(
    ("prompt", "response", "name"),
    [
        ("Why is the sea salty?", "Rivers carry dissolved minerals from rocks to the sea.", "en"),
        ("When does water boil?", RUSSIAN, "ru"),
        ("Nenne mir bitte die Hauptstadt von Frankreich und einen Fluss.", "Paris, Seine", "de"),
        ("Sum?", "12", "too short to tell"),
        ("", "", "too short to tell"),
    ],
)  # fmt: skip
def test_languages(prompt, response, name):
    row = Example.single(prompt, response)
    assert languages(Sampled(Sample({}, np.array([0])), {0: row})) == ((name, 1, "100.0 %"),)


def test_shares_are_of_rows_drawn_at_random_not_of_the_best():
    rows = {0: Example.single("Why?", RUSSIAN), 1: Example.single("Was ist das?", "Ein Hund")}
    sampled = Sampled(Sample({"best": np.array([1])}, np.array([0])), rows)
    assert [name for name, *_ in languages(sampled)] == ["ru"]


def test_the_third_sentence_never_claims_more_than_is_there():
    class Rows:
        decided = True

    assert how_sure(Rows(), [], None) == UNPROVEN
    row = {"strategy": "rule", "difference": -0.1, "verdict": "no better than random"}
    assert "no better than random in any of 1 comparison." in how_sure(Rows(), [row], None)


def test_texts_of_a_page_are_bounded():
    from instructmine.pool import Example
    from instructmine.reporting.cards import _messages

    long = Example.single("é" * 100_000, "x" * 100_000)
    found, kept = _messages([long] * 1000)
    assert kept < LONGEST
    assert sum(len(m[1].encode()) for one in found for m in one) <= TEXT_BYTES
    assert found[0][0][2] == 100_000


def test_the_map_is_umap_where_it_is_installed_and_pca_elsewhere(monkeypatch):
    import sys
    import types

    import pyarrow as pa

    from instructmine.reporting import projection
    from instructmine.reporting.rows import PoolRows

    class Umap:
        def __init__(self, random_state, n_jobs):
            self.seed = random_state

        def fit_transform(self, vectors):
            return vectors[:, :2]

    n = 40
    ids = [f"{place:032x}" for place in range(n)]
    table = pa.table({"source": ["a"] * n, "row": list(range(n)), "id": ids})
    rows = PoolRows(table, {}, (), ())
    vectors = np.random.default_rng(0).normal(size=(n, 8)).astype(np.float32)
    vectors[5] = np.nan
    monkeypatch.setattr(projection, "find_spec", lambda name: None)
    (chart,) = projection.maps(rows, vectors).charts
    assert "(PCA)" in chart.alt
    assert len(chart.series[0].x) == n - 1
    assert np.var(chart.series[0].x) >= np.var(chart.series[0].y)
    monkeypatch.setattr(projection, "find_spec", lambda name: "there")
    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=Umap))
    (chart,) = projection.maps(rows, vectors).charts
    assert "(UMAP)" in chart.alt
    assert chart.series[0].x[0] == pytest.approx(vectors[0, 0], abs=1e-4)
