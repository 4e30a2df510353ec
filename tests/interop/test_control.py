"""Remote control and events between Celery and taskq, and Flower on both."""

from __future__ import annotations

import contextlib
import http.client
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.stage import PATIENCE
from tests.interop.conftest import ON_CELERY, ON_TASKQ, Town
from tests.interop.processes import CeleryProcess
from tests.servers.base import free_ports
from tests.waiting import wait_until

pytestmark = [pytest.mark.rabbitmq, pytest.mark.redis]

TASKQ, CELERY = "worker1@here", "celery1@there"


def by_name(replies: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: value for reply in replies for name, value in reply.items()}


def test_celery_asks_all_workers(town: Town) -> None:
    celery = town.celery
    assert by_name(celery.inspect("ping")) == {TASKQ: {"ok": "pong"}, CELERY: {"ok": "pong"}}
    stats = by_name(celery.inspect("stats", [TASKQ]))[TASKQ]
    assert stats["pid"] == town.taskq_worker.pid
    assert stats["pool"]["max-concurrency"] == 2
    queues = by_name(celery.inspect("active_queues", [TASKQ]))[TASKQ]
    assert sorted(queue["name"] for queue in queues) == ["celery", ON_TASKQ, "taskq.chords"]


def test_taskq_asks_all_workers(town: Town) -> None:
    inspect = town.app.control.inspect(timeout=5)
    assert inspect.ping() == {TASKQ: {"ok": "pong"}, CELERY: {"ok": "pong"}}
    stats = inspect.stats() or {}
    assert stats[CELERY]["pid"] == town.celery_worker.process.pid
    assert "interop.add" in (inspect.registered() or {})[CELERY]


@pytest.mark.slow
def test_what_runs(town: Town, tmp_path: Path) -> None:
    """Celery's client sees what a worker runs; arguments as text, since only a child
    decodes them."""
    gate = tmp_path / "gate"
    sent = town.celery.send("interop.hold", [str(gate)], {}, queue=ON_TASKQ)
    wait_until(gate.exists, PATIENCE, "the task")
    (running,) = by_name(town.celery.inspect("active", [TASKQ]))[TASKQ]
    assert (running["id"], running["name"], running["args"]) == (
        sent,
        "interop.hold",
        str([str(gate)]),
    )
    found = by_name(town.celery.inspect("query_task", [TASKQ], [sent]))[TASKQ]
    assert found[sent][0] == "active"
    gate.unlink()
    assert town.celery.get(sent)["state"] == "SUCCESS"


@pytest.mark.slow
@pytest.mark.parametrize("queue", [ON_TASKQ, ON_CELERY])
@pytest.mark.parametrize("by", ["celery", "taskq"])
def test_a_task_that_waits_is_revoked(town: Town, queue: str, by: str) -> None:
    task_id = str(uuid.uuid4())
    if by == "celery":
        town.celery.revoke(task_id)
    else:
        town.app.control.revoke(task_id)
    for name in (TASKQ, CELERY):
        wait_until(
            lambda name=name: task_id in by_name(town.celery.inspect("revoked", [name]))[name],
            PATIENCE,
            f"{name} to know",
        )
    town.app.send_task("interop.add", (1, 2), queue=queue, task_id=task_id)
    told = town.celery.get(task_id)
    assert (told["state"], told["value"][0]) == ("REVOKED", "TaskRevokedError")


@pytest.mark.slow
def test_a_task_that_runs_is_terminated(town: Town, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    sent = town.celery.send("interop.hold", [str(gate)], {}, queue=ON_TASKQ)
    wait_until(gate.exists, PATIENCE, "the task")
    town.celery.revoke(sent, terminate=True)
    told = town.celery.get(sent)
    assert (told["state"], told["value"][0]) == ("REVOKED", "TaskRevokedError")


@pytest.mark.slow
def test_celery_steers_a_worker(town: Town) -> None:
    celery = town.celery
    one = {"arguments": {"n": 1}, "destination": [TASKQ]}
    assert "ok" in by_name(celery.broadcast("pool_grow", **one))[TASKQ]
    pool = by_name(celery.inspect("stats", [TASKQ]))[TASKQ]["pool"]
    assert pool["max-concurrency"] == 3
    celery.broadcast("pool_shrink", **one)
    assert by_name(celery.inspect("stats", [TASKQ]))[TASKQ]["pool"]["max-concurrency"] == 2
    celery.broadcast("add_consumer", arguments={"queue": "more"}, destination=[TASKQ])
    sent = celery.send("interop.who", [], {}, queue="more")
    assert celery.get(sent)["value"]["side"] == "taskq"
    celery.broadcast("cancel_consumer", arguments={"queue": "more"}, destination=[TASKQ])
    queues = by_name(celery.inspect("active_queues", [TASKQ]))[TASKQ]
    assert "more" not in {queue["name"] for queue in queues}


@pytest.mark.slow
def test_celery_hears_events_of_a_task(town: Town) -> None:
    town.celery.listen()
    town.celery.broadcast("enable_events", destination=[TASKQ])
    sent = town.celery.send("interop.add", [1, 2], {}, queue=ON_TASKQ)
    heard = town.celery.heard(sent, ["task-received", "task-started", "task-succeeded"])
    assert [one["type"] for one in heard] == ["task-received", "task-started", "task-succeeded"]
    received, _, succeeded = heard
    assert (received["name"], received["args"]) == ("interop.add", "[1, 2]")
    assert succeeded["result"] == "3"
    assert succeeded["hostname"] == TASKQ
    failed = town.celery.send("interop.fail", [], {}, queue=ON_TASKQ)
    (event,) = town.celery.heard(failed, ["task-failed"])
    assert event["exception"] == "ValueError('no', 7)"
    assert "Traceback" in event["traceback"]


class Flower:
    """Flower's HTTP interface."""

    def __init__(self, port: int) -> None:
        self.port = port

    def call(self, method: str, path: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path)
            response = connection.getresponse()
            text = response.read().decode()
        assert response.status == 200, f"{method} {path}: {response.status} {text}"
        return json.loads(text) if text.startswith(("{", "[")) else text


@pytest.fixture
def flower(town: Town, celery_environment: str) -> Iterator[Flower]:
    (port,) = free_ports(1)
    arguments = [
        *("-m", "celery", "-A", "tests.interop.celery_side", "flower"),
        *("--address=127.0.0.1", f"--port={port}"),
    ]
    process = CeleryProcess(
        celery_environment,
        arguments,
        town.folder,
        "flower",
        town.settings,
        FLOWER_UNAUTHENTICATED_API="1",
    )
    try:
        process.wait_log("Connected to")
        yield Flower(port)
    finally:
        process.close()


@pytest.mark.slow
def test_flower_shows_and_steers_a_worker(town: Town, flower: Flower, tmp_path: Path) -> None:
    wait_until(
        lambda: flower.call("GET", "/api/workers?refresh=1").get(TASKQ, {}).get("registered"),
        PATIENCE,
        "Flower to know the worker",
    )
    shown = flower.call("GET", "/api/workers")[TASKQ]
    assert shown["stats"]["pool"]["max-concurrency"] == 2
    assert sorted(queue["name"] for queue in shown["active_queues"]) == [
        "celery",
        ON_TASKQ,
        "taskq.chords",
    ]
    assert "interop.add" in shown["registered"]

    sent = town.celery.send("interop.add", [1, 2], {}, queue=ON_TASKQ)
    wait_until(
        lambda: flower.call("GET", "/api/tasks").get(sent, {}).get("state") == "SUCCESS",
        PATIENCE,
        "Flower to show the task",
    )
    task = flower.call("GET", f"/api/task/info/{sent}")
    assert (task["name"], task["result"], task["worker"]) == ("interop.add", "3", TASKQ)

    assert "message" in flower.call("POST", f"/api/worker/pool/grow/{TASKQ}?n=1")
    wait_until(
        lambda: (
            by_name(town.celery.inspect("stats", [TASKQ]))[TASKQ]["pool"]["max-concurrency"] == 3
        ),
        PATIENCE,
        "the pool to grow",
    )
    flower.call("POST", f"/api/worker/pool/shrink/{TASKQ}?n=1")

    gate = tmp_path / "gate"
    runs = town.celery.send("interop.hold", [str(gate)], {}, queue=ON_TASKQ)
    wait_until(gate.exists, PATIENCE, "the task")
    flower.call("POST", f"/api/task/revoke/{runs}?terminate=true")
    assert town.celery.get(runs)["state"] == "REVOKED"
    wait_until(
        lambda: flower.call("GET", "/api/tasks").get(runs, {}).get("state") == "REVOKED",
        PATIENCE,
        "Flower to show that it was revoked",
    )
    metrics = flower.call("GET", "/metrics")
    assert f'flower_worker_online{{worker="{TASKQ}"}} 1.0' in metrics
    assert (
        f'flower_events_total{{task="interop.add",type="task-succeeded",worker="{TASKQ}"}}'
        in metrics
    )
