"""What dies in the middle of a run on Ray costs no result and adds none."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from crash_workers import Doubler, Fragile, notes

import instructmine as im
from instructmine.engines.ray import RayEngine
from instructmine.formats import open_pool
from instructmine.recipes import Recipe
from instructmine.stages._index import index_pool
from instructmine.stages._measure import Measurement, gather, measure
from instructmine.stages._run import open_run
from pools import rows, write

pytestmark = pytest.mark.timeout(240)
KINDS = pytest.mark.parametrize("stateful", [True, False], ids=["actors", "tasks"])


def values(results):
    return sorted(value for result in results for value in result)


@KINDS
def test_a_killed_worker_costs_nothing(cluster, tmp_path, stateful):
    worker = Doubler(tmp_path, seconds=0.3, stateful=stateful)
    results = RayEngine(workers=2, address=cluster.address).run(worker, [[n] for n in range(10)])
    found = [next(results)]
    os.kill(int(notes(tmp_path, "opened")[-1]), signal.SIGKILL)
    assert values([*found, *results]) == [2 * n for n in range(10)]


@KINDS
def test_a_machine_that_goes_away_costs_nothing(cluster, tmp_path, stateful):
    node = cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
    cluster.wait_for_nodes()
    worker = Doubler(tmp_path, seconds=0.5, stateful=stateful)
    results = RayEngine(workers=3, address=cluster.address).run(worker, [[n] for n in range(30)])
    found = []
    for result in results:
        found.append(result)
        if node is not None and len(set(notes(tmp_path, "opened"))) == 3:  # it has come to work
            cluster.remove_node(node, allow_graceful=False)
            node = None
    assert node is None, "the third machine did nothing: give it more jobs"
    assert values(found) == [2 * n for n in range(30)]


@pytest.fixture
def scored(tmp_path):
    """Score a pool that holds a poison example with an engine; returns table and tally."""
    made = rows(4)
    made[2]["instruction"] = "This one is poison."
    index = index_pool(open_pool([write(tmp_path / "pool.jsonl", made)]))
    fragile = Fragile()
    one = Measurement("fragile", fragile, ("characters",), Recipe.of("fragile", fragile.identity()))

    def call(name, **options):
        run = open_run(profile="starter", workdir=tmp_path / name, **options)
        tally = measure(run, index, one)
        return gather(run, index, [one], {"fragile": tally}).table, tally

    return call


def test_a_poison_example_has_no_value_and_a_reason_on_both_engines(cluster, scored, caplog):
    ray, tally = scored("ray", engine="ray", workers=2, ray_address=cluster.address)
    assert (tally.computed, tally.died, tally.unscorable) == (4, 1, 1)
    assert "has no fragile: its worker process died 3 times" in caplog.text
    errors = ray.column("errors").to_pylist()
    assert errors[2] == "fragile: its worker process died 3 times"
    assert errors.count(None) == 3 and ray.column("characters").null_count == 1
    local, same = scored("local", engine="local", workers=2)
    assert local.equals(ray) and same.died == 1
    assert scored("ray", engine="local")[1].computed == 0  # known, and not tried again


def test_a_killed_run_goes_on_to_the_same_table(cluster, tmp_path):
    pool = write(tmp_path / "pool.jsonl", rows(8000))
    place, out = tmp_path / "work", tmp_path / "scores.parquet"
    command = ["score", pool, "-o", out, "--indicators", "mtld", "--workdir", place,
               "--engine", "ray", "--workers", "2", "--ray-address", cluster.address]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "instructmine", *map(str, command)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while process.poll() is None and len(parts(place)) < 3:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = len(parts(place))
    assert 3 <= kept < 30, "it ended before the signal: make the pool larger"

    options = {"engine": "ray", "workers": 2, "ray_address": cluster.address}
    again = im.score(pool, indicators=["mtld"], workdir=place, **options)
    assert 0 < again.manifest["indicators"]["mtld"]["computed"] <= 8000 - 256 * kept
    clean = im.score(pool, indicators=["mtld"], workdir=tmp_path / "clean")
    assert again.scores.table.equals(clean.scores.table)


def parts(place):
    return list(Path(place).glob("scores/mtld-*/parts/*.parquet"))


def test_a_process_that_dies_leaves_stdout_to_the_result(cluster, tmp_path):
    """Ray says on stdout that a process died; there only the program's own output may be."""
    program = (
        "from crash_workers import Doubler; from pathlib import Path; import sys\n"
        "from instructmine.engines.ray import RayEngine\n"
        "engine = RayEngine(address=sys.argv[1])\n"
        "print(list(engine.run(Doubler(Path(sys.argv[2]), poison=(1,)), [[1]])))\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", program, cluster.address, tmp_path],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "[[(1, 'its worker process died 3 times')]]\n", done.stderr
    assert done.stderr == ""
