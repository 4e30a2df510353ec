"""Middleware around sending and running."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from taskq import Middleware, Task, TaskQ, signals
from taskq.exceptions import OperationalError
from taskq.execution import TaskRunner
from taskq.message import TaskMessage
from taskq.middleware import MiddlewareStack
from taskq.request import Request
from tests.unit.sequential import SequentialWorker

AnyTask = Task[..., Any]


@pytest.fixture
def add(app: TaskQ) -> AnyTask:
    @app.task(name="add")
    def add(a: int, b: int = 0) -> int:
        return a + b

    return add


@pytest.fixture
def later(app: TaskQ) -> AnyTask:
    @app.task(name="later")
    async def later(a: int) -> int:
        await asyncio.sleep(0)
        return a + 1

    return later


@pytest.fixture
def worker(app: TaskQ) -> SequentialWorker:
    return SequentialWorker(app)


class Noting(Middleware):
    """Notes what passes, under a name."""

    def __init__(self, name: str, notes: list[Any]) -> None:
        self.name = name
        self.notes = notes


class Blocking(Noting):
    def publish(self, messages: Any, send: Callable[[Any], None]) -> None:
        self.notes.append(f"{self.name} publishes {len(messages)}")
        send(messages)
        self.notes.append(f"{self.name} has published")

    def execute(self, request: Request, run: Callable[[], Any]) -> Any:
        self.notes.append(f"{self.name} runs {request.task}")
        value = run()
        self.notes.append(f"{self.name} has run")
        return value + 100


class OnLoop(Noting):
    async def apublish(self, messages: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        self.notes.append(f"{self.name} publishes {len(messages)}")
        await send(messages)
        self.notes.append(f"{self.name} has published")

    async def aexecute(self, request: Request, run: Callable[[], Awaitable[Any]]) -> Any:
        self.notes.append(f"{self.name} runs {request.task}")
        value = await run()
        self.notes.append(f"{self.name} has run")
        return value + 100


PUBLISHED = ["a publishes 1", "b publishes 1", "b has published", "a has published"]


def executed(task: str) -> list[str]:
    return [f"a runs {task}", f"b runs {task}", "b has run", "a has run"]


@pytest.mark.parametrize("kind", [Blocking, OnLoop])
async def test_around_everything(
    app: TaskQ, add: AnyTask, later: AnyTask, worker: SequentialWorker, kind: type[Noting]
) -> None:
    """Whichever of the twins is written, it is called for blocking code and for coroutines."""
    notes: list[Any] = []
    for name in "ab":
        app.add_middleware(kind(name, notes))

    def sent_and_run(task: AnyTask) -> Any:
        result = task.delay(1)
        assert notes == PUBLISHED
        notes.clear()
        SequentialWorker(app).run()
        return result

    for task, value in ((add, 201), (later, 202)):
        for on_loop in (False, True):
            notes.clear()
            if on_loop:
                result = await task.adelay(1)
                assert notes == PUBLISHED
                notes.clear()
                (message,) = app.broker.browse("default", 2)
                app.broker.purge("default")
                runner = TaskRunner(app)
                if task is later:
                    worker.settle(await runner.run_async(1, message, "default", 1))
                else:
                    worker.settle(runner.run(1, message, "default", 1))
            else:
                result = await asyncio.to_thread(sent_and_run, task)
            assert result.get(timeout=0) == value
            assert notes == executed(task.name)


def test_what_is_not_overridden_is_not_called(app: TaskQ, add: AnyTask) -> None:
    class Nothing(Middleware):
        pass

    class Messages(Middleware):
        def on_message(self, message: TaskMessage) -> None:
            message.headers["seen"] = True

    stack = MiddlewareStack()
    stack.add(Nothing())
    assert (stack.messages, stack.publishing, stack.executing) == ((), (), ())
    stack.add(Messages())
    assert (len(stack.messages), stack.publishing, stack.executing) == (1, (), ())
    app.add_middleware(Messages())
    add.delay(1)
    assert app.broker.browse("default", 2)[0].headers["seen"] is True


def test_every_message_is_seen(app: TaskQ, add: AnyTask, worker: SequentialWorker) -> None:
    """What follows a task as well, which the worker's parent sends."""

    class Trace(Middleware):
        def on_message(self, message: TaskMessage) -> None:
            message.headers["trace"] = message.task

    app.add_middleware(Trace())
    signalled: list[Any] = []

    @signals.before_task_publish.connect
    def before(sender: Any, headers: Any, **kwargs: Any) -> None:
        signalled.append(sender)
        headers["by_signal"] = True

    @app.task(name="look", bind=True)
    def look(self: AnyTask, *args: Any) -> Any:
        assert self.request.headers["by_signal"]
        assert self.request.trace == "look"
        if not self.request.retries:
            raise self.retry(countdown=0)
        if args == (1,):
            return self.replace(look.si(2))
        return 0

    call = look.s(1)
    call.link(look.si())
    try:
        result = (call | look.si() | (add.map([1]) | look.si())).delay()
        worker.run()
    finally:
        signals.before_task_publish.disconnect(before)
    assert result.get(timeout=0) == 0
    assert signalled.count("look") == worker.ran.count("look") == 10


def test_middleware_may_decide(app: TaskQ, add: AnyTask, worker: SequentialWorker) -> None:
    class Decides(Middleware):
        def publish(self, messages: Any, send: Callable[[Any], None]) -> None:
            send([m for m in messages if not m.headers.get("skip")])

        def execute(self, request: Request, run: Callable[[], Any]) -> Any:
            if request.args[0] == 1:
                return "not run"
            if request.args[0] == 2:
                raise ValueError("refused")
            request.args = [50]
            try:
                return run()
            except TypeError as exc:
                return str(exc)

    app.add_middleware(Decides())
    add.apply_async((1,), headers={"skip": True})
    assert app.broker.browse("default", 2) == []
    results = [add.delay(n) for n in (1, 2, 3)]
    worker.run()
    assert [r.get(timeout=0, propagate=False) for r in results[::2]] == ["not run", 50]
    with pytest.raises(ValueError, match="refused"):
        results[1].get(timeout=0)
    assert add.apply((3,)).get() == 50


def test_errors_of_sending_pass_through(app: TaskQ, add: AnyTask) -> None:
    seen: list[Any] = []

    class Watches(Middleware):
        def publish(self, messages: Any, send: Callable[[Any], None]) -> None:
            try:
                send(messages)
            except OperationalError as exc:
                seen.append(exc)
                raise

    app.add_middleware(Watches())

    def away(messages: Any) -> None:
        raise OperationalError("away")

    app.broker.publish = away  # type: ignore[method-assign]
    with pytest.raises(OperationalError, match="away"):
        add.apply_async((1,), retry=False)
    assert len(seen) == 1


async def test_a_coroutine_that_is_cancelled(app: TaskQ, worker: SequentialWorker) -> None:
    """As at a soft limit: the blocking code around it sees it end."""
    seen: list[Any] = []
    begun = asyncio.Event()

    class Watches(Middleware):
        def execute(self, request: Request, run: Callable[[], Any]) -> Any:
            try:
                return run()
            finally:
                seen.append(threading.current_thread() is threading.main_thread())

    app.add_middleware(Watches())

    @app.task(name="waits")
    async def waits() -> None:
        begun.set()
        await asyncio.sleep(3600)

    waits.delay()
    (message,) = app.broker.browse("default", 2)
    running = asyncio.create_task(TaskRunner(app).run_async(1, message, "default", 1))
    await begun.wait()
    running.cancel()
    report = await running
    assert report.state == "FAILURE"
    assert seen == [False]


def test_the_app_is_given_some() -> None:
    class Nothing(Middleware):
        def execute(self, request: Request, run: Callable[[], Any]) -> Any:
            return 7

    app = TaskQ(broker="memory://", middleware=[Nothing()], set_as_current=False)

    @app.task
    def add(a: int) -> int:
        return a

    assert add.apply((1,)).get() == 7


# Signals of what goes wrong


def test_rejections_and_internal_errors_are_told(app: TaskQ, worker: SequentialWorker) -> None:
    told: list[Any] = []

    @signals.task_rejected.connect
    def rejected(sender: Any, message: Any, exc: Any, **kwargs: Any) -> None:
        told.append(("rejected", message.id, type(exc).__name__))

    @signals.task_internal_error.connect
    def internal(sender: Any, **kwargs: Any) -> None:
        told.append(("internal", sender.name, sorted(kwargs)))

    @app.task(name="odd")
    def odd() -> Any:
        return object()

    try:
        odd.delay()
        broken = odd.apply_async(task_id="broken")
        for message in app.broker.browse("default", 5):
            if message.id == broken.id:
                message.body = b"no JSON"
            worker.report(message)
    finally:
        signals.task_rejected.disconnect(rejected)
        signals.task_internal_error.disconnect(internal)
    names = ["args", "einfo", "exception", "kwargs", "request", "signal", "task_id", "traceback"]
    assert told == [("internal", "odd", names), ("rejected", "broken", "DecodeError")]
