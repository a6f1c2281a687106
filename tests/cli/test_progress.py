"""Progress where nobody watches: lines of text on stderr."""

import time

import pytest

from instructmine.cli._progress import show_progress


@pytest.mark.parametrize(
    ("done", "total", "seconds", "line"),
    [
        (20_000, 20_000, 4, "rows: 20,000/20,000, 4.0 s, 5,000/s\n"),
        (3, 10, 16, "rows: 3/10, 16.0 s, 0.19/s, 37 s left\n"),
        (30, 0, 10, "rows: 30, 10.0 s, 3/s\n"),
    ],
)
def test_a_line_says_how_far_how_fast_and_how_long(done, total, seconds, line, capsys, monkeypatch):
    clock = iter([0.0, seconds])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with show_progress() as report:
        report("rows", 0, total)
        report("rows", done, total)
    assert capsys.readouterr().err == line
