"""Publishing: whole files or none, and one line when the place cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from instructmine.errors import InstructmineError
from instructmine.files import (
    check_place,
    publish,
    publish_folder,
    publish_text,
    write_bytes,
    write_error,
    write_text,
)


def test_publishes_whole_file_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "new folder" / "a.txt"
    write_text(out, "é\r\n\u2028\x00")
    assert out.read_bytes() == "é\r\n\u2028\x00".encode()
    assert os.listdir(out.parent) == ["a.txt"]


def test_replaces_only_at_the_end(tmp_path: Path) -> None:
    out = tmp_path / "a.txt"
    out.write_text("old")
    with publish_text(out) as handle:
        handle.write("new")
        handle.flush()
        assert out.read_text() == "old"
    assert out.read_text() == "new"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_an_exception_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    out = tmp_path / "a.txt"
    out.write_text("old")
    with pytest.raises(error), publish_text(out) as handle:
        handle.write("half")
        raise error
    assert out.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a", b"x")
        with publish_folder(tmp_path / "model") as folder:
            (folder / "parts").mkdir()
            (folder / "parts" / "weights").touch(mode=0o600)
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "model" / "parts" / "weights").stat().st_mode & 0o777 == 0o640


def test_follows_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far" / "a")
    write_text(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "far" / "a").read_text() == "x"


def test_a_long_name_is_no_obstacle(tmp_path: Path) -> None:
    out = tmp_path / ("ä" * 120 + ".jsonl")
    write_text(out, "x")
    assert out.read_text() == "x"


def test_refuses_folders_and_devices(tmp_path: Path) -> None:
    with pytest.raises(InstructmineError, match="it is a folder"):
        write_text(tmp_path, "x")
    with pytest.raises(InstructmineError, match="no regular file"):
        write_text("/dev/full", "x")


def test_a_file_in_the_path_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(InstructmineError, match="a part of the path is a file"):
        write_text(tmp_path / "a" / "b", "x")


def test_errors_about_other_files_pass_through(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), publish(tmp_path / "a"):
        (tmp_path / "missing").read_text()


@pytest.mark.skipif(os.name != "posix", reason="needs resource limits")
def test_a_file_that_cannot_grow_leaves_the_old_one(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands in for a full disk: the write fails in the middle of the file."""
    out = tmp_path / "a.txt"
    out.write_text("old")
    script = (
        "import sys, resource\n"
        "from instructmine import files\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "files.write_text(sys.argv[1], 'x' * 1_000_000)\n"
    )
    run = subprocess.run([sys.executable, "-c", script, out], capture_output=True, text=True)
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("instructmine.errors.InstructmineError: file size limit reached")
    assert str(out) in last
    assert out.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_disk_full_says_so(tmp_path: Path) -> None:
    """/dev/full gives the real error of a full disk."""
    with pytest.raises(OSError) as caught, Path("/dev/full").open("wb", buffering=0) as handle:
        handle.write(b"x")
    message = str(write_error(tmp_path / "x", caught.value))
    assert message == f"disk full while writing {tmp_path / 'x'}; free space and run again"


def test_disk_full_inside_the_block_is_translated(tmp_path: Path) -> None:
    with (
        pytest.raises(InstructmineError, match="disk full while writing"),
        publish(tmp_path / "x") as temporary,
    ):
        temporary.write_bytes(b"half")
        with Path("/dev/full").open("wb", buffering=0) as full:
            full.write(b"x")
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_written_is_known_before(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    check_place(tmp_path / "file")
    check_place(tmp_path / "new" / "folder" / "a.txt")
    assert os.listdir(tmp_path) == ["file"]
    with pytest.raises(InstructmineError, match="a folder of this name"):
        check_place(tmp_path)
    with pytest.raises(InstructmineError, match="a part of the path is a file"):
        check_place(tmp_path / "file" / "a.txt")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_without_permission_is_known_before(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InstructmineError, match="permission denied"):
        check_place(tmp_path / "a.txt")
