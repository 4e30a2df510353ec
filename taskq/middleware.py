"""Middleware: code of one's own around sending and running.

    class Timing(Middleware):
        def execute(self, request, run):
            started = time.perf_counter()
            try:
                return run()
            finally:
                print(request.task, time.perf_counter() - started)

    app.add_middleware(Timing())

The first one that was added is the outermost.  A method that nobody has overridden is never
called, and an app without middleware pays nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from taskq.message import TaskMessage

if TYPE_CHECKING:
    from taskq.request import Request

Messages = Sequence[TaskMessage]


class Middleware:
    """Override what you need.

    ``publish`` and ``execute`` have twins for event loops. Whoever overrides one of two gets
    the other one as well: code that blocks then runs in a thread beside the loop, and code
    for a loop on a loop of its own.
    """

    def on_message(self, message: TaskMessage) -> None:
        """Called with each message before it is sent; may change it, above all its headers.

        It sees everything: calls, retries, the next steps of chains, callbacks.  What follows
        a task is sent in the step that settles the task, and so never passes `publish`.

        Args:
            message: the message; its body is encoded already.
        """

    def publish(self, messages: Messages, send: Callable[[Messages], None]) -> None:
        """Called around the sending of what this process publishes.

        Args:
            messages: what is to be sent.
            send: sends messages: these, others, or in several calls.
        """
        _drive(self.apublish(messages, _as_coroutine(send)))

    async def apublish(
        self, messages: Messages, send: Callable[[Messages], Awaitable[None]]
    ) -> None:
        """`publish` for code on an event loop."""
        await _beside(self.publish, messages, send)

    def execute(self, request: Request, run: Callable[[], Any]) -> Any:
        """Called around the running of a task; returns its value.

        What it raises is what the task has raised.

        Args:
            request: the execution; arguments that are changed in it are those that are used.
            run: runs the task, and returns its value.
        """
        return _drive(self.aexecute(request, _as_coroutine(run)))

    async def aexecute(self, request: Request, run: Callable[[], Awaitable[Any]]) -> Any:
        """`execute` for tasks that are coroutines."""
        return await _beside(self.execute, request, run)


class MiddlewareStack:
    """The middleware of an app, by what each has overridden.

    Attributes:
        messages: those that see each message.
        publishing: those around publishing.
        executing: those around running.
    """

    def __init__(self) -> None:
        self.messages: tuple[Callable[[TaskMessage], None], ...] = ()
        self.publishing: tuple[Middleware, ...] = ()
        self.executing: tuple[Middleware, ...] = ()

    def add(self, middleware: Middleware) -> None:
        """Add one, within those that are there."""
        if _overrides(middleware, "on_message"):
            self.messages = (*self.messages, middleware.on_message)
        if _overrides(middleware, "publish") or _overrides(middleware, "apublish"):
            self.publishing = (*self.publishing, middleware)
        if _overrides(middleware, "execute") or _overrides(middleware, "aexecute"):
            self.executing = (*self.executing, middleware)

    def publish(self, messages: Messages, send: Callable[[Messages], None]) -> None:
        """Send messages, with all middleware around it."""
        for middleware in reversed(self.publishing):
            send = _around(middleware.publish, send)
        send(messages)

    async def apublish(
        self, messages: Messages, send: Callable[[Messages], Awaitable[None]]
    ) -> None:
        """`publish` for code on an event loop."""
        for middleware in reversed(self.publishing):
            send = _around(middleware.apublish, send)
        await send(messages)

    def execute(self, request: Request, run: Callable[[], Any]) -> Any:
        """Run a task, with all middleware around it."""
        for middleware in reversed(self.executing):
            run = _within(middleware.execute, request, run)
        return run()

    async def aexecute(self, request: Request, run: Callable[[], Awaitable[Any]]) -> Any:
        """`execute` for tasks that are coroutines."""
        for middleware in reversed(self.executing):
            run = _within(middleware.aexecute, request, run)
        return await run()


def _overrides(middleware: Middleware, name: str) -> bool:
    return getattr(type(middleware), name) is not getattr(Middleware, name)


def _around(method: Callable[[Messages, Any], Any], send: Any) -> Callable[[Messages], Any]:
    return lambda messages: method(messages, send)


def _within(method: Callable[[Any, Any], Any], request: Request, run: Any) -> Callable[[], Any]:
    return lambda: method(request, run)


def _as_coroutine(function: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def coroutine(*args: Any) -> Any:
        return function(*args)

    return coroutine


def _drive(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine from blocking code, on a loop of its own."""
    # asyncio is imported by those who use it: it doubles the time to import taskq.
    import asyncio
    import contextvars

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    # A thread has one loop at a time, and this one's is running.
    found: list[Any] = []
    context = contextvars.copy_context()

    def work() -> None:
        try:
            found.append(context.run(asyncio.run, coroutine))
        except BaseException as exc:
            found.extend((None, exc))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if len(found) == 2:
        raise found[1]
    return found[0]


async def _beside(
    method: Callable[[Any, Callable[..., Any]], Any],
    subject: Any,
    inner: Callable[..., Awaitable[Any]],
) -> Any:
    """Run blocking code in a thread, with what it calls on this loop."""
    # Loaded already: an event loop is running.
    import asyncio
    from concurrent.futures import Future

    loop = asyncio.get_running_loop()
    calls: list[Future[Any]] = []
    ended = threading.Event()

    async def awaited(*args: Any) -> Any:
        return await inner(*args)

    def call(*args: Any) -> Any:
        future = asyncio.run_coroutine_threadsafe(awaited(*args), loop)
        calls.append(future)
        if ended.is_set():  # before it was among those that were cancelled
            future.cancel()
        return future.result()

    thread = asyncio.ensure_future(asyncio.to_thread(method, subject, call))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        # A time limit: what runs is ended, and the code around it sees that and ends too.
        ended.set()
        for future in calls:
            future.cancel()
        await asyncio.wait([thread])
        raise
