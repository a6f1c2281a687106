"""Laws of reading and writing, checked on generated data."""

from __future__ import annotations

import json
import unicodedata

from format_helpers import chats, example
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instructmine.errors import PoolError
from instructmine.formats import open_pool, write_selection
from instructmine.formats._containers import json_array, jsonl
from instructmine.pool import PoolRow

QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ROLE = st.sampled_from(["user", "assistant", "tool"])
CHAT = (
    st.lists(st.tuples(ROLE, TEXT), min_size=1, max_size=5)
    .map(lambda turns: [*turns, ("assistant", "end")])
    .flatmap(lambda turns: st.sampled_from([turns, [("system", "s"), *turns]]))
)
PAIRS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3).map(
    lambda pairs: [turn for q, a in pairs for turn in (("user", q), ("assistant", a))]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)


def rows_of(chats_):
    return [PoolRow("a", n, {}, example(*turns)) for n, turns in enumerate(chats_)]


def ids(rows):
    return [row.example.id for row in rows]


@settings(QUICK, max_examples=15)
@given(st.lists(CHAT, min_size=1, max_size=4))
def test_any_conversation_survives_messages_and_sharegpt(tmp_path, conversations):
    rows = rows_of(conversations)
    for name in ("messages", "sharegpt", "messages"):
        for ending in ("jsonl", "json", "parquet", "csv"):
            out = tmp_path / f"{name}.{ending}"
            write_selection(rows, out, format=name)
            assert chats(list(open_pool(out))) == conversations
            assert ids(open_pool(out)) == ids(rows)
        rows = list(open_pool(out))


@QUICK
@given(st.lists(PAIRS, min_size=1, max_size=4), TEXT)
def test_conversations_in_pairs_survive_alpaca(tmp_path, conversations, system):
    if system:
        conversations = [[("system", system), *turns] for turns in conversations]
    rows = rows_of(conversations)
    expected = ids(rows)
    for name in ("alpaca", "messages", "alpaca", "sharegpt", "alpaca"):
        out = tmp_path / f"{name}.jsonl"
        write_selection(rows, out, format=name)
        rows = list(open_pool(out))
        assert ids(rows) == expected


@QUICK
@given(st.lists(st.dictionaries(TEXT.map("x{}".format), JSON, max_size=4), min_size=1, max_size=5))
def test_same_writes_the_same_values(tmp_path, extras):
    base = {"instruction": "q", "output": "a"}
    path = tmp_path / "a.jsonl"
    records = [extra | base for extra in extras]
    path.write_bytes(b"".join(json.dumps(record).encode() + b"\n" for record in records))
    for ending in ("jsonl", "json", "jsonl.gz"):
        write_selection(list(open_pool(path)), tmp_path / f"out.{ending}")
        assert [row.record for row in open_pool(tmp_path / f"out.{ending}")] == records


@QUICK
@given(TEXT, TEXT)
def test_texts_equal_in_nfc_share_an_id(prompt, response):
    spellings = [
        example(
            ("user", unicodedata.normalize(form, prompt)),
            ("assistant", unicodedata.normalize(form, response)),
        ).id
        for form in ("NFC", "NFD")
    ]
    assert spellings[0] == spellings[1]
    assert spellings[0] == example(("user", prompt), ("assistant", response)).id


BYTES = st.binary(max_size=300) | st.lists(
    st.sampled_from(
        [b"{", b"}", b"[", b"]", b",", b":", b'"a"', b'"', b"\\", b"\n", b"\r", b" ", b"1", b"-",
         b".5",
         b"\xff", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"null", b'"\\ud800"', b'{"a": 1}', b"\x00"]
    ),
    max_size=30,
).map(b"".join)  # fmt: skip


@settings(QUICK, max_examples=300)
@given(BYTES)
def test_json_lines_never_raise_and_lose_no_line(tmp_path, data):
    path = tmp_path / "a.jsonl"
    path.write_bytes(data)
    if data[:2] in (b"\x1f\x8b", b"\x28\xb5"):
        return
    items = list(jsonl.read(path))
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    assert len(items) == sum(bool(line.strip()) for line in lines)
    assert [item.row for item in items] == list(range(len(items)))
    for item in items:
        item.raw.encode()
        assert lines[item.line - 1].strip()


@settings(QUICK, max_examples=300)
@given(BYTES)
def test_arrays_never_raise(tmp_path, data):
    path = tmp_path / "a.json"
    path.write_bytes(data)
    if data[:2] in (b"\x1f\x8b", b"\x28\xb5"):
        return
    items = list(json_array.read(path))
    assert [item.row for item in items] == list(range(len(items)))
    try:
        values = json.loads(data, strict=False)
    except (ValueError, RecursionError):
        assert not data.strip() or items[-1].problem
    else:
        if isinstance(values, list):
            assert len(items) == len(values)


@settings(QUICK, max_examples=150)
@given(BYTES, st.sampled_from(["a.json", "a.jsonl", "a.csv", "a.tsv", "a.parquet", "a.jsonl.gz"]))
def test_a_pool_of_any_bytes_gives_rows_or_one_line(tmp_path, data, name):
    path = tmp_path / name
    path.write_bytes(data)
    try:
        rows = list(open_pool([path]))
    except PoolError as error:
        assert "\n" not in str(error)
    else:
        assert rows
        assert all(row.example is not None or row.rejection for row in rows)


@QUICK
@given(
    st.lists(JSON, min_size=1, max_size=12),
    st.integers(1, 40),
    st.sampled_from([None, 0, 1, "\t"]),
)
def test_arrays_are_read_the_same_however_the_window_falls(tmp_path, values, size, indent):
    """Reading a few bytes at a time must cut no number, text or literal in two."""
    path = tmp_path / "a.json"
    path.write_text(json.dumps(values, indent=indent, ensure_ascii=False))
    whole, step = json_array.Chunks.read, json_array.CHUNK
    json_array.CHUNK = size
    json_array.Chunks.read = lambda self, wanted: whole(self, min(wanted, size))
    try:
        items = list(json_array.read(path))
    finally:
        json_array.CHUNK, json_array.Chunks.read = step, whole
    assert [item.problem for item in items] == [""] * len(values)
    assert [item.value for item in items] == values
