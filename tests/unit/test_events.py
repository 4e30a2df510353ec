"""Events: what is told, how it is heard, and what is known by it."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from taskq import TaskQ, states
from taskq.brokers.notices import Channel, Notice
from taskq.events import EventDispatcher, EventReceiver, State
from taskq.events.event import event_notice, events_channel, make_event, read_events
from taskq.exceptions import DecodeError, ImproperlyConfigured, OperationalError

CHANNEL = Channel("taskqev", "topic")


def event(kind: str, hostname: str = "w@here", **fields: Any) -> dict[str, Any]:
    return make_event(kind, hostname, fields.pop("clock", 1), fields, fields.pop("at", None))


# What is told


def test_the_form_of_an_event() -> None:
    before = time.time()
    made = make_event("task-started", "w@here", 7, {"uuid": "1"})
    assert before <= made.pop("timestamp") <= time.time()
    assert isinstance(made.pop("pid"), int)
    assert isinstance(made.pop("utcoffset"), int)
    assert made == {"type": "task-started", "hostname": "w@here", "clock": 7, "uuid": "1"}
    assert make_event("x", "h", 1, {}, 12.5)["timestamp"] == 12.5


def test_one_event_and_several() -> None:
    one, two = event("task-started", uuid="1"), event("task-failed", uuid="2", odd={object})
    single = event_notice(CHANNEL, "w@here", [one])
    assert (single.key, single.headers) == ("task.started", {"hostname": "w@here"})
    assert json.loads(single.body) == one
    several = event_notice(CHANNEL, "w@here", [one, two])
    assert several.key == "task.multi"
    assert [each["uuid"] for each in json.loads(several.body)] == ["1", "2"]
    assert read_events(single) == [one]
    assert len(read_events(several)) == 2


@pytest.mark.parametrize("body", [b"", b"\xff", b"3", b'"text"', b"{}", b'[{"type": 1}]', b"[3]"])
def test_what_is_no_event(body: bytes) -> None:
    with pytest.raises(DecodeError):
        read_events(Notice(CHANNEL, "x", body))
    with pytest.raises(DecodeError, match="application/json"):
        read_events(Notice(CHANNEL, "x", b'{"type": "x"}', {}, "application/x-python-serialize"))


def test_names_are_celerys_where_that_is_wanted(app: TaskQ) -> None:
    assert events_channel(app.conf).name == "taskqev"
    other = TaskQ("other", celery_interop=True, set_as_current=False)
    assert events_channel(other.conf).name == "celeryev"


# From program to program


def heard(app: TaskQ, count: int, act: Any, **options: Any) -> list[dict[str, Any]]:
    """What a listener hears while something is done."""
    receiver = app.events.Receiver(**options)
    events = receiver.itercapture(limit=count, timeout=10, wakeup=False)
    acting = threading.Timer(0.02, act)
    acting.start()
    try:
        return list(events)
    finally:
        acting.join()


def test_a_program_tells_events(app: TaskQ) -> None:
    (found,) = heard(app, 1, lambda: app.events.send("task-progress", uuid="1", percent=50))
    assert (found["type"], found["uuid"], found["percent"]) == ("task-progress", "1", 50)
    assert found["hostname"].startswith("gen")
    assert found["local_received"] >= found["timestamp"]
    with app.events.default_dispatcher(hostname="me") as dispatcher:
        (found,) = heard(app, 1, lambda: dispatcher.send("mine-x"), routing_key="mine.*")
    assert found["hostname"] == "me"


def test_a_dispatcher_that_is_off(app: TaskQ) -> None:
    dispatcher = app.events.Dispatcher(enabled=False)
    assert not dispatcher.send("task-progress")
    dispatcher.enable()
    assert dispatcher.send("task-progress")
    dispatcher.disable()
    assert not dispatcher.send("task-progress")


def test_sending_tasks(app: TaskQ) -> None:
    app.conf.task_send_sent_event = True

    def send() -> None:
        app.send_many([app.signature("add", (n, 1), countdown=n) for n in range(2)])
        app.send_task("mul", (2, 3), task_id="7", queue="q", expires=100)

    found = heard(app, 3, send)
    assert {each["type"] for each in found} == {"task-sent"}
    assert [each["name"] for each in found] == ["add", "add", "mul"]
    last = found[2]
    assert (last["uuid"], last["args"], last["kwargs"]) == ("7", "(2, 3)", "{}")
    assert (last["queue"], last["routing_key"], last["exchange"]) == ("q", "q", "")
    assert (last["retries"], last["root_id"], last["parent_id"]) == (0, "7", None)
    assert last["expires"] is not None
    assert found[1]["eta"] is not None


async def test_sending_tasks_from_a_loop(app: TaskQ) -> None:
    app.conf.task_send_sent_event = True
    async with await app.broker.asubscribe(events_channel(app.conf)) as subscription:
        await app.asend_task("add", (1, 2))
        (notice,) = await subscription.receive()
    assert notice.key == "task.sent"


def test_events_do_not_keep_a_task_from_being_sent(
    app: TaskQ, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app.conf.task_send_sent_event = True

    def away(notices: Any) -> None:
        raise OperationalError("away")

    def cannot(notices: Any) -> None:
        raise ImproperlyConfigured("it has no channels")

    monkeypatch.setattr(app.broker, "broadcast", away)
    assert not app.events.send("task-progress")
    app.send_task("add", (1, 2))
    monkeypatch.setattr(app.broker, "broadcast", cannot)
    for _ in range(3):
        app.send_task("add", (1, 2))
    assert app.broker.depth("default").ready == 4
    assert [record.message for record in caplog.records] == [
        "task_send_sent_event: it has no channels"
    ]
    with pytest.raises(ImproperlyConfigured):
        EventDispatcher(app).send("task-progress")


def test_a_running_task_tells_events(app: TaskQ) -> None:
    @app.task(bind=True)
    def work(self: Any) -> bool:
        return bool(self.send_event("task-progress", percent=10))

    (found,) = heard(app, 1, lambda: work.apply(task_id="7"))
    assert (found["type"], found["uuid"], found["percent"]) == ("task-progress", "7", 10)


# Listening


def test_handlers(app: TaskQ) -> None:
    named: list[str] = []
    others: list[str] = []
    receiver = app.events.Receiver(
        handlers={"task-a": lambda e: named.append(e["type"]), "*": lambda e: others.append("*")}
    )
    telling = threading.Timer(0.02, lambda: [app.events.send(f"task-{x}") for x in "abc"])
    telling.start()
    receiver.capture(limit=3, timeout=10)
    telling.join()
    assert (named, others) == (["task-a"], ["*", "*"])


def test_the_end_of_listening(app: TaskQ) -> None:
    receiver = app.events.Receiver()
    with pytest.raises(TimeoutError, match=r"0\.02"):
        receiver.capture(timeout=0.02)
    receiver.should_stop = True
    receiver.capture()
    with pytest.raises(ImproperlyConfigured, match=r"app\.events\.Receiver"):
        EventReceiver()


def test_garbage_among_events(app: TaskQ, caplog: pytest.LogCaptureFixture) -> None:
    def tell() -> None:
        app.broker.broadcast([Notice(events_channel(app.conf), "task.x", b"?")])
        app.events.send("task-real")

    (found,) = heard(app, 1, tell)
    assert found["type"] == "task-real"
    assert "no event" in caplog.text


def test_the_clock_follows_what_is_heard(app: TaskQ) -> None:
    events = [event("worker-online", clock=500), {"type": "custom-x", "hostname": "h"}]
    notice = event_notice(events_channel(app.conf), "w@here", events)
    first, second = heard(app, 2, lambda: app.broker.broadcast([notice]))
    assert first["clock"] == 500
    assert second["clock"] > 500


async def test_listening_on_a_loop(app: TaskQ) -> None:
    receiver = app.events.Receiver()
    threading.Timer(0.02, lambda: [app.events.send(f"task-{x}") for x in "ab"]).start()
    found = []
    async for each in receiver.aitercapture():
        found.append(each["type"])
        if len(found) == 2:
            break
    assert found == ["task-a", "task-b"]


# What is known


def fold(*events: dict[str, Any], **options: Any) -> State:
    state = State(**options)
    for each in events:
        state.event(each)
    return state


CALL = {"name": "add", "args": "(1, 2)", "kwargs": "{}", "retries": 0}


def test_the_life_of_a_task() -> None:
    state = fold(
        event("task-sent", "client", uuid="1", at=1.0, queue="q", **CALL),
        event("task-received", uuid="1", at=2.0, **CALL),
        event("task-started", uuid="1", at=3.0),
        event("task-succeeded", uuid="1", at=4.0, result="3", runtime=0.5),
    )
    task = state.tasks["1"]
    assert (task.name, task.state, task.result, task.runtime) == ("add", states.SUCCESS, "3", 0.5)
    assert (task.sent, task.received, task.started, task.succeeded) == (1.0, 2.0, 3.0, 4.0)
    assert (task.client, task.hostname, task.origin) == ("client", "w@here", "client")
    assert task.ready
    assert (state.event_count, state.task_count) == (4, 1)
    assert task.info()["result"] == "3"
    assert task.info(["uuid"], ["state"]) == {"uuid": "1", "state": states.SUCCESS}
    assert json.loads(json.dumps(task.as_dict()))["queue"] == "q"
    assert "add(1) SUCCESS" in repr(task)


def test_events_in_any_order_come_to_the_same() -> None:
    events = [
        event("task-sent", "client", uuid="1", at=1.0, **CALL),
        event("task-received", uuid="1", at=2.0, **CALL),
        event("task-started", uuid="1", at=3.0),
        event("task-failed", uuid="1", at=4.0, exception="E()", traceback="T"),
    ]
    expected = fold(*events).tasks["1"].as_dict()
    for order in ([3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1], [3, 0, 0, 1, 2, 3]):
        found = fold(*(dict(events[n]) for n in order)).tasks["1"].as_dict()
        assert found == expected, order


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["received", "started", "retried"], states.RETRY),
        (["received", "started", "retried", "received"], states.RECEIVED),
        (["started", "retried", "received", "started", "succeeded"], states.SUCCESS),
        (["succeeded", "retried"], states.SUCCESS),
        (["started", "rejected", "received"], states.RECEIVED),
        (["received", "revoked", "started"], states.REVOKED),
        (["sent", "custom"], states.PENDING),
    ],
)
def test_states(kinds: list[str], expected: str) -> None:
    state = fold(*(event(f"task-{kind}", uuid="1", at=float(n)) for n, kind in enumerate(kinds)))
    assert state.tasks["1"].state == expected


def test_parents_and_children() -> None:
    state = fold(
        event("task-received", uuid="root", root_id="root", name="a"),
        event("task-received", uuid="child", root_id="root", parent_id="root", name="b"),
    )
    child, root = state.tasks["child"], state.tasks["root"]
    assert child.parent is root is child.root
    assert root.parent is None
    assert root.children == {"child"}


def test_workers_come_and_go() -> None:
    joined: list[str] = []
    left: list[str] = []
    state = State(
        on_node_join=lambda worker: joined.append(worker.hostname),
        on_node_leave=lambda worker: left.append(worker.hostname),
    )
    for kind in ("online", "heartbeat"):
        state.event(event(f"worker-{kind}", freq=2.0, active=1, processed=7, sw_ident="py-taskq"))
    worker = state.workers["w@here"]
    assert (worker.active, worker.processed, worker.sw_ident) == (1, 7, "py-taskq")
    assert worker.alive
    assert worker.status_string == "ONLINE"
    assert state.alive_workers() == [worker]
    found = state.event(event("worker-offline", freq=2.0))
    assert found == ((worker, False), "offline")
    assert not worker.alive
    assert state.alive_workers() == []
    assert (joined, left) == (["w@here"], ["w@here"])


def test_a_worker_that_has_fallen_silent() -> None:
    state = fold({**event("worker-heartbeat", freq=2.0), "local_received": time.time() - 10})
    assert not state.workers["w@here"].alive


def test_it_is_bounded() -> None:
    state = State(max_tasks_in_memory=3, max_workers_in_memory=2)
    for n in range(10):
        state.event(event("task-received", f"w{n}", uuid=str(n), name="add"))
    assert list(state.tasks) == ["7", "8", "9"]
    assert len(state.workers) == 2
    assert state.task_count == 10


def test_looking_for_tasks() -> None:
    state = State()
    for n in range(6):
        state.event(event("task-received", f"w{n % 2}", uuid=str(n), name=f"t{n % 3}", at=n + 1.0))
    assert [uuid for uuid, _ in state.tasks_by_time(limit=2)] == ["5", "4"]
    assert [uuid for uuid, _ in state.tasks_by_timestamp(reverse=False, limit=1)] == ["0"]
    assert [uuid for uuid, _ in state.tasks_by_type("t1")] == ["4", "1"]
    assert [uuid for uuid, _ in state.tasks_by_worker("w1", limit=2)] == ["5", "3"]
    assert state.task_types() == ["t0", "t1", "t2"]


def test_forgetting() -> None:
    events = [event("task-received", uuid="1"), event("task-succeeded", uuid="2")]
    state = fold(*events)
    state.clear_tasks()
    assert list(state.tasks) == ["1"]
    state.clear(ready=False)
    assert (list(state.tasks), list(state.workers), state.event_count) == ([], [], 0)


def test_callback_and_what_is_no_concern() -> None:
    heard: list[str] = []
    state = State(callback=lambda state, event: heard.append(event["type"]))
    assert state.event({"type": "custom-x"}) is None
    assert state.event({"type": "task-received"}) is None
    assert state.event({"type": "task-received", "uuid": 3}) is None
    assert heard == ["custom-x", "task-received", "task-received"]
    assert state.freeze_while(lambda: len(state.tasks), clear_after=True) == 0
    assert state.event_count == 0
