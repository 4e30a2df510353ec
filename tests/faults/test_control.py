"""Remote control of real workers: busy ones, after the broker was away, with garbage about."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import states
from taskq.brokers.notices import Notice
from taskq.control.mailbox import commands_channel
from taskq.exceptions import OperationalError
from tests.faults.conftest import and_rabbitmq
from tests.faults.stage import Stage
from tests.servers import RedisServer

PATIENCE = 20.0


def ask(stage: Stage, command: str, worker: str = "worker1@here", **arguments: Any) -> Any:
    """One worker's answer."""
    replies = stage.app.control.broadcast(
        command, arguments, [worker], reply=True, timeout=PATIENCE
    )
    assert replies is not None
    ((name, answer),) = replies[0].items()
    assert name == worker
    return answer


@and_rabbitmq
@pytest.mark.usefixtures("leases")
def test_a_worker_answers_while_all_its_processes_are_busy(stage: Stage) -> None:
    worker = stage.worker(concurrency=2)
    held = [stage.send("hold", name) for name in ("a", "b")]
    for name in ("a", "b"):
        stage.wait_journal("start", name)
    waiting = stage.send("note", "waiting")
    later = stage.send("note", "later", countdown=1000)
    stage.wait(lambda: len(ask(stage, "reserved")) == 1, "the third to be held")
    assert ask(stage, "ping") == {"ok": "pong"}
    active = ask(stage, "active")
    assert {info["id"] for info in active} == {result.id for result in held}
    assert {info["worker_pid"] for info in active} == {child.pid for child in worker.children()}
    assert [info["id"] for info in ask(stage, "reserved")] == [waiting.id]
    assert [info["request"]["id"] for info in ask(stage, "scheduled")] == [later.id]
    assert ask(stage, "stats")["pool"]["max-concurrency"] == 2
    assert "note" in ask(stage, "registered")
    for name in ("a", "b"):
        stage.gates.open(name)
    assert {result.get(timeout=PATIENCE) for result in held} == {i["worker_pid"] for i in active}
    assert waiting.get(timeout=PATIENCE) == "waiting"
    stage.wait(lambda: ask(stage, "stats")["total"].get("note") == 1, "the total")
    assert worker.terminate() == 0


@and_rabbitmq
def test_several_workers_and_their_ends(stage: Stage) -> None:
    workers = {f"worker{n}@here": stage.worker() for n in (1, 2)}
    replies = stage.app.control.ping(limit=2, timeout=PATIENCE)
    assert {name for reply in replies for name in reply} == workers.keys()
    running = stage.send("hold", "gate")
    stage.wait_journal("start", "gate")
    for name in workers:
        assert ask(stage, "shutdown", name) == {"ok": "shutting down"}
    stage.gates.open("gate")
    assert [worker.end() for worker in workers.values()] == [0, 0]
    assert running.successful()


@and_rabbitmq
def test_queues_come_and_go(stage: Stage) -> None:
    stage.worker(concurrency=1)
    first = stage.send("note", "first", queue="more")
    assert ask(stage, "add_consumer", queue="more") == {"ok": "add consumer more"}
    assert first.get(timeout=PATIENCE) == "first"
    held = stage.send("hold", "gate", queue="more")
    stage.wait_journal("start", "gate")
    waiting = stage.send("note", "waiting", queue="more")
    stage.wait(lambda: len(ask(stage, "reserved")) == 1, "it to be held")
    assert ask(stage, "cancel_consumer", queue="more") == {"ok": "no longer consuming from more"}
    stage.wait(lambda: stage.app.broker.depth("more").ready == 1, "it to be given back")
    stage.gates.open("gate")
    assert held.get(timeout=PATIENCE)
    assert stage.send("note", "default").get(timeout=PATIENCE) == "default"
    assert waiting.state == states.PENDING
    ask(stage, "add_consumer", queue="more")
    assert waiting.get(timeout=PATIENCE) == "waiting"


@and_rabbitmq
def test_terminate_and_revoke(stage: Stage) -> None:
    stage.worker(concurrency=1)
    victim, queued = stage.send("hold", "victim"), stage.send("note", "queued")
    stage.wait_journal("start", "victim")
    ask(stage, "revoke", task_id=queued.id)
    ask(stage, "terminate", task_id=victim.id, signal="SIGKILL")
    stage.assert_all_done([victim, queued])
    assert (victim.state, queued.state) == (states.REVOKED, states.REVOKED)
    assert set(ask(stage, "revoked")) == {victim.id, queued.id}
    assert stage.send("note", "next").get(timeout=PATIENCE) == "next"
    # Who comes later knows them as well.
    stage.worker()
    stage.wait(
        lambda: set(ask(stage, "revoked", "worker2@here")) == {victim.id, queued.id}, "the second"
    )


def test_time_limits_of_tasks_that_come_later(stage: Stage) -> None:
    stage.worker(concurrency=1)
    assert "ok" in ask(stage, "time_limit", task_name="hold", hard=0.2)
    result = stage.send("hold", "too long")
    stage.assert_all_done([result])
    assert "0.2" in str(result.result)


def test_the_pool_grows_shrinks_and_restarts(stage: Stage) -> None:
    worker = stage.worker(concurrency=1)
    assert ask(stage, "pool_grow", n=2) == {"ok": "pool will grow"}
    stage.wait(lambda: len(worker.children()) == 3, "three children")
    assert ask(stage, "pool_shrink", n=1) == {"ok": "pool will shrink"}
    stage.wait(lambda: len(worker.children()) == 2, "two children")
    before = set(worker.children())
    assert ask(stage, "pool_restart") == {"ok": "reload started"}
    stage.wait(
        lambda: len(worker.children()) == 2 and before.isdisjoint(worker.children()), "others"
    )
    assert len(ask(stage, "stats")["pool"]["processes"]) == 2
    stage.assert_all_done(stage.send_notes(range(20)))


@and_rabbitmq
def test_garbage_ends_no_worker(stage: Stage) -> None:
    worker = stage.worker()
    channel = commands_channel(stage.app.conf)
    stage.app.broker.broadcast([Notice(channel, "", bytes([n]) * n, {}) for n in range(100)])
    for command in ("", "no_such_command", "ping", "active"):
        stage.app.control.broadcast(command, {"self": 1, "state": 2, "x": {}})
    assert ask(stage, "ping") == {"ok": "pong"}
    assert "cannot be read" in worker.log()
    assert "no command 'no_such_command'" in worker.log()
    assert worker.terminate() == 0


@pytest.mark.parametrize("place", ["redis"], indirect=True)
def test_after_the_broker_was_away(stage: Stage, redis: RedisServer) -> None:
    worker = stage.worker(concurrency=1)
    ask(stage, "add_consumer", queue="more")
    ask(stage, "cancel_consumer", queue="default")
    for kind in ("pubsub", "normal"):  # all connections, the worker's and this program's
        redis.ask("CLIENT", "KILL", "TYPE", kind)
    stage.wait(lambda: _answers(stage), "an answer on a new connection")
    assert [queue["name"] for queue in ask(stage, "active_queues")] == ["more"]
    left = stage.send("note", "left")
    assert stage.send("note", "taken", queue="more").get(timeout=PATIENCE) == "taken"
    assert left.state == states.PENDING
    assert worker.terminate() == 0


def _answers(stage: Stage) -> bool:
    try:
        return bool(stage.app.control.ping(["worker1@here"], timeout=0.5))
    except OperationalError:
        return False  # a connection of this program that had been ended too


def test_no_remote_control(make_stage: Any) -> None:
    stage: Stage = make_stage(worker_enable_remote_control=False)
    worker = stage.worker()
    assert stage.app.control.ping(timeout=0.3) == []
    assert stage.send("note", "x").get(timeout=PATIENCE) == "x"
    assert worker.terminate() == 0
