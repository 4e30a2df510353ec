"""The help for tests: what is enqueued, draining, apps and workers of a test's own."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskq import Task, TaskQ, chain, chord, context, states
from taskq.backends.memory import MemoryBackend
from taskq.brokers.memory import MemoryBroker
from taskq.exceptions import (
    ImproperlyConfigured,
    NotRegistered,
    TaskQError,
    UnknownSetting,
)
from taskq.message import TaskMessage
from taskq.testing import (
    Ran,
    adrain,
    assert_enqueued,
    assert_not_enqueued,
    drain,
    enqueued,
    in_memory,
    make_app,
    start_worker,
)
from tests.waiting import wait_until


@pytest.fixture
def app() -> Iterator[TaskQ]:
    with make_app("t") as app:
        yield app


@pytest.fixture
def add(app: TaskQ) -> Task[[int, int], int]:
    @app.task(name="add")
    def add(x: int, y: int = 2) -> int:
        return x + y

    return add


def states_of(ran: list[Ran]) -> list[tuple[str, str, Any]]:
    return [(run.name, run.state, run.result) for run in ran]


# Apps


def test_an_app_is_the_current_one_for_a_while(app: TaskQ) -> None:
    with make_app(config={"task_default_queue": "mine"}) as inner:
        assert context.get_current_app() is inner
        assert inner.conf.task_default_queue == "mine"
    assert context.get_current_app() is app


def test_a_trap_for_code_that_uses_the_current_app(app: TaskQ) -> None:
    with make_app(trap=True), pytest.raises(RuntimeError, match="no current app"):
        context.get_current_app()
    assert context.get_current_app() is app


def test_an_app_of_another_class_elsewhere(tmp_path: Any) -> None:
    class Mine(TaskQ):
        pass

    url = f"sqlite:///{tmp_path}/t.db"
    with make_app(app_class=Mine, broker=url, config={"broker_url": "memory://"}) as app:
        assert type(app) is Mine
        assert app.conf.broker_url == url
    with pytest.raises(UnknownSetting, match="no_such"), make_app(config={"no_such": 1}):
        pass


def test_a_programs_own_app_in_memory(tmp_path: Any) -> None:
    app = TaskQ("p", broker=f"sqlite:///{tmp_path}/t.db", task_default_queue="q")
    own = app.broker
    with in_memory(app, task_always_eager=True, task_default_queue="other"):
        assert isinstance(app.broker, MemoryBroker)
        assert isinstance(app.backend, MemoryBackend)
        assert app.conf.task_always_eager
        assert app.queues()[0].name == "other"
    assert app.broker is own
    assert "backend" not in app.__dict__
    assert (app.conf.task_always_eager, app.queues()[0].name) == (False, "q")
    with pytest.raises(UnknownSetting), in_memory(app, no_such=1):
        pass
    assert app.broker is own
    app.close()


# What is enqueued


def test_enqueued(app: TaskQ, add: Task[[int, int], int]) -> None:
    assert enqueued() == []
    first = add.delay(1, 2)
    later = add.apply_async((3,), countdown=100, queue="slow", priority=4)
    app.send_task("unknown", ("x",))
    found = enqueued(app=app)
    assert [(item.name, item.args, item.queue, item.priority) for item in found] == [
        ("add", (1, 2), "default", 0),
        ("unknown", ("x",), "default", 0),
        ("add", (3,), "slow", 4),
    ]
    assert [item.id for item in enqueued(add)] == [first.id, later.id]
    assert [item.id for item in enqueued("add", queue="slow")] == [later.id]
    eta = enqueued(queue="slow")[0].eta
    assert eta is not None
    assert 90 < eta.timestamp() - time.time() <= 100


@pytest.mark.parametrize(
    ("args", "kwargs", "is_there"),
    [
        (None, None, True),
        ((1, 2), None, True),
        ((1, 2), {}, True),
        ((1,), {"y": 2}, True),
        ((), {"x": 1, "y": 2}, True),
        ((1,), {}, True),  # y is 2 by default
        ((1,), None, True),
        (None, {"y": 2}, True),
        (None, {"y": 3}, False),
        ((1, 3), None, False),
        ((1, 2, 3), None, False),
        ((), {}, False),
        (None, {"z": 1}, False),
    ],
)
def test_arguments_however_they_are_passed(
    app: TaskQ, add: Task[[int, int], int], args: Any, kwargs: Any, is_there: bool
) -> None:
    add.delay(1, y=2)
    if is_there:
        assert len(assert_enqueued(add, args, kwargs)) == 1
        with pytest.raises(AssertionError, match=r"add.* must not be enqueued, and is 1 times"):
            assert_not_enqueued(add, args, kwargs)
    else:
        assert_not_enqueued(add, args, kwargs)
        with pytest.raises(AssertionError, match=r"add\(1, y=2\) in queue default"):
            assert_enqueued(add, args, kwargs)


def test_arguments_are_compared_as_they_are_sent(app: TaskQ) -> None:
    @app.task
    def take(*things: Any, **more: Any) -> None:
        pass

    take.delay((1, (2, 3)), b=(4,))
    assert_enqueued(take, ((1, (2, 3)),), {"b": (4,)})
    assert_enqueued(take.name, ([1, [2, 3]],), {"b": [4]})
    assert_not_enqueued(take, ((1, (2, 3)),), {})


def test_how_often_and_where(app: TaskQ, add: Task[[int, int], int]) -> None:
    add.delay(1)
    add.delay(1)
    add.apply_async((5,), queue="other")
    assert_enqueued(add, (1,), times=2)
    assert_enqueued(add, queue="other", times=1)
    assert_enqueued(add, (6,), times=0)
    with pytest.raises(AssertionError, match=r"add\(1, \.\.\.\) is 2 times, not 3 enqueued"):
        assert_enqueued(add, (1,), times=3)
    with pytest.raises(AssertionError, match=r"(?s)not enqueued in queue other; .*add\(1\)"):
        assert_enqueued(add, (1,), queue="other")


def test_what_the_message_says(app: TaskQ, add: Task[[int, int], int]) -> None:
    with pytest.raises(AssertionError, match="nothing is enqueued at all"):
        assert_enqueued(add)
    for n in range(25):
        add.delay(n)
    with pytest.raises(AssertionError, match="and 5 more"):
        assert_enqueued("other")
    app.broker.purge("default")
    app.conf.task_always_eager = True
    add.delay(1)
    with pytest.raises(AssertionError, match="task_always_eager is on"):
        assert_enqueued(add)


def test_a_message_that_nobody_can_read_is_shown(app: TaskQ) -> None:
    app.broker.publish([TaskMessage({"id": "1", "task": "t"}, b"?", routing_key="default")])
    with pytest.raises(AssertionError, match=r"t\(DecodeError\("):
        assert_enqueued("other")


def test_a_broker_that_cannot_be_looked_into(
    app: TaskQ, monkeypatch: pytest.MonkeyPatch, add: Task[[int, int], int]
) -> None:
    def browse(queue: str, limit: int) -> list[TaskMessage]:
        raise ImproperlyConfigured("it forgets what it is shown")

    monkeypatch.setattr(app.broker, "browse", browse)
    with pytest.raises(ImproperlyConfigured, match="MemoryBroker has no way to look into"):
        assert_enqueued(add)


# Draining


def test_drain_runs_everything_in_this_thread(app: TaskQ, add: Task[[int, int], int]) -> None:
    threads = []

    @app.task(name="outer")
    def outer(n: int) -> str:
        threads.append(threading.current_thread())
        if n:
            outer.delay(n - 1)
        return f"outer {n}"

    @app.task(name="co")
    async def co(x: int) -> int:
        await asyncio.sleep(0)
        return x * 2

    outer.delay(2)
    chain(add.s(1, 1), co.s()).delay()
    app.send_task("add", (8,), queue="elsewhere")
    assert sorted(states_of(drain(app))) == [
        ("add", "SUCCESS", 2),
        ("add", "SUCCESS", 10),
        ("co", "SUCCESS", 4),
        ("outer", "SUCCESS", "outer 0"),
        ("outer", "SUCCESS", "outer 1"),
        ("outer", "SUCCESS", "outer 2"),
    ]
    assert set(threads) == {threading.current_thread()}
    assert enqueued(app=app) == []
    assert drain(app) == []


def test_drain_stores_results_and_joins_chords(app: TaskQ, add: Task[[int, int], int]) -> None:
    @app.task(name="total")
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    result = chord([add.s(n, 1) for n in range(3)], total.s()).delay()
    assert [run.name for run in drain(app)] == ["add", "add", "add", "total"]
    assert result.get(timeout=0) == 6


def test_drain_and_delays(app: TaskQ, add: Task[[int, int], int]) -> None:
    @app.task(bind=True, name="again")
    def again(self: Task[..., Any]) -> int:
        if self.request.retries < 2:
            raise self.retry(countdown=3600)
        return self.request.retries

    again.delay()
    later = add.apply_async((1,), countdown=3600)
    assert [(run.name, run.state, run.retries) for run in drain(app)] == [("again", "RETRY", 0)]
    assert len(enqueued(app=app)) == 2
    ran = drain(app, ignore_delays=True)
    assert [(run.name, run.state, run.retries) for run in ran] == [
        ("add", "SUCCESS", 0),
        ("again", "RETRY", 1),
        ("again", "SUCCESS", 2),
    ]
    assert later.get(timeout=0) == 3


def test_drain_only_some_queues(app: TaskQ, add: Task[[int, int], int]) -> None:
    add.delay(1)
    add.apply_async((2,), queue="other")
    assert [run.args for run in drain(app, queues=["other"])] == [(2,)]
    assert_enqueued(add, (1,), times=1)


def test_drain_tells_of_failures(app: TaskQ) -> None:
    @app.task(name="wrong")
    def wrong() -> None:
        raise ValueError("no")

    wrong.delay()
    (run,) = drain(app)
    assert (run.state, repr(run.result)) == ("FAILURE", "ValueError('no')")
    result = wrong.delay()
    with pytest.raises(ValueError, match="no"):
        drain(app, throw=True)
    assert result.state == states.FAILURE


def test_drain_tells_of_what_could_not_run(app: TaskQ, add: Task[[int, int], int]) -> None:
    add.apply_async((1,), expires=-1)
    add.delay(2).revoke()
    app.send_task("unknown", (3,))
    app.broker.publish([TaskMessage({"id": "1", "task": "add"}, b"?", routing_key="default")])
    ran = {run.args: run for run in drain(app)}
    assert [ran[key].state for key in ((1,), (2,), (3,), ())] == [
        "REVOKED", "REVOKED", "FAILURE", "FAILURE",
    ]  # fmt: skip
    assert isinstance(ran[3,].result, NotRegistered)
    assert len(app.broker.dead_letters()) == 2


def test_drain_waits_for_no_rate_limit(app: TaskQ) -> None:
    @app.task(rate_limit="1/h")
    def rare() -> None:
        pass

    for _ in range(3):
        rare.delay()
    assert len(drain(app)) == 3


def test_drain_of_what_never_ends(app: TaskQ) -> None:
    @app.task(bind=True, name="endless", max_retries=None)
    def endless(self: Task[..., Any]) -> None:
        raise self.retry(countdown=0)

    endless.delay()
    with pytest.raises(TimeoutError, match=r"left after 0.5 seconds.*endless \(RETRY\)"):
        drain(app, timeout=0.5)


def test_drain_inside_of_a_task(app: TaskQ, add: Task[[int, int], int]) -> None:
    @app.task(name="outer")
    def outer() -> list[Any]:
        add.delay(1)
        return states_of(drain(app))

    assert outer.apply().get() == [("add", "SUCCESS", 3)]


def test_interrupting_a_drain(app: TaskQ, add: Task[[int, int], int]) -> None:
    @app.task
    def stopped() -> None:
        raise KeyboardInterrupt

    stopped.delay()
    before = set(threading.enumerate())  # some of which may be about to end
    with pytest.raises(KeyboardInterrupt):
        drain(app)
    wait_until(lambda: set(threading.enumerate()) <= before, 20, "the end of all threads")


async def test_draining_on_a_loop(app: TaskQ, add: Task[[int, int], int]) -> None:
    @app.task(name="co")
    async def co(x: int) -> int:
        return x

    await add.adelay(1)
    await co.adelay(5)
    with pytest.raises(RuntimeError, match="await adrain"):
        drain(app)
    assert states_of(await adrain(app)) == [("add", "SUCCESS", 3), ("co", "SUCCESS", 5)]
    add.apply_async((1,), countdown=900)
    assert len(await adrain(app, ignore_delays=True)) == 1


def test_a_drain_that_cannot_start(app: TaskQ) -> None:
    app.conf.accept_content = ["no such thing"]
    with pytest.raises(ImproperlyConfigured, match="no such thing"):
        drain(app)


def test_a_broker_that_cannot_hasten(app: TaskQ, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryBroker, "hasten", super(MemoryBroker, app.broker).hasten)
    with pytest.raises(ImproperlyConfigured, match="MemoryBroker cannot have delayed messages"):
        drain(app, ignore_delays=True)


# A worker beside the test


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_tasks_that_are_defined_later_share_what_the_test_sees(app: TaskQ, pool: str) -> None:
    seen: list[int] = []
    with start_worker(app, pool=pool, concurrency=2) as worker:

        @app.task
        def note(n: int) -> int:
            seen.append(n)
            return n

        @app.task
        async def co(n: int) -> int:
            await asyncio.sleep(0)
            return -n

        worker.reload()
        assert [note.delay(n).get(timeout=20) for n in range(3)] == [0, 1, 2]
        assert co.delay(4).get(timeout=20) == -4
    assert seen == [0, 1, 2]


def test_threads_run_beside_each_other(app: TaskQ) -> None:
    meeting = threading.Barrier(3)

    @app.task
    def meet() -> int:
        return meeting.wait(20)

    with start_worker(app, pool="threads", concurrency=3):
        results = [meet.delay() for _ in range(3)]
        assert sorted(result.get(timeout=20) for result in results) == [0, 1, 2]


def test_nothing_is_left_of_a_worker(app: TaskQ, add: Task[[int, int], int]) -> None:
    before = set(threading.enumerate())  # some of which may be about to end
    collector = gc.get_threshold(), gc.get_freeze_count()
    with start_worker(app):
        add.delay(1).get(timeout=20)
    wait_until(lambda: set(threading.enumerate()) <= before, 20, "the end of all threads")
    assert (gc.get_threshold(), gc.get_freeze_count()) == collector


def test_started_states_of_several_threads(app: TaskQ) -> None:
    go = threading.Event()

    @app.task(track_started=True)
    def wait(n: int) -> int:
        go.wait(20)
        return n

    with start_worker(app, pool="threads", concurrency=2):
        results = [wait.delay(n) for n in range(2)]
        while [result.state for result in results] != [states.STARTED] * 2:
            time.sleep(0.01)
        go.set()
        assert [result.get(timeout=20) for result in results] == [0, 1]


async def test_a_worker_beside_asyncio_code(app: TaskQ, add: Task[[int, int], int]) -> None:
    async with start_worker(app):
        assert await (await add.adelay(1, 2)) == 3
        assert await asyncio.gather(*[(await add.adelay(n)).aget() for n in range(5)]) == [
            2, 3, 4, 5, 6,
        ]  # fmt: skip


def test_a_worker_that_cannot_start(app: TaskQ) -> None:
    before = set(threading.enumerate())
    with (
        pytest.raises(ImproperlyConfigured, match="no queue is left"),
        start_worker(app, exclude_queues=["default"]),
    ):
        pass
    with pytest.raises(ImproperlyConfigured, match="no_such"), start_worker(app, pool="no_such"):
        pass
    wait_until(lambda: set(threading.enumerate()) <= before, 20, "the end of all threads")


def test_a_worker_that_fails_meanwhile(app: TaskQ) -> None:
    async def fail() -> None:
        raise ValueError("on purpose")

    running = start_worker(app, services={"mine": fail})
    running.start()
    while any(thread.name == "taskq-worker" for thread in threading.enumerate()):
        time.sleep(0.01)
    with pytest.raises(TaskQError, match="has failed while the test ran"):
        running.stop()


def test_a_task_that_outlasts_the_test(app: TaskQ) -> None:
    go = threading.Event()
    started = threading.Event()

    @app.task
    def wait() -> None:
        started.set()
        go.wait(30)

    with start_worker(app, shutdown_timeout=0.1):
        wait.delay()
        assert started.wait(20)
    assert len(enqueued(wait)) == 1
    go.set()


def test_the_errors_of_a_test_come_through(app: TaskQ) -> None:
    before = set(threading.enumerate())
    with pytest.raises(KeyError), start_worker(app):
        raise KeyError
    wait_until(lambda: set(threading.enumerate()) <= before, 20, "the end of all threads")


# Eagerly, where the caller is on a loop


async def test_coroutines_run_eagerly_on_a_loop(app: TaskQ) -> None:
    app.conf.task_always_eager = True

    @app.task
    async def co(x: int) -> int:
        await asyncio.sleep(0)
        return x * 2

    @app.task
    def outer(x: int) -> int:
        return co.delay(x).get() + 1

    assert co.delay(2).get() == 4
    assert outer.delay(2).get() == 5
    assert chain(co.s(1), co.s()).delay().get() == 4
    assert await (await co.adelay(3)) == 6


def test_eager_tasks_need_no_store(app: TaskQ, monkeypatch: pytest.MonkeyPatch) -> None:
    @app.task(bind=True)
    def tell(self: Task[..., Any]) -> str:
        self.update_state(state="PROGRESS", meta={"done": 1})
        return app.AsyncResult(str(self.request.id)).state if kept else ""

    kept = True
    app.conf.task_store_eager_result = True
    assert tell.apply().get() == "PROGRESS"
    app.conf.task_store_eager_result = kept = False

    def store(outcomes: object) -> None:
        raise AssertionError(outcomes)

    monkeypatch.setattr(app.backend, "store", _never(store))
    assert tell.apply().get() == ""


def _never(store: Callable[[Any], None]) -> Callable[[Any], None]:
    def kept(outcomes: Any) -> None:
        if outcomes:
            store(outcomes)

    return kept


def test_eager_failures_of_chords_are_stored(app: TaskQ, add: Task[[int, int], int]) -> None:
    app.conf.update(task_always_eager=True, task_store_eager_result=True)

    @app.task
    def wrong() -> None:
        raise ValueError("no")

    @app.task
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    failed = chord([add.s(1), wrong.s()], total.s()).delay()
    assert app.AsyncResult(failed.id).state == states.FAILURE
    good = chord([add.s(1), add.s(2)], total.s()).delay()
    assert app.AsyncResult(good.id).get(timeout=0) == 7
