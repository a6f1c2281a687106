"""Hand-over files, loaded by the rules that each trainer documents.

TRL's loader is `datasets` and its formatting a chat template: both run for real here. The rules
of LLaMA-Factory (data/README.md: columns, tags, odd and even positions) and Axolotl
(docs/dataset-formats/conversation: field_messages, message_property_mappings) are restated.
"""

from __future__ import annotations

import json

import pytest
from format_helpers import ALPACA, chats, example, read_rows, write_jsonl

from instructmine.errors import InstructmineError
from instructmine.formats import open_pool, write_selection
from instructmine.pool import PoolRow

datasets = pytest.importorskip("datasets")
yaml = pytest.importorskip("yaml")

U, A, S, T = "user", "assistant", "system", "tool"
SINGLE = [[(U, "q1"), (A, "a1\u2028\n")], [(S, "s"), (U, "q2 é"), (A, "a2")]]
MULTI = [*SINGLE, [(U, "q"), (A, "a"), (U, "r"), (A, "b")]]
TOOLS = [*MULTI, [(U, "q"), (A, "{}"), (T, "42"), (A, "b")]]


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def rows_of(conversations):
    return [
        PoolRow("pool.jsonl", n, {"extra": f"e{n}", "n": n, "odd": n or "zero"}, example(*turns))
        for n, turns in enumerate(conversations)
    ]


def load(kind, path, tmp_path):
    return datasets.load_dataset(
        kind, data_files=str(path), split="train", cache_dir=str(tmp_path / "cache")
    )


def pairs(messages):
    return [(message["role"], message["content"]) for message in messages]


# ── TRL ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def tokenizer():
    """A tokenizer with a chat template as published models have, made on the spot."""
    pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    template = (
        "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    return PreTrainedTokenizerFast(tokenizer_object=words, chat_template=template)


def as_template(turns):
    return "".join(f"<|{role}|>{content}<|end|>" for role, content in turns)


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
def test_trl_single_turn(tmp_path, tokenizer, ending):
    out = tmp_path / f"picked.{ending}"
    written = write_selection(rows_of(SINGLE), out, format="trl")
    config = yaml.safe_load(written["config"].read_text())
    assert config["completion_only_loss"] is True
    (mixture,) = config["datasets"]
    data = datasets.load_dataset(**mixture, cache_dir=str(tmp_path / "cache"))
    for row, turns in zip(data, SINGLE, strict=True):
        assert pairs(row["prompt"]) == turns[:-1]
        assert pairs(row["completion"]) == turns[-1:]
        # As the trainer does: the prompt's text is a prefix, the completion is the rest.
        prompt = tokenizer.apply_chat_template(
            row["prompt"], tokenize=False, add_generation_prompt=True
        )
        whole = tokenizer.apply_chat_template(row["prompt"] + row["completion"], tokenize=False)
        assert whole == as_template(turns)
        assert whole.startswith(prompt)
        assert whole[len(prompt) :] == turns[-1][1] + "<|end|>"


def test_trl_multi_turn(tmp_path, tokenizer):
    out = tmp_path / "picked.jsonl"
    written = write_selection(rows_of(TOOLS), out, format="trl")
    config = yaml.safe_load(written["config"].read_text())
    assert config["assistant_only_loss"] is True
    data = load("json", config["datasets"][0]["data_files"], tmp_path)
    texts = [tokenizer.apply_chat_template(row["messages"], tokenize=False) for row in data]
    assert texts == [as_template(turns) for turns in TOOLS]


def test_trl_sees_no_column_that_means_something_else_to_it(tmp_path):
    records = [{"instruction": "q", "output": "a", "text": "t", "label": "l", "completion": "c"}]
    path = write_jsonl(tmp_path / "a.jsonl", records)
    written = write_selection(list(open_pool(path)), tmp_path / "out.jsonl", format="trl")
    (record,) = (json.loads(line) for line in written["selection"].read_text().splitlines())
    assert set(record) == {
        "prompt", "completion", "original_text", "original_label", "original_completion",
    }  # fmt: skip


# ── LLaMA-Factory ───────────────────────────────────────────────────────────────────────────


def llamafactory(folder, name, tmp_path):
    """Load a dataset by its entry and give the turns it trains on, None for a skipped row.

    Restates the documented rules of the sharegpt formatting: the entry names the file (json and
    jsonl open with the json loader), the messages column, and tags; a leading system message is
    the system prompt; user and observation stand at odd positions, assistant at even ones, and
    the number is even; any other row is skipped with a warning.
    """
    entry = json.loads((folder / "dataset_info.json").read_text())[name]
    assert entry["formatting"] == "sharegpt"
    kind = {"json": "json", "jsonl": "json", "parquet": "parquet"}[
        entry["file_name"].split(".")[-1]
    ]
    tags = entry["tags"]
    sides = (
        {tags["user_tag"]: "user", tags["observation_tag"]: "tool"},
        {tags["assistant_tag"]: "assistant"},
    )
    for row in load(kind, folder / entry["file_name"], tmp_path):
        turns = [
            (message[tags["role_tag"]], message[tags["content_tag"]])
            for message in row[entry["columns"]["messages"]]
        ]
        system = turns.pop(0)[1] if turns and turns[0][0] == tags["system_tag"] else ""
        fine = len(turns) % 2 == 0 and all(
            role in sides[position % 2] for position, (role, _) in enumerate(turns)
        )
        head = [("system", system)] if system else []
        yield (
            head + [(sides[p % 2][role], c) for p, (role, c) in enumerate(turns)] if fine else None
        )


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
def test_llamafactory(tmp_path, ending):
    written = write_selection(rows_of(TOOLS), tmp_path / f"picked.{ending}", format="llamafactory")
    assert written["dataset_info"] == tmp_path / "dataset_info.json"
    assert list(llamafactory(tmp_path, "picked", tmp_path)) == TOOLS


def test_llamafactory_tells_what_it_will_skip(tmp_path):
    odd = [[(A, "hi"), (U, "q")], [(U, "q"), (U, "q"), (A, "a")], [(U, "q"), (A, "a"), (U, "q")]]
    written = write_selection(rows_of([*MULTI, *odd]), tmp_path / "p.jsonl", format="llamafactory")
    assert any("skip 3 of 6 conversations" in note for note in written.notes)
    assert list(llamafactory(tmp_path, "p", tmp_path)) == [*MULTI, None, None, None]


def test_llamafactory_keeps_other_entries(tmp_path):
    info = tmp_path / "dataset_info.json"
    info.write_text('{"mine": {"file_name": "é.json"}}')
    for name in ("x", "y"):
        write_selection(rows_of(SINGLE), tmp_path / f"{name}.jsonl", format="llamafactory")
    known = json.loads(info.read_text())
    assert list(known) == ["mine", "x", "y"]
    assert known["mine"] == {"file_name": "é.json"}
    info.write_text("broken")
    with pytest.raises(InstructmineError, match="cannot read .*dataset_info.json; mend it"):
        write_selection(rows_of(SINGLE), tmp_path / "z.jsonl", format="llamafactory")
    assert not (tmp_path / "z.jsonl").exists()
    assert info.read_text() == "broken"


# ── Axolotl ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
def test_axolotl(tmp_path, ending):
    out = tmp_path / f'it\'s "picked".{ending}'
    written = write_selection(rows_of(TOOLS), out, format="axolotl")
    config = yaml.safe_load(written["config"].read_text())
    assert config["chat_template"] == "tokenizer_default"
    (entry,) = config["datasets"]
    assert entry["path"] == str(out)
    assert entry["type"] == "chat_template"
    assert entry["roles_to_train"] == ["assistant"]
    keys = entry["message_property_mappings"]
    data = load(entry["ds_type"], entry["path"], tmp_path)
    loaded = [
        [
            (message[keys["role"]], message[keys["content"]])
            for message in row[entry["field_messages"]]
        ]
        for row in data
    ]
    assert loaded == TOOLS


# ── all of them ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["trl", "llamafactory", "axolotl"])
def test_columns_of_one_plain_type_come_along(tmp_path, name):
    written = write_selection(rows_of(MULTI), tmp_path / "out.jsonl", format=name)
    first = json.loads(written["selection"].read_text().split("\n")[0])
    assert (first["extra"], first["n"]) == ("e0", 0)
    assert "odd" not in first
    assert any(note.endswith("plain type: odd") for note in written.notes)


@pytest.mark.parametrize("name", ["trl", "llamafactory", "axolotl"])
def test_selections_larger_than_a_block_still_load(tmp_path, name):
    """The json loader guesses types from the first block of about 10 MB."""
    plain = [(U, "q"), (A, "a" * 30_000)]
    late = [(S, "s"), (U, "q"), (A, "a"), (U, "r"), (A, "b")]
    written = write_selection(
        rows_of([plain] * 500 + [late] * 3), tmp_path / "o.jsonl", format=name
    )
    assert len(load("json", written["selection"], tmp_path)) == 503


@pytest.mark.parametrize("name", ["trl", "llamafactory", "axolotl"])
def test_handed_over_files_are_pools_again(tmp_path, name):
    write_selection(rows_of(SINGLE), tmp_path / "out.jsonl", format=name)
    assert chats(read_rows(tmp_path / "out.jsonl")) == SINGLE
    folder = open_pool(tmp_path)
    assert folder.sources == ["out.jsonl"]
    assert write_selection(list(folder), tmp_path / "x.jsonl", format=name, pool=folder)


def test_alpaca_rows_go_over_as_their_prompt(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [ALPACA])
    pool = open_pool(path)
    written = write_selection(list(pool), tmp_path / "out.jsonl", format="llamafactory", pool=pool)
    record = json.loads(written["selection"].read_text())
    assert pairs(record["messages"]) == [(U, "Add.\n1 and 2"), (A, "3")]
