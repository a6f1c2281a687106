"""Writing selections: rows as they came, conversions that read back as the same examples."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from format_helpers import ALPACA, chats, example, read_rows, write_jsonl

from instructmine import formats
from instructmine.errors import InstructmineError, UsageError
from instructmine.formats import check_format, open_pool, write_selection
from instructmine.pool import PoolRow

ENDINGS = ("jsonl", "ndjson", "json", "jsonl.gz", "jsonl.zst", "json.gz", "parquet", "csv", "tsv")

MULTI = {
    "system": "s",
    "conversations": [
        {"from": "human", "value": "q0"},
        {"from": "gpt", "value": "a0"},
        {"from": "human", "value": "q\u2028\n\t\"',;"},
        {"from": "gpt", "value": "a\x00\x1b é😀"},
    ],
}
QA = {"question": "q", "answer": "a", "level": 3, "tags": ["x", "y"], "note": None}


@pytest.fixture
def pool(tmp_path):
    write_jsonl(tmp_path / "alpaca.jsonl", [ALPACA | {"kind": "sum"}, ALPACA | {"kind": "é"}])
    write_jsonl(tmp_path / "chat.jsonl", [MULTI])
    write_jsonl(tmp_path / "qa.jsonl", [QA])
    return open_pool([tmp_path / f"{name}.jsonl" for name in ("alpaca", "chat", "qa")])


@pytest.fixture
def rows(pool):
    """Rows of three shapes, in an order that is not that of the files."""
    alpaca, chat, qa = pool.sources
    return pool.fetch([(qa, 0), (alpaca, 1), (chat, 0), (alpaca, 0)])


def test_the_formats_are_found_by_name():
    assert formats.FORMATS == [
        "alpaca", "axolotl", "llamafactory", "messages", "same", "sharegpt", "trl",
    ]  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", ["same", "messages", "alpaca", "sharegpt"])
def test_every_format_in_every_container_reads_back_as_the_same_examples(
    tmp_path, pool, rows, name, ending
):
    out = tmp_path / f"out.{ending}"
    written = write_selection(rows, out, format=name, pool=pool)
    assert dict(written) == {"selection": out}
    again = read_rows(out)
    assert chats(again) == chats(rows)
    assert [row.example.id for row in again] == [row.example.id for row in rows]


@pytest.mark.parametrize("ending", ["jsonl", "json", "jsonl.gz", "jsonl.zst"])
def test_same_keeps_every_column_and_the_order(tmp_path, rows, ending):
    out = tmp_path / f"out.{ending}"
    write_selection(rows, out)
    again = read_rows(out)
    assert [row.record for row in again] == [
        QA,
        ALPACA | {"kind": "é"},
        MULTI,
        ALPACA | {"kind": "sum"},
    ]
    assert [list(row.record) for row in again] == [list(row.record) for row in rows]


def test_same_writes_unicode_as_it_is(tmp_path, rows):
    write_selection(rows, tmp_path / "out.jsonl")
    assert "é😀" in (tmp_path / "out.jsonl").read_text()
    assert (tmp_path / "out.jsonl").read_bytes().count(b"\n") == len(rows)


def test_numbers_stay_what_they_are(tmp_path):
    path = tmp_path / "a.jsonl"
    numbers = (
        '{"instruction": "q", "output": "a", "n": [1, 1.0, 0.1, 1e+22, 12345678901234567890]}\n'
    )
    path.write_text(numbers)
    write_selection(list(open_pool(path)), tmp_path / "b.jsonl")
    assert (tmp_path / "b.jsonl").read_text() == numbers


def test_other_columns_are_carried(tmp_path, pool, rows):
    write_selection(rows, tmp_path / "out.jsonl", format="messages", pool=pool)
    qa, alpaca, chat, _ = (row.record for row in read_rows(tmp_path / "out.jsonl"))
    assert {key: value for key, value in qa.items() if key != "messages"} == {
        "level": 3, "tags": ["x", "y"], "note": None,
    }  # fmt: skip
    assert list(alpaca) == ["messages", "kind"]
    assert list(chat) == ["messages"]


def test_a_column_of_the_same_name_is_kept_under_another(tmp_path):
    record = {"question": "q", "answer": "a", "input": "unused"}
    path = write_jsonl(tmp_path / "a.jsonl", [record])
    pool = open_pool(path, mapping={"prompt": "question", "response": "answer"})
    write_selection(list(pool), tmp_path / "b.jsonl", format="alpaca", pool=pool)
    assert [row.record for row in read_rows(tmp_path / "b.jsonl")] == [
        {"instruction": "q", "input": "", "output": "a", "original_input": "unused"}
    ]


def test_alpaca_keeps_the_rows_own_division(tmp_path, rows):
    write_selection(rows, tmp_path / "out.jsonl", format="alpaca")
    qa, alpaca, chat, _ = (row.record for row in read_rows(tmp_path / "out.jsonl"))
    assert (qa["instruction"], qa["input"], qa["output"]) == ("q", "", "a")
    assert (alpaca["instruction"], alpaca["input"]) == (ALPACA["instruction"], ALPACA["input"])
    assert (chat["system"], chat["history"]) == ("s", [["q0", "a0"]])


@pytest.mark.parametrize(
    "turns",
    [
        [("assistant", "a")],
        [("user", "q"), ("user", "q"), ("assistant", "a")],
        [("user", "q"), ("assistant", "a"), ("user", "q")],
        [("user", "q"), ("assistant", "a"), ("tool", "t"), ("assistant", "a")],
    ],
)
def test_alpaca_refuses_what_it_cannot_carry(tmp_path, turns):
    row = PoolRow("a.jsonl", 7, {}, example(*turns))
    with pytest.raises(InstructmineError) as caught:
        write_selection([row], tmp_path / "out.jsonl", format="alpaca")
    assert str(caught.value) == (
        "1 of 1 chosen conversations cannot be written as alpaca (the first: a.jsonl:7, "
        "user and assistant do not take turns); use --format messages"
    )
    assert os.listdir(tmp_path) == []
    for name in ("messages", "sharegpt"):
        write_selection([row], tmp_path / "out.jsonl", format=name)
        assert chats(read_rows(tmp_path / "out.jsonl")) == [turns]


def test_parquet_keeps_the_types_of_parquet(tmp_path):
    table = pa.table(
        {
            "instruction": pa.array(["q", "r"], pa.large_string()),
            "output": ["a", "b"],
            "small": pa.array([1, None], pa.int8()),
            "when": pa.array([datetime.datetime(2024, 1, 2, 3), None], pa.timestamp("ms")),
            "empty": pa.array([None, None], pa.list_(pa.string())),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    pool = open_pool(tmp_path / "a.parquet")
    write_selection(list(pool), tmp_path / "b.parquet", pool=pool)
    assert pq.read_table(tmp_path / "b.parquet").equals(table)
    write_selection(list(pool), tmp_path / "b.jsonl", pool=pool)
    first = read_rows(tmp_path / "b.jsonl")[0].record
    assert (first["small"], first["when"]) == (1, "2024-01-02T03:00:00")


def test_parquet_of_files_with_other_columns_is_their_union(tmp_path, rows):
    write_selection(rows, tmp_path / "out.parquet")
    assert set(pq.read_schema(tmp_path / "out.parquet").names) == {*QA, *ALPACA, "kind", *MULTI}


def test_parquet_with_two_types_in_a_column_is_one_line(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [ALPACA | {"x": 1}, ALPACA | {"x": "one"}])
    with pytest.raises(InstructmineError) as caught:
        write_selection(list(open_pool(path)), tmp_path / "b.parquet")
    assert str(caught.value) == (
        "Parquet needs one type per column, and x holds a number and text that do not go "
        "together; write .jsonl instead"
    )
    assert os.listdir(tmp_path) == ["a.jsonl"]


def test_a_lone_surrogate_made_in_python_cannot_break_a_writer(tmp_path):
    row = PoolRow("a", 0, ALPACA | {"x": "\ud800"}, example(("user", "q"), ("assistant", "a")))
    write_selection([row], tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_bytes())["x"] == "\ud800"
    for ending in ("csv", "parquet"):
        with pytest.raises(InstructmineError, match="lone surrogate"):
            write_selection([row], tmp_path / f"out.{ending}")
    assert os.listdir(tmp_path) == ["out.jsonl"]


def test_unknown_formats_and_endings_are_told_before_the_work():
    with pytest.raises(UsageError, match="no format is called 'sharegtp'; did you mean sharegpt"):
        check_format("sharegtp", "out.jsonl")
    with pytest.raises(UsageError, match=r"cannot write out.xlsx as same: .*\.jsonl, "):
        check_format("same", "out.xlsx")
    with pytest.raises(UsageError, match="cannot write out.csv as trl"):
        check_format("trl", "out.csv")
    check_format("same", None)


def test_a_rejected_row_cannot_be_written(tmp_path):
    with pytest.raises(UsageError):
        write_selection([PoolRow("a", 0, None, None, "broken")], tmp_path / "out.jsonl")


def test_an_empty_selection_is_an_empty_file(tmp_path):
    for ending in ENDINGS:
        write_selection([], tmp_path / f"out.{ending}")
    assert (tmp_path / "out.json").read_text() == "[\n]\n"


def test_equal_selections_give_equal_files(tmp_path, rows):
    for ending in ENDINGS:
        write_selection(rows, tmp_path / f"x.{ending}")
        write_selection(rows, tmp_path / f"y.{ending}")
        assert (tmp_path / f"x.{ending}").read_bytes() == (tmp_path / f"y.{ending}").read_bytes()


@pytest.mark.parametrize("ending", ["jsonl", "json", "jsonl.gz", "jsonl.zst", "parquet", "csv"])
def test_no_half_written_file_when_the_disk_is_full(tmp_path, ending):
    """RLIMIT_FSIZE stands in for the full disk: the system refuses the bytes half way."""
    out = tmp_path / f"out.{ending}"
    out.write_text("old")
    script = (
        "import os, resource, sys\n"
        "from instructmine.formats import write_selection\n"
        "from instructmine.pool import Example, PoolRow\n"
        "record = lambda: {'instruction': 'q', 'output': os.urandom(200).hex()}\n"
        "rows = [PoolRow('a', n, record(), Example.single('q', 'a')) for n in range(2000)]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "write_selection(rows, sys.argv[1])\n"
    )
    run = subprocess.run([sys.executable, "-c", script, out], capture_output=True, text=True)
    assert "InstructmineError: file size limit reached while writing" in run.stderr.splitlines()[-1]
    assert out.read_text() == "old"
    assert os.listdir(tmp_path) == [out.name]


def test_an_interrupt_leaves_the_old_file(tmp_path, rows):
    out = tmp_path / "out.jsonl"
    out.write_text("old")

    class Interrupting(dict):
        def items(self):
            raise KeyboardInterrupt

    bad = PoolRow("a", 0, ALPACA, rows[0].example)
    object.__setattr__(bad, "record", {"x": Interrupting(a=1)})
    with pytest.raises(KeyboardInterrupt):
        write_selection([*rows, bad], out)
    assert out.read_text() == "old"


def test_a_format_of_another_package(monkeypatch, tmp_path, rows):
    """A third party's format enters by the same door as the built-in ones."""
    from instructmine import plugins

    class Texts(formats.RecordFormat):
        taken = ("text",)

        def record(self, example, row):
            return {"text": example.response}

    module = type(sys)("their_formats")
    module.Texts = Texts
    monkeypatch.setitem(sys.modules, "their_formats", module)
    known = plugins.names("formats") | {"texts": "their_formats:Texts"}
    monkeypatch.setattr(plugins, "names", lambda group: known)
    write_selection(rows, tmp_path / "out.jsonl", format="texts")
    lines = (tmp_path / "out.jsonl").read_text().split("\n")
    assert json.loads(lines[0]) == {"text": "a", "level": 3, "tags": ["x", "y"], "note": None}
