"""Redis fails over to a replica while a worker is at work: it goes on by itself."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import states
from taskq.exceptions import OperationalError
from taskq.result import AsyncResult
from tests.faults.conftest import MakeStage
from tests.faults.stage import Stage
from tests.servers import RedisCluster, RedisSentinel, redis_cluster, redis_sentinel


def _fails_over(stage: Stage, servers: RedisSentinel | RedisCluster, queue_key: str) -> None:
    worker = stage.worker(concurrency=2)
    before = stage.send_notes(range(20))
    stage.assert_all_done(before)
    running = stage.send("hold", "long")
    stage.wait_journal("start", "long")
    # Replication is asynchronous: what the replica has not got is lost, as the documentation says.
    _await_replicas(servers, queue_key)
    if isinstance(servers, RedisCluster):
        servers.fail_over(queue_key)
    else:
        servers.fail_over()
    stage.gates.open("long")
    after = _send_when_possible(stage)
    stage.wait(
        lambda: len(stage.outcomes([running, *after])) == 21, "all outcomes after the fail-over"
    )
    assert set(stage.outcomes([running, *before, *after]).values()) == {states.SUCCESS}
    assert stage.journal.count("start", "long") == 1, "its lease was kept"
    assert worker.terminate() == 0


def _send_when_possible(stage: Stage) -> list[AsyncResult[Any]]:
    """Twenty more tasks, as soon as Redis takes them."""
    sent: list[AsyncResult[Any]] = []

    def accepted() -> bool:
        try:
            sent.extend(stage.send_notes(range(100, 120)))
        except OperationalError:
            return False
        return True

    stage.wait(accepted, "Redis to take tasks again")
    return sent


def _await_replicas(servers: RedisSentinel | RedisCluster, key: str) -> None:
    master = servers.master_of(key) if isinstance(servers, RedisCluster) else servers.master
    master.ask("WAIT", "1", "5000")


@pytest.mark.usefixtures("shared_redis")  # skipped where Redis is missing
def test_sentinels_name_another_master(make_stage: MakeStage) -> None:
    with redis_sentinel() as servers:
        stage = make_stage(broker_url=servers.url, redis_socket_timeout=2, broker_lease=10)
        _fails_over(stage, servers, "")


@pytest.mark.usefixtures("shared_redis")
def test_a_node_of_a_cluster_dies(make_stage: MakeStage) -> None:
    with redis_cluster() as servers:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in servers.nodes)
        stage = make_stage(
            broker_url=f"rediscluster://{hosts}", redis_socket_timeout=2, broker_lease=10
        )
        _fails_over(stage, servers, "taskq:{default}:0")
