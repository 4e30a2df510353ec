"""A cluster of RabbitMQ whose nodes die while tasks are sent and run."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from taskq.exceptions import OperationalError
from taskq.result import AsyncResult
from tests.faults.conftest import MakeStage
from tests.faults.stage import Stage
from tests.servers import RabbitMQCluster, RedisServer, rabbitmq_cluster

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RabbitMQCluster]:
    """Three nodes, which all tests of this module share."""
    with rabbitmq_cluster() as cluster:
        yield cluster


@pytest.fixture
def virtual_host(cluster: RabbitMQCluster) -> Iterator[str]:
    with cluster.virtual_host() as name:
        yield name


@pytest.fixture(params=["amqp", "pika"])
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def broker_url(cluster: RabbitMQCluster, virtual_host: str, driver: str) -> str:
    return cluster.from_node(cluster.nodes[0], virtual_host).replace("amqp:", f"{driver}:")


@pytest.fixture
def stage(make_stage: MakeStage, redis: RedisServer) -> Stage:
    return make_stage(
        broker_lease=2,
        result_backend=redis.url,
        task_default_queue_type="quorum",
        task_publish_retry_policy={"max_retries": 30, "interval_step": 0.1, "interval_max": 0.5},
    )


class Traffic:
    """Sends tasks without a pause, until told to stop.

    Args:
        stage: where.

    Attributes:
        accepted: what `delay` has returned for.
        refused: errors that the caller was told.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._over = threading.Event()
        self.accepted: list[AsyncResult[object]] = []
        self.refused: list[OperationalError] = []
        self._thread = threading.Thread(target=self._send)

    def _send(self) -> None:
        while not self._over.is_set():
            key = len(self.accepted)
            try:
                self.accepted.append(self._stage.send("work", key))
            except OperationalError as exc:
                self.refused.append(exc)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._thread.join()


def wait_flow(stage: Stage, traffic: Traffic, count: int = 60) -> None:
    """Wait until so many more were accepted, and so many more have run."""
    accepted, run = len(traffic.accepted), stage.journal.count("run")
    stage.wait(
        lambda: (
            len(traffic.accepted) > accepted + count and stage.journal.count("run") > run + count
        ),
        "tasks to be sent and to run",
        60.0,
    )


def test_nodes_die_while_tasks_are_sent_and_run(
    stage: Stage, cluster: RabbitMQCluster, virtual_host: str, driver: str
) -> None:
    """The queue's leader, and the nodes that worker and producer are connected to."""
    beside = cluster.from_node(cluster.nodes[1], virtual_host).replace("amqp:", f"{driver}:")
    one, other = stage.worker(), stage.worker(settings={"broker_url": beside})
    with Traffic(stage) as traffic:
        wait_flow(stage, traffic)
        for victim in (cluster.leader("default", virtual_host), *cluster.nodes[:2]):
            victim.kill()
            wait_flow(stage, traffic)
            cluster.revive()
            wait_flow(stage, traffic)
    stage.assert_all_done(traffic.accepted, 60.0)
    assert traffic.refused == []
    assert set(stage.outcomes(traffic.accepted).values()) == {"SUCCESS"}
    runs = Counter(entry.key for entry in stage.journal.read("run"))
    assert set(runs) == {str(n) for n in range(len(traffic.accepted))}
    assert {key: count for key, count in runs.items() if count > 1} == {}
    assert [one.terminate(), other.terminate()] == [0, 0]
    assert "Traceback" not in stage.logs()


def test_a_majority_is_gone_for_a_while(
    stage: Stage, cluster: RabbitMQCluster, make_stage: MakeStage, redis: RedisServer
) -> None:
    """Callers are told so, and workers wait."""
    worker = stage.worker()
    results = stage.send_notes(range(5))
    stage.assert_all_done(results)
    for node in cluster.nodes[1:]:
        node.kill()
    with pytest.raises(OperationalError, match="RabbitMQ"):
        stage.send("note", "refused", retry=False)
    cluster.revive()
    stage.wait(lambda: results.append(stage.send("note", "after")) is None, "a majority")
    stage.assert_all_done(results, 60.0)
    assert stage.journal.count("run", "after") == 1
    assert worker.terminate() == 0
