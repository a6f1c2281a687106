"""The shared contract suite over every indicator, and golden values of the starter models."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from instructmine import plugins, testing
from instructmine.contracts import Indicator
from instructmine.errors import ModelError, UsageError
from instructmine.identity import digest
from instructmine.modelref import ModelRef

GOLDEN = Path(__file__).parent.parent / "golden" / "starter.json"
# The tiny model behind each model field; an indicator without one needs no entry.
TINY = {
    ("length", "tokenizer"): ("llama", {}),
    ("perplexity", "model"): ("llama", {}),
    ("reward", "model"): ("openassistant", {}),
    ("unieval", "model"): ("t5", {}),
    ("embedding", "model"): ("static", {}),
    ("hardness", "model"): ("bert_classifier", {}),
}
NAMES = sorted(plugins.names("indicators"))


@pytest.fixture(scope="session")
def target_file(tmp_path_factory):
    rows = [
        {"messages": [{"role": m.role, "content": m.content} for m in example.messages]}
        for example in testing.sample_examples()[:3]
    ]
    path = tmp_path_factory.mktemp("target") / "target.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def build(name, target_file, tiny=None):
    """An indicator with its default fields; tiny models in place of others where given."""
    kind = plugins.load("indicators", name, Indicator)
    fields = {}
    for item in dataclasses.fields(kind):
        if item.name == "embedding":
            fields["embedding"] = build("embedding", target_file, tiny)
        elif item.name == "target":
            fields["target"] = target_file
        elif tiny and (name, item.name) in TINY:
            model, options = TINY[name, item.name]
            fields[item.name] = ModelRef(str(tiny(model, **options)))
    return kind(**fields)


@pytest.mark.parametrize("check", testing.INDICATOR_CHECKS, ids=testing.name_of)
@pytest.mark.parametrize("name", NAMES)
def test_every_indicator_keeps_the_contract(name, check, tiny, target_file):
    check(build(name, target_file, tiny))


@pytest.mark.parametrize("aggregate", ["last", "max"])
@pytest.mark.parametrize("name", ["perplexity", "unieval"])
def test_other_aggregates_keep_the_contract(name, aggregate, tiny, target_file):
    indicator = dataclasses.replace(build(name, target_file, tiny), turns=aggregate)
    testing.check_values(indicator)
    testing.check_row_order(indicator)


@pytest.mark.parametrize("kind", ["sentence_bert", "bert", "llama"])
def test_every_kind_of_encoder_keeps_the_contract(kind, tiny):
    from instructmine.indicators.embedding import Embedding

    testing.check_indicator(Embedding(model=ModelRef(str(tiny(kind)))))


def _plain(value):
    return None if np.isnan(value).any() else np.round(np.asarray(value, float), 6).tolist()


def starter_values(name, target_file):
    indicator = build(name, target_file)
    scored = testing._score(indicator, testing.sample_examples())
    columns = {
        column: np.asarray(values)[:, :4] if indicator.vector else np.asarray(values)
        for column, values in scored.values.items()
    }
    rounded = {column: [_plain(v) for v in values] for column, values in columns.items()}
    return {"recipe": digest(indicator.identity()), "columns": rounded}


@pytest.mark.parametrize("name", NAMES)
def test_golden_values_of_the_starter_models(name, target_file, pytestconfig):
    """Numbers that change while the recipe stays are a bug: `version` has to be raised.

    After a wanted change (new weights, a new version) write them anew:
    `pytest tests/indicators/test_contract.py --regenerate-golden`.
    """
    try:
        found = starter_values(name, target_file)
    except (ModelError, UsageError) as error:
        pytest.skip(f"no starter model: {error}")
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.is_file() else {}
    if pytestconfig.getoption("--regenerate-golden"):
        golden[name] = found
        GOLDEN.write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n")
    if name not in golden:
        pytest.skip("no golden values yet: run with --regenerate-golden")
    wanted = golden[name]
    assert found["recipe"] == wanted["recipe"], (
        f"{name} has another recipe (weights, version, defaults): run --regenerate-golden"
    )
    assert found["columns"].keys() == wanted["columns"].keys()
    for column, values in wanted["columns"].items():
        missing = [value is None for value in values]
        assert [value is None for value in found["columns"][column]] == missing, column
        np.testing.assert_allclose(
            np.array([v for v in found["columns"][column] if v is not None]),
            np.array([v for v in values if v is not None]),
            rtol=1e-3,
            atol=1e-4,
            err_msg=f"{column} changed: raise {name}'s version, or find the fault",
        )
