import sys

import pytest

from instructmine.cli import main
from pools import rows, write


@pytest.fixture(autouse=True)
def workdir(tmp_path, monkeypatch):
    """Keep scores in a folder of the test's own."""
    folder = tmp_path / "work"
    monkeypatch.setenv("INSTRUCTMINE_WORKDIR", str(folder))
    monkeypatch.delenv("INSTRUCTMINE_DEBUG", raising=False)
    return folder


@pytest.fixture
def pool(tmp_path):
    return write(tmp_path / "pool.jsonl", rows(40))


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line in this process: `run("list", "rules")` → (code, stdout, stderr)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["instructmine", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        streams = capsys.readouterr()
        return code, streams.out, streams.err

    return call
