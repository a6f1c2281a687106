"""The local engine: order, laziness, errors, and what happens when a process dies."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from crash_workers import Doubler, notes

from instructmine.engines.local import LocalEngine
from instructmine.errors import InstructmineError, MissingExtraError, UsageError


def flat(results):
    return [value for result in results for value in result]


def test_one_worker_runs_here_in_order(tmp_path):
    assert list(LocalEngine().run(Doubler(tmp_path), [[1], [2, 3]])) == [[2], [4, 6]]


def test_a_crew_gives_every_result_once_and_draws_no_more_than_it_needs(tmp_path):
    drawn = []
    jobs = (drawn.append(n) or [n] for n in range(20))
    results = LocalEngine(workers=2).run(Doubler(tmp_path), jobs)
    first = next(results)
    assert len(drawn) <= 4
    assert sorted(flat([first, *results])) == [2 * n for n in range(20)]
    assert 1 <= len(notes(tmp_path, "opened")) <= 2


def test_a_poison_number_is_found_and_the_others_are_done(tmp_path):
    jobs = [list(range(4)), list(range(4, 8)), list(range(8, 12))]
    found = flat(LocalEngine(workers=2).run(Doubler(tmp_path, poison=(6,)), jobs))
    lost = [value for value in found if isinstance(value, tuple)]
    assert lost == [(6, "its worker process died 3 times")]
    assert sorted(value for value in found if value not in lost) == [
        2 * n for n in range(12) if n != 6
    ]
    assert notes(tmp_path, "tried").count("6") == 3 + 1 + 3  # whole, its half, alone


def test_a_death_by_chance_costs_nothing(tmp_path):
    found = flat(LocalEngine(workers=2).run(Doubler(tmp_path, once=(2,)), [[1, 2], [3]]))
    assert sorted(found) == [2, 4, 6]


def test_where_everything_dies_it_stops_with_one_line(tmp_path):
    worker = Doubler(tmp_path, poison=tuple(range(100)))
    with pytest.raises(InstructmineError, match="24 worker processes in a row ended by themselves"):
        list(LocalEngine(workers=2).run(worker, [list(range(100))]))


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_of_a_worker_arrive_as_they_were(tmp_path, workers):
    engine = LocalEngine(workers=workers)
    with pytest.raises(UsageError, match="^a number is wrong; give another one$"):
        list(engine.run(Doubler(tmp_path), [["wrong"]]))
    with pytest.raises(MissingExtraError, match="a test needs nothing, which is not installed"):
        list(engine.run(Doubler(tmp_path), [["missing"]]))


RUN = """
from pathlib import Path
from crash_workers import Doubler
from instructmine.engines.local import LocalEngine
if __name__ == "__main__":
    list(LocalEngine(workers=2).run(Doubler(Path("."), seconds=600), [[1], [2]]))
"""


def test_no_process_outlives_a_run_that_was_killed(tmp_path):
    (tmp_path / "run.py").write_text(RUN)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    run = subprocess.Popen([sys.executable, "run.py"], cwd=tmp_path, env=env)
    assert within(60, lambda: len(notes(tmp_path, "opened")) == 2)
    run.kill()
    run.wait()
    assert within(30, lambda: not any(alive(int(pid)) for pid in notes(tmp_path, "opened")))


def within(seconds, true):
    """Whether something comes true in time."""
    end = time.monotonic() + seconds
    while not (found := true()) and time.monotonic() < end:
        time.sleep(0.1)
    return found


def alive(pid):
    """Whether a process runs; one that ended and that nobody has asked about does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
