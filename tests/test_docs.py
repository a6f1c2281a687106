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
def workdir(tmp_path_factory):
    """Scores are kept from page to page."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture
def run(tmp_path, workdir, monkeypatch, capsys):
    """Runs a command in a folder as a reader has it: the examples are there, nothing else."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INSTRUCTMINE_WORKDIR", str(workdir))

    def call(line):
        monkeypatch.setattr(sys, "argv", shlex.split(line))
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        streams = capsys.readouterr()
        return code, streams.out + streams.err

    return call


def commands(text):
    joined = text.replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.startswith("instructmine ")]


def masked(line):
    return re.sub(r"\d[\d,.e+-]*", "#", line.strip())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_runs_from_the_top(page, run):
    for language, body in FENCE.findall(page.read_text(encoding="utf-8")):
        if language == "bash":
            for line in commands(body):
                code, output = run(line)
                assert code == 0, f"{line}\n{output}"
        elif language == "console":
            check_console(body, run)
        elif language == "python" and "# not run" not in body:
            exec(compile(body, str(page), "exec"), {"__name__": "docs"})


def check_console(body, run):
    """What is shown is what comes out, numbers aside."""
    output = None
    for line in body.replace("\\\n", " ").splitlines():
        if line.startswith("$"):
            command = line.removeprefix("$").strip()
            output = None
            if command.startswith("instructmine "):
                _, printed = run(command)
                output = {re.sub(r"\s+", " ", masked(one)) for one in printed.splitlines()}
        elif output is not None and line.strip() and line.strip() != "…":
            assert re.sub(r"\s+", " ", masked(line)) in output, f"{command}\n{line}\n{printed}"


def test_there_is_something_to_run():
    assert sum(len(commands(body)) for page in PAGES for body in blocks(page, "bash")) >= 8
