"""The Ray engine with small workers: results, laziness, errors, joining and leaving."""

import pytest
from crash_workers import Absent, Doubler, notes

from instructmine.engines.ray import RayEngine
from instructmine.errors import InstructmineError, MissingExtraError, UsageError


@pytest.fixture
def engine(cluster):
    return RayEngine(workers=2, address=cluster.address)


def flat(results):
    return [value for result in results for value in result]


def test_actors_stay_and_jobs_are_drawn_as_they_are_needed(engine, tmp_path):
    drawn = []
    jobs = (drawn.append(n) or [n] for n in range(12))
    results = engine.run(Doubler(tmp_path), jobs)
    first = next(results)
    assert len(drawn) <= 1 + 2 * 2
    assert sorted(flat([first, *results])) == [2 * n for n in range(12)]
    assert 1 <= len(notes(tmp_path, "opened")) <= 2


def test_one_job_takes_one_actor(engine, tmp_path):
    assert list(engine.run(Doubler(tmp_path), [[1]])) == [[2]]
    assert len(notes(tmp_path, "opened")) == 1


@pytest.mark.parametrize("stateful", [True, False], ids=["actors", "tasks"])
def test_a_poison_number_is_found_and_the_others_are_done(engine, tmp_path, stateful):
    worker = Doubler(tmp_path, poison=(2,), stateful=stateful)
    found = flat(engine.run(worker, [[1, 2], [4, 5]]))
    lost = [value for value in found if isinstance(value, tuple)]
    assert lost == [(2, "its worker process died 3 times")]
    assert sorted(value for value in found if value not in lost) == [2, 8, 10]
    assert notes(tmp_path, "tried").count("2") == 3 + 3  # with another, alone


@pytest.mark.parametrize("stateful", [True, False], ids=["actors", "tasks"])
def test_errors_of_a_worker_arrive_as_they_were(engine, tmp_path, stateful):
    worker = Doubler(tmp_path, stateful=stateful)
    with pytest.raises(UsageError, match="^a number is wrong; give another one$"):
        list(engine.run(worker, [["wrong"]]))
    with pytest.raises(MissingExtraError, match="a test needs nothing, which is not installed"):
        list(engine.run(worker, [["missing"]]))


@pytest.mark.parametrize("stateful", [True, False], ids=["actors", "tasks"])
def test_a_machine_without_the_package_is_one_line(engine, tmp_path, stateful):
    with pytest.raises(InstructmineError, match=r"start on .* No module named 'ins") as caught:
        list(engine.run(Absent(tmp_path, stateful=stateful), [[1], [2]]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("gpus", "share", "devices"), [(1, 0.5, ["0", "0"]), (1, 1.0, ["0"]), (2, 1.0, ["0", "1"])]
)
def test_workers_have_gpus_or_shares_of_them(cluster, engine, tmp_path, gpus, share, devices):
    node = cluster.add_node(num_cpus=2, num_gpus=gpus, object_store_memory=80 << 20)  # it says
    cluster.wait_for_nodes()
    try:
        worker = Doubler(tmp_path, seconds=0.4, gpus=share)
        assert sorted(flat(engine.run(worker, [[n] for n in range(10)]))) == list(range(0, 20, 2))
    finally:
        cluster.remove_node(node)
    assert sorted(notes(tmp_path, "devices")) == devices  # one per process


def test_a_cluster_that_is_not_there_is_one_line():
    with pytest.raises(InstructmineError, match=r"cannot join Ray at 127\.0\.0\.1:1 \(.*\); see"):
        list(RayEngine(address="127.0.0.1:1").run(Doubler(None), [[1]]))


def test_the_address_of_a_client_is_refused():
    with pytest.raises(UsageError, match="with --ray-address auto"):
        RayEngine(address="ray://head:10001")
