"""The table of trials: what is an indicator, what comes back from a file, what noise is."""

import numpy as np
import pyarrow as pa
import pytest

from instructmine.errors import InstructmineError, UsageError
from instructmine.trial_table import Trials


def table(**more):
    return Trials(
        pa.table(
            {"trial": [0, 1, 2, 3], "subset": ["a", "a", "b", "b"],
             "log_loss": [1.0, 1.2, 1.5, 1.5], "source:x": [0.5, 0.5, 1.0, 1.0],
             "source:y": [0.5, 0.5, 0.0, 0.0], "loss:report": [1.0, 2, 3, 4],
             "mtld": [1.0, 2.0, 3.0, None], "length": [1, 2, 3, 4],
             "error": [None, None, None, "x"], **more}
        ),
        recipes={"mtld": {"version": 1}},
        about={"base_model": "m"},
    )  # fmt: skip


def test_indicators_are_the_numbers_that_are_nothing_else():
    one = table()
    assert one.indicators == ("mtld", "length")
    assert one.sources == ("x", "y")
    assert np.allclose(one.proportions().sum(axis=1), 1)
    assert np.isnan(one.matrix(["length", "mtld"])[3, 1])


def test_a_table_round_trips_with_its_recipes(tmp_path):
    table().write(tmp_path / "t.parquet")
    back = Trials.read(tmp_path / "t.parquet")
    assert back.table.equals(table().table)
    assert back.recipes == {"mtld": {"version": 1}} and back.about == {"base_model": "m"}


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_tables_from_elsewhere_are_read(tmp_path, name):
    frame = table().table.select(["log_loss", "length"]).to_pandas()
    if name.endswith("csv"):
        frame.to_csv(tmp_path / name, index=False)
    else:
        frame.to_json(tmp_path / name, orient="records", lines=True)
    back = Trials.read(tmp_path / name)
    assert back.indicators == ("length",) and back.recipes == {}
    assert back.column("log_loss").tolist() == [1.0, 1.2, 1.5, 1.5]


def test_seed_noise_is_pooled_over_repeated_subsets():
    assert table().seed_noise() == pytest.approx(np.sqrt((2 * 0.1**2 + 0) / 2))
    single = Trials(pa.table({"subset": ["a", "b"], "log_loss": [1.0, 2.0]}))
    assert single.seed_noise() is None


def test_what_is_no_table_is_one_clear_line(tmp_path):
    (tmp_path / "t.parquet").write_text("nonsense")
    with pytest.raises(InstructmineError, match="cannot read trials from .*; give Parquet"):
        Trials.read(tmp_path / "t.parquet")
    with pytest.raises(UsageError, match="have no column 'x'"):
        table().column("x")
    with pytest.raises(UsageError, match="'error' of the trials holds no numbers"):
        table().column("error")
