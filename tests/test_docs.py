"""The documents are run: every command and every Python block, and what they are said to print.

Blocks marked `bash` hold commands; blocks marked `console` hold `$ command` lines followed by
what it prints, numbers aside, with `…` for lines left out. Only `instructmine` is run.
"""

import re
import shlex
import sys
from pathlib import Path

import pytest

from instructmine.cli import main

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
PAGES = [page for page in PAGES if page.name != "cli.md"]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page, language):
    return [
        body for kind, body in FENCE.findall(page.read_text(encoding="utf-8")) if kind == language
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder as a reader has it: the examples are there, scores are kept."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "examples").symlink_to(ROOT / "examples")
    return folder


@pytest.fixture
def reader(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.setenv("INSTRUCTMINE_WORKDIR", str(place / "work"))

    def run(line):
        monkeypatch.setattr(sys, "argv", shlex.split(line))
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        streams = capsys.readouterr()
        return code, streams.out + streams.err

    return run


def commands(text):
    joined = text.replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.startswith("instructmine ")]


def masked(line):
    return re.sub(r"\d[\d,.e+-]*", "#", line.strip())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_run(page, reader):
    for body in blocks(page, "bash"):
        for line in commands(body):
            code, output = reader(line)
            assert code == 0, f"{line}\n{output}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_shown_output_is_what_comes_out(page, reader):
    for body in blocks(page, "console"):
        output = None
        for line in body.replace("\\\n", " ").splitlines():
            if line.startswith("$"):
                command = line.removeprefix("$").strip()
                output = None
                if command.startswith("instructmine "):
                    _, printed = reader(command)
                    output = {re.sub(r"\s+", " ", masked(one)) for one in printed.splitlines()}
            elif output is not None and line.strip() and line.strip() != "…":
                assert re.sub(r"\s+", " ", masked(line)) in output, f"{command}\n{line}\n{printed}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_runs(page, place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("INSTRUCTMINE_WORKDIR", str(place / "work"))
    for body in blocks(page, "python"):
        if "# not run" not in body:
            exec(compile(body, str(page), "exec"), {"__name__": "docs"})


def test_there_is_something_to_run():
    assert sum(len(commands(body)) for page in PAGES for body in blocks(page, "bash")) >= 8
