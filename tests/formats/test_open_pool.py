"""Pools: containers, folders, labels, second passes, mappings."""

from __future__ import annotations

import gzip
import json
import os
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from format_helpers import ALPACA, chats, read_one, read_rows, write_jsonl

from instructmine.errors import PoolError, UsageError
from instructmine.formats import open_pool

RECORDS = [
    {"instruction": f"q{n}", "input": "é\u2028" * (n % 2), "output": f"a{n}"} for n in range(700)
]
LINES = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in RECORDS).encode()
ARRAY = json.dumps(RECORDS, indent=1).encode()


def csv_bytes(delimiter):
    rows = [["instruction", "input", "output"], *(list(record.values()) for record in RECORDS)]
    return "\r\n".join(delimiter.join(f'"{field}"' for field in row) for row in rows).encode()


def parquet_bytes():
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(RECORDS), sink, row_group_size=100)
    return sink.getvalue().to_pybytes()


CONTAINERS = {
    "a.json": ARRAY,
    "a.jsonl": LINES,
    "a.ndjson": LINES,
    "a.JSONL": LINES,
    "no-newline-at-the-end.jsonl": LINES.rstrip(),
    "one-line.json": json.dumps(RECORDS).encode(),
    "lines-in-fact.json": LINES,
    "array-in-fact.jsonl": ARRAY,
    "a.jsonl.gz": gzip.compress(LINES),
    "a.json.gz": gzip.compress(ARRAY),
    "two-members.jsonl.gz": gzip.compress(LINES[:5000]) + gzip.compress(LINES[5000:]),
    "a.jsonl.zst": zstandard.ZstdCompressor().compress(LINES),
    "a.json.zst": zstandard.ZstdCompressor().compress(ARRAY),
    "a.csv": csv_bytes(","),
    "a.tsv": csv_bytes("\t"),
    "a.csv.gz": gzip.compress(csv_bytes(",")),
    "a.parquet": parquet_bytes(),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_container(tmp_path, name):
    (tmp_path / name).write_bytes(CONTAINERS[name])
    pool = open_pool([tmp_path / name])
    rows = list(pool)
    assert [row.record for row in rows] == RECORDS
    assert [row.row for row in rows] == list(range(len(RECORDS)))
    assert {row.source for row in rows} == {str(tmp_path / name)}
    assert [row.example.row for row in rows] == list(range(len(RECORDS)))
    assert [row.example.id for row in pool] == [row.example.id for row in rows]  # again
    places = [(str(tmp_path / name), row) for row in (699, 0, 511, 512, 3)]
    assert [row.record for row in pool.fetch(places)] == [RECORDS[row] for _, row in places]


def test_every_container_gives_the_same_ids(tmp_path):
    ids = set()
    for name, data in CONTAINERS.items():
        (tmp_path / name).write_bytes(data)
        ids.add(tuple(row.example.id for row in read_rows(tmp_path / name)))
    assert len(ids) == 1


def test_folder_is_read_recursively_and_sorted(tmp_path):
    for name in ("b/two.jsonl", "b/one.json", "a.parquet", "b/c/x.jsonl.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(CONTAINERS["a." + name.split(".", 1)[1]])
    for name in ("README.md", "b/dataset_info.json", "out.manifest.json", "out.rejected.jsonl",
                 "out.decisions.parquet", ".hidden.jsonl", "b/empty.jsonl"):  # fmt: skip
        (tmp_path / name).write_text("")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "x.jsonl").write_bytes(LINES)
    pool = open_pool(tmp_path)
    assert pool.sources == ["a.parquet", "b/c/x.jsonl.gz", "b/one.json", "b/two.jsonl"]
    assert sum(1 for _ in pool) == 4 * len(RECORDS)
    assert [entry.split(":")[0] for entry in pool.ignored] == [
        "README.md", "b/dataset_info.json", "out.decisions.parquet", "out.manifest.json",
        "out.rejected.jsonl", "b/empty.jsonl",
    ]  # fmt: skip


def test_a_folder_of_empty_files_has_no_rows(tmp_path):
    (tmp_path / "a.jsonl").write_text("")
    with pytest.raises(PoolError, match="holds no rows"):
        open_pool([tmp_path])


def test_labels_are_the_paths_as_given_and_unique(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write_jsonl(tmp_path / folder / "a.jsonl", [ALPACA])
    write_jsonl(tmp_path / "y" / "b.jsonl", [ALPACA])
    write_jsonl(tmp_path / "c.jsonl", [ALPACA])
    pool = open_pool(["x", "y", "./c.jsonl"])
    assert pool.sources == ["x/a.jsonl", "y/a.jsonl", "b.jsonl", "./c.jsonl"]


def test_a_label_can_be_written_whatever_the_file_is_called(tmp_path):
    name = os.fsdecode(b"\xff.jsonl")
    try:
        write_jsonl(tmp_path / name, [ALPACA])
    except OSError:
        pytest.skip("this file system refuses such names")
    pool = open_pool(tmp_path)
    assert pool.sources == ["\\udcff.jsonl"]
    assert pool.fetch([("\\udcff.jsonl", 0)])[0].record == ALPACA


@pytest.mark.parametrize("second", ["a.jsonl", "./a.jsonl", "."])
def test_a_file_given_twice_is_an_error(tmp_path, monkeypatch, second):
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "a.jsonl", [ALPACA])
    with pytest.raises(PoolError, match="is given twice"):
        open_pool(["a.jsonl", second])


def test_one_source_need_not_be_a_list(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [ALPACA])
    assert open_pool(path).sources == open_pool(str(path)).sources == [str(path)]


def test_rows_at_streams_in_reading_order(tmp_path):
    paths = [write_jsonl(tmp_path / name, RECORDS[:5]) for name in ("a.jsonl", "b.jsonl")]
    first, second = (str(path) for path in paths)
    pool = open_pool(paths)
    rows = pool.rows_at({second: [4, 1], first: [2]})
    assert [(row.source, row.row) for row in rows] == [(first, 2), (second, 1), (second, 4)]
    with pytest.raises(PoolError, match="1 rows are gone"):
        list(pool.rows_at({first: [99]}))
    with pytest.raises(KeyError):
        list(pool.rows_at({"other": [1]}))


def test_rows_at_can_give_rejected_rows_too(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(ALPACA) + "\nbroken\n" + json.dumps(ALPACA))
    one, two = open_pool([path]).fetch([(str(path), 2), (str(path), 1)])
    assert one.example and two.rejection


def test_a_union_of_shapes_in_csv_leaves_columns_empty(tmp_path):
    (tmp_path / "a.csv").write_text(
        "instruction,output,question,answer\nq,a,,\n,,q,a\nq,,,\n,,q,\n"
    )
    rows = read_rows(tmp_path / "a.csv")
    answers = ["a", "a", "", ""]
    assert [row.example and row.example.response for row in rows] == answers


def test_nested_values_of_csv_are_json(tmp_path):
    (tmp_path / "a.tsv").write_text('conversations\n"[""q"", ""a""]"\n[broken\n')
    rows = read_rows(tmp_path / "a.tsv")
    assert chats(rows)[0] == [("user", "q"), ("assistant", "a")]
    assert "begins like a JSON list but is broken" in rows[1].rejection


def test_a_local_path_comes_before_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    write_jsonl(tmp_path / "owner" / "name" / "a.jsonl", [ALPACA])
    assert open_pool(["owner/name"]).sources == ["a.jsonl"]


# ── the user's mapping ──────────────────────────────────────────────────────────────────────


MAPPED = {
    "columns": ({"ask": "q", "reply": "a"}, {"prompt": "ask", "response": "reply"}),
    "nested": (
        {"data": {"ask": "q"}, "answers": [{"text": "a"}]},
        {"prompt": "data.ask", "response": "answers.0.text"},
    ),
    "dots in the name": ({"data.ask": "q", "a": "a"}, {"prompt": "data.ask", "response": "a"}),
    "over a known shape": (
        {"instruction": "x", "output": "y", "q2": "q", "a2": "a"},
        {"prompt": "q2", "response": "a2"},
    ),
    "messages": (
        {"d": {"talk": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}},
        {"messages": "d.talk"},
    ),
    "messages as prompt": (
        {"p": [{"role": "user", "content": "q"}], "r": "a"},
        {"prompt": "p", "response": "r"},
    ),
}


@pytest.mark.parametrize("name", MAPPED)
def test_mapping(tmp_path, name):
    record, mapping = MAPPED[name]
    row = read_one(tmp_path, record, mapping=mapping)
    assert chats([row]) == [[("user", "q"), ("assistant", "a")]]
    assert row.record == record


def test_mapping_of_everything(tmp_path):
    record = {"q": "q", "x": "x", "a": "a", "s": "s", "h": [["q0", "a0"]]}
    mapping = {"prompt": "q", "input": "x", "response": "a", "system": "s", "history": "h"}
    assert chats([read_one(tmp_path, record, mapping=mapping)]) == [
        [("system", "s"), ("user", "q0"), ("assistant", "a0"), ("user", "q\nx"), ("assistant", "a")]
    ]


def test_mapping_rejects_rows_by_the_users_names(tmp_path):
    records = [{"ask": "q", "reply": "a"}, {"ask": "q", "reply": None}, {"ask": 3, "reply": "a"},
               {"reply": "a"}]  # fmt: skip
    path = write_jsonl(tmp_path / "a.jsonl", records)
    rows = read_rows(path, mapping={"prompt": "ask", "response": "reply"})
    assert [row.rejection for row in rows] == [
        None, "line 2: reply is null", "line 3: ask is a number, not text",
        "line 4: ask is missing",
    ]  # fmt: skip


def test_mapping_to_absent_columns(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"ask": "q", "reply": "a"}])
    with pytest.raises(PoolError, match="has no 'q' and 'reply'; its columns: ask, reply"):
        open_pool([path], mapping={"prompt": "q", "response": "reply"})


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"prompt": "q"}, "the mapping lacks response"),
        ({"promt": "q"}, "did you mean prompt"),
        ({"messages": "m", "prompt": "q"}, "already holds prompt"),
    ],
)
def test_incomplete_mappings(tmp_path, mapping, message):
    path = write_jsonl(tmp_path / "a.jsonl", [ALPACA])
    with pytest.raises(UsageError, match=message):
        open_pool([path], mapping=mapping)


# ── the Hub ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def offline(monkeypatch, tmp_path):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def test_a_hub_dataset_is_streamed_by_the_datasets_library(offline, tmp_path, monkeypatch):
    """The loading code runs for real on a dataset repository laid out in a local folder."""
    from instructmine.formats import _sources
    from instructmine.formats._containers import hub

    repo = tmp_path / "repo"
    repo.mkdir()
    write_jsonl(repo / "train.jsonl", RECORDS[:50])
    write_jsonl(repo / "test.jsonl", RECORDS[50:60])

    def at_home(name):
        found = hub.HubDataset(str(repo), None, name.partition(":")[2] or None)
        return found if name.startswith("owner/name") else None

    monkeypatch.setattr(_sources.hub, "parse", at_home)
    pool = open_pool(["owner/name"])
    assert pool.sources == ["owner/name"]
    assert [row.record for row in pool] == RECORDS[:50]
    assert [row.record for row in pool.fetch([("owner/name", 9)])] == [RECORDS[9]]
    assert len(read_rows("owner/name:test")) == 10
    with pytest.raises(PoolError, match="cannot be read"):
        open_pool(["owner/name:nosplit"])
    shutil.move(repo / "train.jsonl", repo / "validation.jsonl")
    with pytest.raises(PoolError, match="has the splits .*; name one: .*:"):
        open_pool(["owner/name"])


def test_an_unreachable_hub_dataset_is_one_line(offline):
    with pytest.raises(PoolError) as caught:
        open_pool(["owner/no-such-dataset"])
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("no file or folder is called owner/no-such-dataset, and the Hub")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("owner/name", ("owner/name", None, None)),
        ("owner/name:train_sft", ("owner/name", None, "train_sft")),
        ("openai/gsm8k/main:test", ("openai/gsm8k", "main", "test")),
        ("hf://owner/name", ("owner/name", None, None)),
        ("hf://datasets/owner/name", ("owner/name", None, None)),
        ("../owner", None),
        ("name", None),
        ("/owner/name", None),
        ("a/b/c/d", None),
    ],
)
def test_hub_names(source, expected):
    from instructmine.formats._containers import hub

    assert hub.parse(source) == (expected and hub.HubDataset(*expected))
