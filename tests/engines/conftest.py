"""One Ray cluster for all tests of the engine: two machines of one CPU each, on this one."""

import os
from pathlib import Path

import pytest

os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",
    "RAY_worker_niceness": "0",  # 15 by default, which on a busy machine is to stand still
}


@pytest.fixture(scope="session")
def cluster():
    """A cluster of a head and a further node, one CPU each."""
    pytest.importorskip("ray")
    import ray
    from ray.cluster_utils import Cluster

    # Ray's processes inherit this and find the tests' own workers by it.
    path = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    node = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=node)
    made.add_node(**{k: v for k, v in node.items() if k != "include_dashboard"})
    yield made
    ray.shutdown()
    made.shutdown()
