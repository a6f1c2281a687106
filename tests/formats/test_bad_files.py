"""Bad files: a rejected row with its reason or one line of error, never a traceback or silence."""

from __future__ import annotations

import gzip
import json
import os

import pytest
import zstandard
from format_helpers import ALPACA, chats, read_one, read_rows, write_jsonl

from instructmine.errors import InstructmineError, PoolError
from instructmine.formats import open_pool, write_selection

GOOD = json.dumps(ALPACA)


def rejections(rows):
    return [(row.row, row.rejection) for row in rows if row.example is None]


def one_line(caught):
    message = str(caught.value)
    assert "\n" not in message
    return message


def read_lines(tmp_path, *lines: bytes | str):
    data = b"\n".join(line.encode() if isinstance(line, str) else line for line in lines)
    (tmp_path / "a.jsonl").write_bytes(data)
    rows = read_rows(tmp_path / "a.jsonl")
    assert [row.row for row in rows] == list(range(len(rows)))
    return rows


# ── JSON lines ──────────────────────────────────────────────────────────────────────────────


def test_a_broken_line_is_rejected_and_the_rest_goes_on(tmp_path):
    rows = read_lines(tmp_path, GOOD, '{"instruction": "q", ', GOOD)
    ((row, reason),) = rejections(rows)
    assert row == 1
    assert reason.startswith("line 2: broken JSON: ")
    assert rows[1].raw == '{"instruction": "q",'


def test_a_broken_first_line_is_a_row_too(tmp_path):
    assert [row for row, _ in rejections(read_lines(tmp_path, '{"instruction": ', GOOD))] == [0]


def test_line_numbers_count_blank_lines_and_rows_do_not(tmp_path):
    rows = read_lines(tmp_path, "", GOOD, "  \r", "nonsense")
    assert rejections(rows)[0][1].startswith("line 4: ")
    assert rejections(rows)[0][0] == 1


def test_extra_text_behind_a_row(tmp_path):
    rows = read_lines(tmp_path, GOOD, GOOD + " " + GOOD)
    assert "extra text" in rejections(rows)[0][1]


@pytest.mark.parametrize("value", ["[1, 2]", '"text"', "3", "null", "true"])
def test_rows_that_are_no_objects(tmp_path, value):
    rows = read_lines(tmp_path, GOOD, value)
    assert "not an object" in rejections(rows)[0][1]


def test_a_file_of_arrays_is_json_lines(tmp_path):
    rows = read_lines(tmp_path, '["q", "a"]', GOOD)
    assert [row for row, _ in rejections(rows)] == [0]


def test_only_newline_ends_a_line(tmp_path):
    record = ALPACA | {"output": "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"}
    rows = read_lines(tmp_path, json.dumps(record, ensure_ascii=False), GOOD)
    assert rows[0].example.response == record["output"]
    assert len(rows) == 2


def test_windows_line_ends(tmp_path):
    rows = read_lines(tmp_path, GOOD + "\r", GOOD + "\r", "")
    assert rejections(rows) == []
    assert len(rows) == 2


def test_invalid_utf8_rejects_the_row_only(tmp_path):
    rows = read_lines(tmp_path, GOOD, b'{"instruction": "\xff", "output": "a"}', GOOD)
    assert rejections(rows) == [(1, "line 2: invalid UTF-8 at byte 18 of the line")]
    assert rows[1].raw == '{"instruction": "\\xff", "output": "a"}'


def test_byte_order_mark(tmp_path):
    assert rejections(read_lines(tmp_path, b"\xef\xbb\xbf" + GOOD.encode(), GOOD)) == []


def test_utf16_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text(GOOD, encoding="utf-16")
    with pytest.raises(PoolError, match="UTF-16 text; convert it: iconv"):
        open_pool([tmp_path / "a.jsonl"])


@pytest.mark.parametrize("where", ["output", "note"])
def test_a_lone_surrogate_names_its_field(tmp_path, where):
    bad = json.dumps(ALPACA | {where: "x\ud800"})
    rows = read_lines(tmp_path, GOOD, bad, GOOD.replace("3", "\\ud83d\\ude00"))
    assert rejections(rows) == [(1, f"line 2: a lone surrogate in {where}")]
    assert rows[2].example.response == "😀"


def test_a_lone_surrogate_deep_inside(tmp_path):
    bad = json.dumps({"messages": [{"role": "assistant", "content": "\udfff"}]})
    assert rejections(read_lines(tmp_path, bad, GOOD))[0][1].endswith("in messages[0].content")


def test_control_characters_and_nul_are_kept(tmp_path):
    text = "a\x00b\x07\x1b[0m\x7f"
    escaped = json.dumps(ALPACA | {"output": text})
    literal = GOOD.replace('"3"', '"a\x00b\x07\x1b[0m\x7f"')
    rows = read_lines(tmp_path, escaped, literal)
    assert [row.example.response for row in rows] == [text, text]
    for ending in ("jsonl", "json", "csv", "tsv", "parquet"):
        out = tmp_path / f"out.{ending}"
        write_selection(rows, out)
        assert chats(read_rows(out)) == chats(rows)


def test_a_response_of_a_megabyte(tmp_path):
    big = "é" * 1_000_000
    rows = [read_one(tmp_path, ALPACA | {"output": big})]
    assert rows[0].example.response == big
    for ending in ("json", "csv", "parquet"):
        write_selection(rows, tmp_path / f"big.{ending}")
        assert read_rows(tmp_path / f"big.{ending}")[0].example.response == big


def test_deep_nesting_is_rejected(tmp_path):
    deep = '{"instruction": "q", "output": "a", "x": ' + "[" * 100_000 + "]" * 100_000 + "}"
    rows = read_lines(tmp_path, GOOD, deep, GOOD)
    assert rejections(rows) == [(1, "line 2: the JSON is nested too deeply")]
    assert len(rows[1].raw) < 1000


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize("depth", range(800, 1000, 7))
def test_nesting_near_the_limit_gives_no_traceback(tmp_path, name, depth):
    nested = "[" * depth + '"\\ud83d\\ude00"' + "]" * depth
    text = GOOD.replace("}", f', "x": {nested}}}')
    (tmp_path / name).write_text(f"[{text}]" if name == "a.json" else text)
    (row,) = read_rows(tmp_path / name)
    if row.example is None:
        assert "nested too deeply" in row.rejection
        return
    try:
        write_selection([row], tmp_path / "out.jsonl")
    except InstructmineError as error:
        assert "nested too deeply" in str(error)


def test_huge_integers_are_rejected_where_python_cannot_hold_them(tmp_path):
    fine, huge = "9" * 4000, "9" * 5000
    rows = read_lines(
        tmp_path, *(GOOD.replace("}", f', "n": {digits}}}') for digits in (fine, huge))
    )
    assert rejections(rows) == [(1, "line 2: the JSON holds a number with too many digits")]
    assert rows[0].record["n"] == int(fine)


def test_nan_and_infinity_in_other_columns_are_kept(tmp_path):
    rows = read_lines(tmp_path, GOOD.replace("}", ', "a": NaN, "b": -Infinity}'))
    out = tmp_path / "out.jsonl"
    write_selection(rows, out)
    assert '"a": NaN, "b": -Infinity' in out.read_text()


def test_nan_is_no_text(tmp_path):
    rows = read_lines(tmp_path, GOOD, GOOD.replace('"3"', "NaN"))
    assert rejections(rows) == [(1, "line 2: output is a number, not text")]


def test_duplicate_keys_are_rejected(tmp_path):
    rows = read_lines(tmp_path, GOOD, GOOD.replace("}", ', "output": "other"}'))
    assert rejections(rows) == [(1, "line 2: the key 'output' occurs twice in one object")]


# ── JSON arrays ─────────────────────────────────────────────────────────────────────────────


def read_array(tmp_path, text: str | bytes):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_rows(path)


def test_an_array_broken_in_the_middle_keeps_what_came_before(tmp_path):
    text = f'[{GOOD},\n{GOOD},\n{{"instruction": oops}},\n{GOOD}]'
    rows = read_array(tmp_path, text)
    assert len(rows) == 3
    assert rejections(rows) == [
        (
            2,
            f"broken JSON at byte {text.index('oops')}: Expecting value; "
            "the rest of the file is unreadable",
        )
    ]
    assert rows[2].raw.startswith("oops}")


def test_the_byte_offset_counts_bytes(tmp_path):
    text = '[{"instruction": "é\u2028😀", "output": "ü"}, oops]'
    rows = read_array(tmp_path, text)
    assert f"at byte {text.encode().index(b'oops')}:" in rows[1].rejection


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"[{GOOD}, {GOOD[:20]}", "the file ends inside the array"),
        (f"[{GOOD},", "the file ends inside the array"),
        (f"[{GOOD}", "the file ends inside the array"),
        (f"[{GOOD} {GOOD}]", "a comma or ] is missing"),
        (f"[{GOOD}] [{GOOD}]", "text after the end of the array"),
    ],
)
def test_broken_ends_of_arrays(tmp_path, text, reason):
    rows = read_array(tmp_path, text)
    assert rows[0].example is not None
    ((row, why),) = rejections(rows)
    assert row == 1
    assert reason in why


def test_a_trailing_comma_loses_nothing(tmp_path):
    assert rejections(read_array(tmp_path, f"[{GOOD},]")) == []


def test_rows_of_an_array_are_rejected_one_by_one(tmp_path):
    deep = "[" * 100_000 + '"]"' + "]" * 100_000
    digits = "9" * 5000
    bad = [
        "3",
        '"text"',
        "null",
        '{"instruction": "q", "output": "a", "x": ' + deep + "}",
        '{"instruction": "q", "output": "a", "x": ' + digits + "}",
        digits,
        '{"a": 1, "a": 2}',
        '{"instruction": "\\ud800", "output": "a"}',
    ]
    rows = read_array(tmp_path, "[" + ",".join([GOOD, *bad, GOOD]) + "]")
    assert [row for row, _ in rejections(rows)] == list(range(1, len(bad) + 1))
    assert rows[-1].example is not None


def test_invalid_utf8_in_an_array_rejects_the_row_only(tmp_path):
    bad = GOOD.encode().replace(b'"3"', b'"\xff"')
    rows = read_array(tmp_path, b"[" + b",".join([GOOD.encode(), bad, GOOD.encode()]) + b"]")
    assert rejections(rows) == [(1, "invalid UTF-8 in output")]


def test_byte_order_mark_of_an_array(tmp_path):
    assert rejections(read_array(tmp_path, b"\xef\xbb\xbf[" + GOOD.encode() + b"]")) == []


def test_one_pretty_printed_object_is_named(tmp_path):
    with pytest.raises(PoolError, match="JSON objects spread over several lines") as caught:
        read_array(tmp_path, json.dumps({"data": [ALPACA]}, indent=2))
    one_line(caught)


# ── compressed files ────────────────────────────────────────────────────────────────────────

MANY = "".join(json.dumps(ALPACA | {"output": os.urandom(40).hex()}) + "\n" for _ in range(3000))


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.jsonl.gz", gzip.compress),
        ("a.jsonl.zst", lambda data: zstandard.ZstdCompressor().compress(data)),
        (
            "b.jsonl.zst",
            lambda data: (
                zstandard.ZstdCompressor().compress(data[:99999])
                + zstandard.ZstdCompressor().compress(data[99999:])
            ),
        ),
    ],
)
def test_cut_compressed_files_keep_what_came_before(tmp_path, name, pack):
    packed = pack(MANY.encode())
    path = tmp_path / name
    path.write_bytes(packed)
    assert len(read_rows(path)) == 3000
    path.write_bytes(packed[: len(packed) * 3 // 4])
    rows = read_rows(path)
    bad = rejections(rows)
    assert 1000 < len(rows) < 3000
    assert bad[-1][0] == len(rows) - 1
    assert "the rest of the file is unreadable: the compressed data is cut short" in bad[-1][1]
    assert len(bad) <= 2  # the line in which the data ends may be a broken row of its own


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
def test_damaged_compressed_files(tmp_path, name):
    zstd = zstandard.ZstdCompressor(write_checksum=True)
    pack = gzip.compress if name.endswith("gz") else zstd.compress
    packed = bytearray(pack(MANY.encode()))
    packed[len(packed) // 2 : len(packed) // 2 + 64] = bytes(64)
    (tmp_path / name).write_bytes(packed)
    try:
        rows = read_rows(tmp_path / name)
    except PoolError as error:
        assert "\n" not in str(error)
    else:
        assert rejections(rows)


def test_compression_is_told_by_content(tmp_path):
    (tmp_path / "plain.jsonl.gz").write_text(GOOD)
    (tmp_path / "packed.jsonl").write_bytes(gzip.compress(GOOD.encode()))
    assert len(read_rows(tmp_path / "plain.jsonl.gz")) == 1
    assert len(read_rows(tmp_path / "packed.jsonl")) == 1


# ── CSV and Parquet ─────────────────────────────────────────────────────────────────────────


def read_csv(tmp_path, data: bytes, name="a.csv"):
    (tmp_path / name).write_bytes(data)
    return read_rows(tmp_path / name)


def test_csv_with_wrong_quoting_goes_on(tmp_path):
    rows = read_csv(tmp_path, b'instruction,output\nq,a\n"q"x,a\nq,a\n')
    assert rejections(rows)[0][0] == 1
    assert rejections(rows)[0][1].startswith("line 3: broken CSV: ")
    assert len(rows) == 3


def test_csv_with_an_unclosed_quote(tmp_path):
    rows = read_csv(tmp_path, b'instruction,output\nq,a\n"q,a\nq,a\n')
    assert [row for row, _ in rejections(rows)] == [1]
    assert "unexpected end of data" in rejections(rows)[0][1]


def test_csv_with_long_fields(tmp_path):
    big = b"x" * 1_000_000
    rows = read_csv(tmp_path, b"instruction,output\nq," + big + b"\n")
    assert len(rows[0].example.response) == 1_000_000


def test_csv_with_an_over_long_field(tmp_path, monkeypatch):
    from instructmine.formats._containers import delimited

    monkeypatch.setattr(delimited, "MAX_FIELD", 1000)
    rows = read_csv(tmp_path, b"instruction,output\nq," + b"x" * 2000 + b"\nq,a\n")
    assert "field larger than field limit" in rejections(rows)[0][1]
    assert rows[-1].example.response == "a"


def test_csv_with_another_number_of_fields(tmp_path):
    rows = read_csv(tmp_path, b"instruction,output\nq\nq,a,b\n\nq,a\n")
    assert rejections(rows) == [
        (0, "line 2: 1 fields where the header has 2"),
        (1, "line 3: 3 fields where the header has 2"),
    ]


def test_csv_with_nul_and_invalid_utf8(tmp_path):
    rows = read_csv(tmp_path, b"instruction,output\nq,a\x00b\nq,\xff\nq,a\n")
    assert rows[0].example.response == "a\x00b"
    assert rejections(rows) == [(1, "line 3: invalid UTF-8")]


def test_csv_with_quoted_newlines_and_mark(tmp_path):
    rows = read_csv(tmp_path, b'\xef\xbb\xbfinstruction,output\n"q\r\n1","a ""b"""\n')
    assert chats(rows) == [[("user", "q\r\n1"), ("assistant", 'a "b"')]]


@pytest.mark.parametrize(("name", "mark"), [("a.tsv", b"\t"), ("a.csv", b";"), ("a.csv", b"\t")])
def test_delimiters(tmp_path, name, mark):
    rows = read_csv(tmp_path, b"instruction,output\nq,a\n".replace(b",", mark), name)
    assert rows[0].example.response == "a"


def test_csv_with_a_column_twice(tmp_path):
    with pytest.raises(PoolError, match="two columns are called 'output'"):
        read_csv(tmp_path, b"instruction,output,output\nq,a,b\n")


def test_csv_with_only_a_header(tmp_path):
    with pytest.raises(PoolError, match="holds no rows"):
        read_csv(tmp_path, b"instruction,output\n")


def test_corrupt_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 this is no Parquet file")
    with pytest.raises(PoolError, match="broken Parquet data") as caught:
        open_pool([path])
    one_line(caught)
    pq.write_table(pa.Table.from_pylist([ALPACA] * 5000), path, compression="none")
    data = bytearray(path.read_bytes())
    data[4:60] = bytes(56)
    path.write_bytes(data)
    with pytest.raises(PoolError, match="broken Parquet data") as caught:
        open_pool([path])
    one_line(caught)


def test_parquet_that_breaks_later(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    table = pa.table({"instruction": ["q"] * 4000, "output": [os.urandom(20).hex()] * 4000})
    pq.write_table(
        table, path, row_group_size=1000, compression="none", use_dictionary=False,
        write_statistics=False,
    )  # fmt: skip
    offset = pq.read_metadata(path).row_group(2).column(0).data_page_offset
    data = bytearray(path.read_bytes())
    data[offset : offset + 40] = b"\xff" * 40
    path.write_bytes(data)
    rows = read_rows(path)
    assert 1500 < len(rows) <= 2001
    ((row, reason),) = rejections(rows)
    assert row == len(rows) - 1
    assert reason.startswith("the rest of the file is unreadable: broken Parquet data")


# ── files and folders ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.jsonl", ""), ("a.json", ""), ("a.json", "[]"), ("a.json", " [ ] "), ("a.jsonl", "\n \n"),
     ("a.csv", ""), ("a.jsonl.gz", "")],
)  # fmt: skip
def test_empty_files(tmp_path, name, data):
    (tmp_path / name).write_text(data)
    with pytest.raises(PoolError, match="holds no rows") as caught:
        open_pool([tmp_path / name])
    assert str(tmp_path / name) in one_line(caught)


@pytest.mark.parametrize("name", ["missing.jsonl", "missing", "/no/such/place.json", "a b"])
def test_missing_files(name):
    with pytest.raises(PoolError, match="there is no file or folder") as caught:
        open_pool([name])
    one_line(caught)


def test_no_sources():
    with pytest.raises(PoolError, match="no pool was given"):
        open_pool([])


def test_a_folder_without_pool_files(tmp_path):
    (tmp_path / "README.md").write_text("x")
    with pytest.raises(PoolError, match="holds no pool files; known endings: .json"):
        open_pool([tmp_path])


def test_an_unknown_ending(tmp_path):
    (tmp_path / "a.xlsx").write_text("x")
    with pytest.raises(PoolError, match="cannot tell what .*a.xlsx holds"):
        open_pool([tmp_path / "a.xlsx"])


def test_a_pipe_cannot_be_read_twice(tmp_path):
    os.mkfifo(tmp_path / "a.jsonl")
    with pytest.raises(PoolError, match="no regular file"):
        open_pool([tmp_path / "a.jsonl"])


def test_permission_denied(tmp_path, monkeypatch):
    path = write_jsonl(tmp_path / "a.jsonl", [ALPACA])
    if os.geteuid() == 0:  # root may read everything: let the system call refuse
        from instructmine.formats._containers import _bytes

        def refuse(place):
            raise PermissionError(13, "Permission denied", str(place))

        monkeypatch.setattr(_bytes, "open_bytes", refuse)
    else:
        path.chmod(0)
    with pytest.raises(PoolError, match="cannot read .*a.jsonl: permission denied") as caught:
        open_pool([path])
    one_line(caught)


def test_a_file_that_fits_nothing_names_its_columns_and_a_way_out(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"doc_id": "1", "user_ask": "q", "reply": "a", "n": 3}])
    with pytest.raises(PoolError) as caught:
        open_pool([tmp_path / "a.jsonl"])
    message = one_line(caught)
    assert "its columns: doc_id, user_ask, reply, n" in message
    assert "--map prompt=user_ask,response=reply" in message


def test_a_file_that_changes_between_the_passes(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [ALPACA, ALPACA])
    pool = open_pool([path])
    write_jsonl(path, [ALPACA])
    with pytest.raises(PoolError, match="has changed since it was opened; run again"):
        pool.fetch([(str(path), 1)])
