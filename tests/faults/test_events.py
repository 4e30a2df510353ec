"""Events of real workers, as a monitor hears them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from taskq import states
from taskq.events import State
from tests.faults.conftest import everywhere
from tests.faults.stage import Stage
from tests.servers import RedisServer

PATIENCE = 20.0


class Monitor:
    """Listens in a thread, and remembers what it hears."""

    def __init__(self, stage: Stage) -> None:
        self.state: State = stage.app.events.State()
        self.heard: list[dict[str, Any]] = []
        self.receiver = stage.app.events.Receiver(handlers={"*": self._hear})
        self._stage = stage

    def _hear(self, event: dict[str, Any]) -> None:
        self.heard.append(event)
        self.state.event(event)

    def types(self, uuid: str) -> Counter[str]:
        """How often each type of event has come about a task."""
        return Counter(event["type"] for event in list(self.heard) if event.get("uuid") == uuid)

    def wait(self, condition: Callable[[], object], what: str) -> None:
        self._stage.wait(condition, what)

    def wait_state(self, uuid: str, state: str) -> Any:
        """What is known of a task, once it is in that state."""
        tasks = self.state.tasks
        self.wait(lambda: uuid in tasks and tasks[uuid].state == state, f"{uuid} to be {state}")
        return tasks[uuid]


@contextmanager
def monitor(stage: Stage) -> Iterator[Monitor]:
    """A monitor that listens while the block runs."""
    monitor = Monitor(stage)
    listening = threading.Thread(target=monitor.receiver.capture, daemon=True)
    listening.start()
    stage.app.events.send("monitor-begins")
    # What is told before it listens is not heard: so once more, until it is.
    stage.wait(lambda: stage.app.events.send("monitor-begins") and monitor.heard, "it to listen")
    try:
        yield monitor
    finally:
        monitor.receiver.should_stop = True
        listening.join(PATIENCE)
        assert not listening.is_alive()


@everywhere
def test_what_a_monitor_sees(stage: Stage) -> None:
    with monitor(stage) as seen:
        worker = stage.worker("-E", "--heartbeat-interval", "0.3", concurrency=2)
        held, note = stage.send("hold", "gate"), stage.send("note", "x")
        begun = seen.wait_state(held.id, states.STARTED)
        assert begun.name == "hold"
        assert begun.worker.hostname == "worker1@here"
        ended = seen.wait_state(note.id, states.SUCCESS)
        assert (ended.result, ended.args) == ("'x'", "('x',)")
        alive = begun.worker
        seen.wait(lambda: (alive.active, alive.processed) == (1, 1), "a heartbeat that tells it")
        stage.gates.open("gate")
        seen.wait_state(held.id, states.SUCCESS)
        many = stage.send_notes(range(300))
        for result in many:
            seen.wait_state(result.id, states.SUCCESS)
        for result in (held, note, *many):
            assert seen.types(result.id) == {
                "task-received": 1,
                "task-started": 1,
                "task-succeeded": 1,
            }
        assert [w.hostname for w in seen.state.alive_workers()] == ["worker1@here"]
        assert worker.terminate() == 0
        seen.wait(lambda: not seen.state.alive_workers(), "it to say goodbye")
    assert [e["type"] for e in seen.heard].count("worker-online") == 1


@everywhere
def test_events_are_switched_on_and_off(stage: Stage) -> None:
    worker = stage.worker(concurrency=1)
    control = stage.app.control
    with monitor(stage) as seen:
        stage.assert_all_done([quiet := stage.send("note", "quiet")])
        replies = control.enable_events(["worker1@here"], reply=True, timeout=PATIENCE)
        assert replies == [{"worker1@here": {"ok": "task events enabled"}}]
        told = stage.send("note", "told")
        seen.wait_state(told.id, states.SUCCESS)
        control.disable_events(["worker1@here"], reply=True, timeout=PATIENCE)
        seen.wait(lambda: not seen.state.alive_workers(), "it to say that it is silent now")
        stage.assert_all_done([again := stage.send("note", "quiet again")])
        control.enable_events(["worker1@here"], reply=True, timeout=PATIENCE)
        seen.wait(seen.state.alive_workers, "it to be heard again")
        assert quiet.id not in seen.state.tasks
        assert again.id not in seen.state.tasks
    assert worker.terminate() == 0


def test_a_process_that_dies_and_a_task_that_is_terminated(stage: Stage) -> None:
    stage.worker("-E", concurrency=1)
    with monitor(stage) as seen:
        victim = stage.send("hold", "victim")
        seen.wait_state(victim.id, states.STARTED)
        victim.revoke(terminate=True)
        revoked = seen.wait_state(victim.id, states.REVOKED)
        assert revoked.revoked is not None
        told = [e for e in seen.heard if e["type"] == "task-revoked"]
        assert (told[0]["terminated"], told[0]["expired"]) == (True, False)


@pytest.mark.parametrize("place", ["redis"], indirect=True)
def test_the_broker_goes_away(stage: Stage, redis: RedisServer) -> None:
    worker = stage.worker("-E", "--heartbeat-interval", "0.2")
    with monitor(stage) as seen:
        seen.wait(seen.state.alive_workers, "the worker to be heard")
        before = len(seen.heard)
        for kind in ("pubsub", "normal"):
            redis.ask("CLIENT", "KILL", "TYPE", kind)
        seen.wait(lambda: len(seen.heard) > before + 5, "it to be heard again")
        result = stage.send("note", "x")
        seen.wait_state(result.id, states.SUCCESS)
    assert worker.terminate() == 0
