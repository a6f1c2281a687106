"""The journal: nothing that was written is lost, nothing half written is read."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from instructmine.errors import InstructmineError
from instructmine.journal import Journal
from instructmine.recipes import Recipe

RECIPE = Recipe.of("endpoint", {"model": "m", "version": 1})
KEYS = [f"{number:032x}" for number in range(40)]


def journal(tmp_path):
    return Journal(tmp_path, "judgments", RECIPE)


def test_what_was_appended_is_there_for_the_next_process(tmp_path):
    one = journal(tmp_path)
    records = {KEYS[0]: {"text": "ü\n\u2028"}, KEYS[1]: {}, KEYS[2]: {"a": ["x"], "b": None}}
    for key, record in records.items():
        one.append(key, record)
    for found in (one, journal(tmp_path)):
        assert {key: dict(found.get(key)) for key in records} == {
            key: {"key": key, **record} for key, record in records.items()
        }
        assert len(found) == 3 and KEYS[0] in found and found.get(KEYS[9]) is None
    assert json.loads((one.folder / "recipe.json").read_text())["fields"]["model"] == "m"


def test_the_first_result_of_a_key_counts(tmp_path):
    one, other = journal(tmp_path), journal(tmp_path)
    one.append(KEYS[0], {"a": 1})
    other.append(KEYS[0], {"a": 2})
    assert journal(tmp_path).get(KEYS[0])["a"] == 1


@pytest.mark.parametrize("cut", [1, 5, 30, 45])
def test_a_line_that_was_cut_is_passed_over(tmp_path, cut):
    one = journal(tmp_path)
    for key in KEYS[:3]:
        one.append(key, {"text": "some words"})
    one.close()
    (path,) = one.folder.glob("*.jsonl")
    os.truncate(path, path.stat().st_size - cut)
    again = journal(tmp_path)
    assert [key in again for key in KEYS[:3]] == [True, True, False]
    again.append(KEYS[2], {"text": "anew"})
    assert journal(tmp_path).get(KEYS[2])["text"] == "anew"


def test_resume_asks_for_what_is_missing_once_and_says_what_is_left(tmp_path):
    asked = []

    def work(items):
        asked.extend(items)
        return [(index, {"n": item}) for index, item in enumerate(items) if item != 7][::-1]

    items = [(KEYS[n], n) for n in [0, 1, 2, 1, 7, 3, 0]]
    found = dict(journal(tmp_path).resume(iter(items), work, chunk=3))
    assert [found[place] and found[place]["n"] for place in range(7)] == [0, 1, 2, 1, None, 3, 0]
    assert asked == [0, 1, 2, 7, 3]
    again = dict(journal(tmp_path).resume(items, work))
    assert asked == [0, 1, 2, 7, 3, 7] and again[4] is None


def test_several_processes_append_at_once(tmp_path):
    code = (
        "import sys; from instructmine.journal import Journal; from instructmine.recipes import "
        "Recipe; j = Journal(sys.argv[1], 'judgments', Recipe.of('endpoint', {'model': 'm', "
        "'version': 1}))\n"
        "for n in range(300): j.append(f'{n + 1000 * int(sys.argv[2]):032x}', {'text': 'x' * 500})"
    )
    crew = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(number)])
        for number in range(3)
    ]
    assert [one.wait(60) for one in crew] == [0, 0, 0]
    assert len(journal(tmp_path)) == 900


def test_a_killed_process_loses_nothing_it_had_written(tmp_path):
    code = (
        "import sys; from instructmine.journal import Journal; from instructmine.recipes import "
        "Recipe; j = Journal(sys.argv[1], 'judgments', Recipe.of('endpoint', {'model': 'm', "
        "'version': 1}))\n"
        "n = 0\nwhile True:\n  j.append(f'{n:032x}', {'text': 'x' * 100}); n += 1\n"
        "  print(n, flush=True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    for _ in range(50):
        process.stdout.readline()
    time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    said = process.communicate()[0].split("\n")
    counted = max([50, *(int(line) for line in said[:-1] if line)])
    assert len(journal(tmp_path)) >= counted


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    one = journal(tmp_path)

    class Full:
        def tell(self):
            return 0

        def write(self, line):
            return len(line) // 2

    one._file = Full()
    with pytest.raises(InstructmineError, match="disk full while writing"):
        one.append(KEYS[0], {"text": "x"})
