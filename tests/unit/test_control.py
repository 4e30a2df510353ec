"""Remote control: each command of a worker, as whoever gives it sees it."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from taskq import TaskQ, context, states
from taskq.brokers.base import Fate
from taskq.brokers.notices import Notice
from taskq.control import control_command, inspect_command
from taskq.control.commands import BUILT_IN, known_commands
from taskq.control.mailbox import commands_channel
from taskq.exceptions import WorkerShutdown
from taskq.routing import Broadcast, Queue
from taskq.worker.control import WorkerState, looking, steering
from tests.unit.control_bench import ControlBench, control_bench


@pytest.fixture(autouse=True)
def no_commands_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "_commands", {})


@pytest.fixture
def app(app: TaskQ) -> TaskQ:
    @app.task(name="add", time_limit=3)
    def add(x: int, y: int) -> int:
        return x + y

    return app


@pytest.fixture
async def bench(app: TaskQ) -> AsyncIterator[ControlBench]:
    async with control_bench(app) as bench:
        yield bench


async def send(bench: ControlBench, count: int = 1, **options: Any) -> list[str]:
    """Send tasks, and wait until the worker has them."""
    before = len(bench.dispatcher.jobs())
    ids = [bench.app.send_task("add", (n, 1), **options).id for n in range(count)]
    await bench.until(lambda: len(bench.dispatcher.jobs()) == before + count, "them to come")
    return ids


def test_every_command_is_there_and_described() -> None:
    for info in BUILT_IN.values():
        assert hasattr(looking, info.name) != hasattr(steering, info.name), info.name
        assert info.help.endswith("."), info.name


# Looking


async def test_ping(bench: ControlBench) -> None:
    control = bench.app.control
    assert await bench.ask(control.ping, limit=1) == [{"w@here": {"ok": "pong"}}]
    inspect = control.inspect(timeout=5, limit=1)
    assert await bench.ask(inspect.ping) == {"w@here": {"ok": "pong"}}
    one = control.inspect("w@here")
    assert await bench.ask(one.ping) == {"ok": "pong"}


async def test_clocks_agree(bench: ControlBench) -> None:
    assert bench.app.clock.adjust(1000) == 1001
    answer = await bench.order("clock")
    assert answer["clock"] > 1001
    assert bench.app.clock.value > answer["clock"]
    assert (await bench.order("hello", {"from_node": "celery@there", "revoked": {}})).keys() == {
        "revoked",
        "clock",
    }


async def test_active_and_reserved(bench: ControlBench) -> None:
    ids = await send(bench, 5)
    active = await bench.order("active")
    assert [info["id"] for info in active] == ids[:2]
    info = active[0]
    assert time.time() - 10 < info.pop("time_start") < time.time()
    assert info == {
        "id": ids[0],
        "name": "add",
        "args": "(0, 1)",
        "kwargs": "{}",
        "type": "add",
        "hostname": "w@here",
        "acknowledged": False,
        "delivery_info": {
            "exchange": "",
            "routing_key": "default",
            "priority": 0,
            "redelivered": False,
        },
        "worker_pid": 4711,
    }
    reserved = await bench.order("reserved")
    assert [info["id"] for info in reserved] == ids[2:]
    assert all(info["time_start"] is None for info in reserved)


async def test_query_task(bench: ControlBench) -> None:
    ids = await send(bench, 3)
    inspect = bench.app.control.inspect(limit=1, timeout=5)
    answer = (await bench.ask(inspect.query_task, ids[0], [ids[2], "unknown"]))["w@here"]
    assert {key: value[0] for key, value in answer.items()} == {
        ids[0]: "active",
        ids[2]: "reserved",
    }
    assert (await bench.order("query_task", {"ids": ids[1]})).keys() == {ids[1]}


async def test_scheduled(bench: ControlBench) -> None:
    result = bench.app.send_task("add", (1, 2), countdown=100, priority=3)
    bench.app.send_task("add", (1, 2), countdown=100, queue="of others")
    (found,) = await bench.order("scheduled")
    assert found["eta"].endswith("+00:00")
    assert (found["priority"], found["request"]["id"]) == (3, result.id)


async def test_registered(bench: ControlBench) -> None:
    inspect = bench.app.control.inspect(limit=1, timeout=5)
    assert await bench.ask(inspect.registered) == {"w@here": ["add"]}
    assert await bench.ask(inspect.registered, "time_limit", "no_such_thing") == {
        "w@here": ["add [time_limit=3]"]
    }
    found = await bench.order("registered", {"builtins": True})
    assert {"add", "taskq.chord", "celery.map"} <= set(found)


async def test_active_queues(bench: ControlBench) -> None:
    await bench.ask(bench.app.control.pause, "default")
    await bench.until(lambda: bench.state.pauses.names, "the pause to be seen")
    (queue,) = await bench.order("active_queues")
    assert (queue["name"], queue["routing_key"], queue["paused"]) == ("default", "default", True)
    assert queue["exchange"]["type"] == "direct"


async def test_conf_hides_what_is_secret(app: TaskQ) -> None:
    app.conf.redis_password = "hush"
    app.conf.task_routes = {"add": {"queue": "default"}}
    async with control_bench(app) as bench:
        answer = await bench.order("conf")
        assert answer["redis_password"] == "********"
        assert answer["task_routes"] == {"add": {"queue": "default"}}
        assert "worker_pool" not in answer
        everything = await bench.order("conf", {"with_defaults": True})
        assert everything["worker_pool"] == "prefork"


async def test_stats(bench: ControlBench) -> None:
    await send(bench, 3)
    bench.finish(bench.pool.jobs[0])
    answer = await bench.order("stats")
    assert answer["total"] == {"add": 1}
    assert answer["pid"] == os.getpid()
    assert answer["uptime"] == 7
    assert answer["prefetch_count"] == 8
    assert answer["pool"]["max-concurrency"] == 2
    assert answer["pool"]["processes"] == [4711]
    assert answer["pool"]["timeouts"] == [10.0, 20.0]
    assert answer["pool"]["max-tasks-per-child"] == 100
    assert answer["broker"]["transport"] == "memory"
    assert answer["rusage"]["utime"] > 0
    assert int(answer["clock"]) > 0


async def test_memdump_and_report(bench: ControlBench) -> None:
    memory = await bench.order("memdump")
    assert memory["rss"]["worker"] > 1000
    assert "taskq" in (await bench.order("report"))["ok"]


# Steering tasks


async def test_revoke(bench: ControlBench) -> None:
    ids = await send(bench, 3)
    answer = await bench.order("revoke", {"task_id": [ids[2], "later"]})
    assert answer == {"ok": f"tasks {ids[2]}, later flagged as revoked"}
    await bench.until(lambda: "later" in bench.state.admission.revoked, "it to be known")
    assert await bench.order("revoked") == [ids[2], "later"]
    await bench.until(lambda: any(j.verdict for j in bench.dispatcher.jobs()), "its end")
    (ended,) = [job for job in bench.dispatcher.jobs() if job.verdict]
    assert ended.id == ids[2]
    assert ended.verdict is not None
    assert ended.verdict.sentence.state == states.REVOKED
    assert bench.pool.terminated == []


@pytest.mark.parametrize("signal", ["SIGKILL", "kill", 9, None])
async def test_terminate(bench: ControlBench, signal: Any) -> None:
    ids = await send(bench, 2)
    answer = await bench.order("terminate", {"task_id": ids[0], "signal": signal})
    assert answer == {"ok": f"terminate: tasks {ids[0]}"}
    await bench.until(lambda: bench.pool.terminated, "it to be ended")
    assert [job.id for job in bench.pool.terminated] == [ids[0]]


async def test_revoking_by_the_program_asks_workers_only_if_wanted(bench: ControlBench) -> None:
    control = bench.app.control
    assert await bench.ask(control.revoke, "one") is None
    replies = await bench.ask(control.revoke, ["two"], reply=True, limit=1)
    assert replies == [{"w@here": {"ok": "tasks two flagged as revoked"}}]
    await bench.until(lambda: len(bench.state.admission.revoked) == 2, "both to be known")


async def send_stamped(bench: ControlBench, count: int, **headers: Any) -> None:
    """Send tasks that bear stamps, as they stand in messages."""
    app = bench.app
    before = len(bench.dispatcher.jobs())
    for n in range(count):
        message = app.producer.build("add", (n, 1), {}, {}, app.tasks["add"])
        message.headers.update(stamped_headers=["team"], **headers)
        app.broker.publish([message])
    await bench.until(lambda: len(bench.dispatcher.jobs()) == before + count, "them to come")


async def test_revoke_by_stamped_headers(bench: ControlBench) -> None:
    await send_stamped(bench, 2, stamps={}, team=["blue", "green"])  # these run
    await send_stamped(bench, 1, stamps={"team": "red"})
    await send_stamped(bench, 1, stamps={"team": ["white"]}, colour="blue")
    control = bench.app.control
    await bench.ask(control.revoke_by_stamped_headers, {"team": ["red", "none"]})
    await bench.until(lambda: any(j.verdict for j in bench.dispatcher.jobs()), "an end")
    ended = [job for job in bench.dispatcher.jobs() if job.verdict]
    assert [job.delivery.message.headers["stamps"] for job in ended] == [{"team": "red"}]
    answer = await bench.order(
        "revoke_by_stamped_headers", {"headers": ["team=blue"], "terminate": True}
    )
    assert "ok" in answer
    await bench.until(lambda: len(bench.pool.terminated) == 2, "those that run to be ended")
    assert await bench.order("revoked") == []


async def test_one_that_comes_with_a_revoked_stamp(bench: ControlBench) -> None:
    await bench.ask(bench.app.control.revoke_by_stamped_headers, {"team": "blue"})
    await bench.until(lambda: bench.state.admission.revoked, "it to be known")
    await send_stamped(bench, 1, stamps={"team": "blue"})
    (job,) = bench.dispatcher.jobs()
    assert job.verdict is not None
    assert job.verdict.sentence.state == states.REVOKED


async def test_time_limit(bench: ControlBench) -> None:
    answer = await bench.order("time_limit", {"task_name": "add", "soft": 1, "hard": 2.5})
    assert answer == {"ok": "time limits set successfully"}
    await send(bench)
    (job,) = bench.dispatcher.jobs()
    assert (job.soft_limit, job.hard_limit) == (1.0, 2.5)
    await bench.ask(bench.app.control.time_limit, "add", None, None, reply=True, limit=1)
    await send(bench)
    assert bench.dispatcher.jobs()[1].hard_limit == 20.0, "the worker's own"


# Steering queues


async def test_add_and_cancel_consumer(bench: ControlBench) -> None:
    control = bench.app.control
    bench.app.send_task("add", (1, 2), queue="more")
    assert await bench.ask(control.add_consumer, "more", reply=True, limit=1) == [
        {"w@here": {"ok": "add consumer more"}}
    ]
    await bench.until(lambda: bench.dispatcher.jobs(), "what waited there")
    again = await bench.order("add_consumer", {"queue": "more"})
    assert again == {"ok": "already consuming from more"}
    assert [queue["name"] for queue in await bench.order("active_queues")] == ["default", "more"]
    await send(bench, 3, queue="more")
    assert await bench.ask(control.cancel_consumer, "more", reply=True, limit=1) == [
        {"w@here": {"ok": "no longer consuming from more"}}
    ]
    await bench.until(lambda: len(bench.dispatcher.jobs()) == 2, "the rest to be given back")
    given_back = [s for s in bench.settled if s.fate is Fate.REQUEUE]
    assert len(given_back) == 2
    assert all(s.unused for s in given_back)
    assert "default" in (await bench.order("cancel_consumer", {"queue": "more"}))["error"]


async def test_add_consumer_with_an_exchange(bench: ControlBench) -> None:
    options = {"queue": "bound", "exchange": "x", "exchange_type": "topic", "routing_key": "a.#"}
    assert "ok" in await bench.order("add_consumer", options)
    (_, queue) = bench.consuming.queues
    assert (queue.exchange.name, queue.exchange.type, queue.routing_key) == ("x", "topic", "a.#")
    wrong = await bench.order("add_consumer", {"queue": "b", "colour": "blue"})
    assert "colour" in wrong["error"]
    assert len(bench.consuming.queues) == 2


async def test_a_broadcast_is_cancelled_by_its_own_name(app: TaskQ) -> None:
    app.conf.task_queues = [Queue("default"), Broadcast("news")]
    app._forget_cached()
    async with control_bench(app) as bench:
        bench.consuming.queues[1] = Broadcast("news").for_consumer("unique")
        assert "ok" in await bench.order("cancel_consumer", {"queue": "news"})
        assert bench.consuming.names() == ["default"]
        assert "ok" in await bench.order("add_consumer", {"queue": "news"})
        assert bench.consuming.names() == ["default", "news.unique"]


async def test_a_queue_that_must_be_declared(app: TaskQ) -> None:
    app.conf.task_create_missing_queues = False
    app._forget_cached()
    async with control_bench(app) as bench:
        assert "new" in (await bench.order("add_consumer", {"queue": "new"}))["error"]
        assert bench.consuming.names() == ["default"]


# Steering the pool, and the worker


async def test_the_pool(bench: ControlBench) -> None:
    control = bench.app.control
    assert await bench.ask(control.pool_grow, 3, reply=True, limit=1) == [
        {"w@here": {"ok": "pool will grow"}}
    ]
    assert bench.pool.size == 5
    assert await bench.order("pool_shrink") == {"ok": "pool will shrink"}
    assert bench.pool.size == 4
    assert await bench.order("pool_restart") == {"ok": "reload started"}
    assert bench.pool.restarts == 1
    assert "more than" in (await bench.order("pool_grow", {"n": 101}))["error"]
    assert "copies" in (await bench.order("pool_restart", {"modules": ["proj"]}))["error"]
    for wrong in (0, -1, "2", 1.5, True, None):
        assert "n=" in (await bench.order("pool_grow", {"n": wrong}))["error"]


async def test_shutdown(bench: ControlBench) -> None:
    answer = await bench.ask(bench.app.control.shutdown, ["w@here"], reply=True)
    assert answer == [{"w@here": {"ok": "shutting down"}}]
    assert bench.stopped


# Who is meant


async def test_destination_and_pattern(app: TaskQ) -> None:
    async with control_bench(app, hostname="one@a"), control_bench(app, hostname="two@b") as bench:
        ping = app.control.ping

        async def who(limit: int, **options: Any) -> list[str]:
            replies = await bench.ask(ping, limit=limit, timeout=5, **options)
            return sorted(name for reply in replies for name in reply)

        assert await who(2) == ["one@a", "two@b"]
        assert await who(1, destination=["two@b", "three@c"]) == ["two@b"]
        assert await who(1, destination="one@a") == ["one@a"]
        assert await who(1, pattern="*@b") == ["two@b"]
        assert await who(1, pattern="o.*@[a-c]$", matcher="pcre") == ["one@a"]
        assert await who(1, pattern="ONE@a|tw", matcher="regex") == ["two@b"]
        # A destination is as many answers as there can be: nobody waits for the time to pass.
        began = time.monotonic()
        replies = await bench.ask(ping, ["one@a", "two@b"], timeout=60)
        assert len(replies) == 2
        assert time.monotonic() - began < 30


async def test_nobody_answers(app: TaskQ) -> None:
    assert await asyncio.to_thread(app.control.ping, timeout=0.01) == []
    assert await asyncio.to_thread(app.control.inspect(timeout=0.01).stats) is None
    assert app.control.broadcast("ping") is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pattern": "[", "matcher": "pcre"}, "regular expression"),
        ({"pattern": "x", "matcher": "sql"}, "matcher='sql'"),
        ({"matcher": "sql"}, "matcher='sql'"),
    ],
)
def test_patterns_that_make_no_sense(app: TaskQ, options: Any, said: str) -> None:
    with pytest.raises(Exception, match=said):
        app.control.ping(**options)


async def test_callback(bench: ControlBench) -> None:
    heard: list[Any] = []
    inspect = bench.app.control.inspect(callback=heard.append, limit=1)
    answer = await bench.ask(inspect.ping)
    assert heard == [answer] == [{"w@here": {"ok": "pong"}}]


# One's own commands


async def test_commands_of_ones_own(app: TaskQ) -> None:
    @control_command(args=[("n", int)], alias="turn", signature="[n=1]")
    def rotate(state: WorkerState, n: int = 1) -> Any:
        """Turn it.

        More words.
        """
        return {"ok": n, "host": state.hostname, "tuple": (1, {2})}

    @inspect_command
    async def think(state: WorkerState) -> Any:
        await asyncio.sleep(0)
        return {"app": state.app.main, "odd": object}

    @inspect_command(name="break", help="Breaks.")
    def break_it(state: WorkerState) -> Any:
        raise ValueError("broken")

    info = known_commands()["rotate"]
    assert (info.kind, info.help, info.usage()) == ("control", "Turn it.", "[n=1]")
    assert known_commands()["think"].kind == "inspect"
    async with control_bench(app) as bench:
        answer = await bench.order("rotate", {"n": 3})
        assert answer == {"ok": 3, "host": "w@here", "tuple": [1, [2]]}
        assert await bench.order("turn") == {"ok": 1, "host": "w@here", "tuple": [1, [2]]}
        assert await bench.order("think") == {"app": "proj", "odd": "<class 'object'>"}
        assert await bench.order("break") == {"error": "ValueError('broken')"}


async def test_a_slow_command_holds_up_nobody(app: TaskQ) -> None:
    gate = asyncio.Event()
    started = asyncio.Event()

    @inspect_command
    async def wait(state: WorkerState) -> Any:
        started.set()
        await gate.wait()
        return "done"

    async with control_bench(app) as bench:
        slow = asyncio.create_task(bench.order("wait"))
        await started.wait()
        assert await bench.order("ping") == {"ok": "pong"}
        more = [asyncio.create_task(bench.order("wait")) for _ in range(3)]
        gate.set()
        assert await asyncio.gather(slow, *more) == ["done"] * 4


async def test_functions_that_hang_take_nothing_from_the_worker(app: TaskQ) -> None:
    gate = threading.Event()

    @inspect_command
    def hang(state: WorkerState) -> Any:
        gate.wait(30)
        return "done"

    async with control_bench(app) as bench:
        hanging = [asyncio.create_task(bench.order("hang")) for _ in range(3)]
        for _ in range(20):  # more than there are threads for the worker's own work
            app.control.broadcast("hang")
        await bench.until(lambda: len(bench.node._under_way) == 23, "all to hang")
        assert await bench.order("scheduled") == []
        gate.set()
        assert await asyncio.gather(*hanging) == ["done"] * 3


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_a_command_does_not_end_the_process(app: TaskQ, asynchronous: bool) -> None:
    errors: list[BaseException] = [SystemExit(3), KeyboardInterrupt(), StopIteration(1)]
    errors.append(WorkerShutdown(0))

    def leave(state: WorkerState) -> Any:
        raise errors.pop(0)

    async def aleave(state: WorkerState) -> Any:
        leave(state)

    inspect_command(name="leave")(aleave if asynchronous else leave)
    async with control_bench(app) as bench:
        for text in ("SystemExit", "KeyboardInterrupt", "StopIteration"):
            assert text in (await bench.order("leave"))["error"]
        assert not bench.stopped
        assert await bench.order("leave") == {"ok": "shutting down"}
        assert bench.stopped


async def test_commands_under_way_are_bounded(app: TaskQ, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskq.worker.control.node._AT_ONCE", 1)
    gate = asyncio.Event()
    started = asyncio.Event()

    @inspect_command
    async def wait(state: WorkerState) -> Any:
        started.set()
        await gate.wait()
        return "done"

    async with control_bench(app) as bench:
        slow = asyncio.create_task(bench.order("wait"))
        await started.wait()
        assert "busy" in (await bench.order("ping"))["error"]
        gate.set()
        assert await slow == "done"


# What is wrong


async def test_unknown_commands_and_wrong_arguments(bench: ControlBench) -> None:
    assert "'dance'" in (await bench.order("dance"))["error"]
    assert "colour" in (await bench.order("ping", {"colour": 1}))["error"]
    assert "queue" in (await bench.order("cancel_consumer"))["error"]
    assert "add2" in (await bench.order("time_limit", {"task_name": "add2"}))["error"]
    wrong = {"task_name": "add", "hard": "soon"}
    assert "'soon'" in (await bench.order("time_limit", wrong))["error"]
    wrong = {"task_name": "add", "soft": 3, "hard": 2}
    assert "below" in (await bench.order("time_limit", wrong))["error"]
    wrong = {"task_id": "x", "terminate": True, "signal": "SIGNOTHING"}
    assert "SIGNOTHING" in (await bench.order("revoke", wrong))["error"]
    wrong = {"headers": ["no value"]}
    assert "no value" in (await bench.order("revoke_by_stamped_headers", wrong))["error"]
    assert await bench.order("ping") == {"ok": "pong"}


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("revoke", {"task_id": [1]}),
        ("revoke", {"task_id": {"a": 1}}),
        ("terminate", {"signal": "TERM", "task_id": 5}),
        ("revoke_by_stamped_headers", {"headers": 5}),
        ("query_task", {"ids": 5}),
        ("add_consumer", {"queue": ["x"]}),
        ("cancel_consumer", {"queue": ["x"]}),
        ("time_limit", {"task_name": ["x"]}),
    ],
)
async def test_arguments_of_the_wrong_kind(
    bench: ControlBench, command: str, arguments: Any, caplog: pytest.LogCaptureFixture
) -> None:
    name = next(name for name in arguments if name != "signal")
    answer = await bench.order(command, arguments)
    assert f"{command}: {name}={arguments[name]!r} must be text" in answer["error"]
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"method": 1}',
        b'{"method": "ping", "arguments": []}',
        b'{"method": "ping", "destination": "w@here"}',
        b'{"method": "ping", "pattern": "[", "matcher": "pcre"}',
        b'{"method": "ping", "pattern": "*", "matcher": "none such"}',
        b'{"method": "ping", "reply_to": {"exchange": "x"}}',
    ],
)
async def test_garbage(bench: ControlBench, body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    channel = commands_channel(bench.app.conf)
    headers: dict[str, Any] = {"clock": "no number", "expires": "never"}
    bench.app.broker.broadcast([Notice(channel, "", body, headers)])
    pickled = Notice(channel, "", b"c__builtin__\n", {}, "application/x-python-serialize")
    bench.app.broker.broadcast([pickled])
    assert await bench.order("ping") == {"ok": "pong"}
    assert len([r for r in caplog.records if "cannot be read" in r.message]) == 2


async def test_a_command_that_nobody_waits_for_any_more(bench: ControlBench) -> None:
    channel = commands_channel(bench.app.conf)
    command = json.dumps({"method": "pool_grow", "arguments": {"n": 1}}).encode()
    late = Notice(channel, "", command, {"clock": 1, "expires": time.time() - 1})
    bench.app.broker.broadcast([late])
    assert await bench.order("ping") == {"ok": "pong"}
    assert bench.pool.size == 2


async def test_replies_of_others_are_not_mine(bench: ControlBench) -> None:
    control = bench.app.control
    answers = await asyncio.gather(
        *(bench.ask(control.inspect(timeout=10, limit=1).query_task, str(n)) for n in range(10)),
        *(bench.ask(control.ping, timeout=10, limit=1) for _ in range(10)),
    )
    assert answers == [{"w@here": {}}] * 10 + [[{"w@here": {"ok": "pong"}}]] * 10
