"""Pools behind URLs, through fsspec: the same rows as from local files, and clear refusals."""

import gzip
import io

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import instructmine as im
from instructmine.errors import PoolError
from instructmine.formats import open_pool
from pools import rows, write


@pytest.fixture
def bucket(tmp_path):
    """A folder in memory, with the same files on disk."""
    system = fsspec.filesystem("memory")
    root = f"/{tmp_path.name}"
    lines = write(tmp_path / "a.jsonl", rows(5)).read_bytes()
    table = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows(4, start=5)), table)
    files = {
        "a.jsonl": lines, "deep/b.jsonl.gz": gzip.compress(lines.replace(b"case", b"Case")),
        "deep/c.parquet": table.getvalue(), "notes.txt": b"no pool",
        "d.csv": b"prompt,response\nHow much?,Two.\n",
    }  # fmt: skip
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
        system.pipe_file(f"{root}/{name}", data)
    yield f"memory://{root}"
    system.rm(root, recursive=True)


def ids(pool):
    return [(row.source, row.row, row.example.id) for row in pool]


def test_a_folder_is_read_as_a_local_one(bucket, tmp_path):
    there, here = open_pool(bucket), open_pool(tmp_path)
    assert ids(there) == ids(here)
    assert there.ignored == here.ignored == ["notes.txt: its ending is not that of a pool file"]
    places = [("deep/c.parquet", 2), ("a.jsonl", 1)]
    assert [r.record for r in there.fetch(places)] == [r.record for r in here.fetch(places)]


def test_a_file_and_a_pattern(bucket, tmp_path):
    one = open_pool(f"{bucket}/a.jsonl")
    assert one.sources == [f"{bucket}/a.jsonl"]
    assert [row.example.id for row in one] == [
        row.example.id for row in open_pool(tmp_path / "a.jsonl")
    ]
    assert open_pool(f"{bucket}/deep/*").sources == [
        f"{bucket}/deep/b.jsonl.gz", f"{bucket}/deep/c.parquet"
    ]  # fmt: skip
    assert len(ids(open_pool(f"file://{tmp_path}/a.jsonl"))) == 5


def test_select_takes_the_same_from_a_url(bucket, tmp_path):
    options = {"size": 4, "rule": "mtld:higher", "workdir": tmp_path / "work"}
    there = im.select(bucket, out=tmp_path / "there.jsonl", **options)
    im.select(tmp_path / "a.jsonl", out=tmp_path / "other.jsonl", **options)
    assert len(there) == 4 and len((tmp_path / "there.jsonl").read_text().splitlines()) == 4
    assert there.manifest["pool"]["rows"] == 15


def test_a_changed_file_is_noticed(bucket):
    pool = open_pool(f"{bucket}/a.jsonl")
    with fsspec.open(f"{bucket}/a.jsonl", "ab") as handle:
        handle.write(b"\n")
    with pytest.raises(PoolError, match="has changed since it was opened"):
        pool.fetch([(f"{bucket}/a.jsonl", 0)])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{}/none.jsonl", "there is no file or folder memory://"),
        ("{}/*.none", "nothing fits memory://"),
        ("nosuch://a/b.jsonl", r"cannot read nosuch://.*; install the fsspec package"),
        ("{0}/a.jsonl {0}/a.jsonl", "is given twice"),
    ],
)
def test_what_is_not_there_is_one_line(bucket, name, message):
    with pytest.raises(PoolError, match=message) as error:
        open_pool(name.format(bucket).split(" "))
    assert "\n" not in str(error.value)
