"""Calling what belongs to the user: the task, its handlers, receivers of signals."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from taskq import signals
from taskq.failure import ExceptionInfo, safe_repr
from taskq.request import Request

if TYPE_CHECKING:
    from taskq.task import Task

logger = logging.getLogger("taskq.task")

Invoke = Callable[[Callable[..., Any], Any, Any], Any]
"""Calls a function with arguments, and drives it if it is a coroutine."""


def call(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Call a function; a coroutine runs on a loop of its own."""
    value = function(*args, **kwargs)
    return _drive(value) if inspect.iscoroutine(value) else value


def _drive(coroutine: Coroutine[Any, Any, Any]) -> Any:
    # asyncio is imported by those who use it: it doubles the time to import taskq.
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    # A task that runs eagerly, in code on an event loop that calls delay(): no thread can have
    # two loops that run, and the caller waits, as it does for a task that is no coroutine.
    from concurrent.futures import ThreadPoolExecutor

    run = copy_context().run
    with ThreadPoolExecutor(1, thread_name_prefix="taskq-eager") as thread:
        return thread.submit(run, asyncio.run, coroutine).result()


def call_of(task: Task[..., Any], request: Request) -> Callable[[], Any]:
    """Runs the task, with the arguments that the request has then."""
    return lambda: task.run(*request.args, **request.kwargs)


def retries_by_itself(task: Task[..., Any], exc: BaseException) -> bool:
    """Does this exception make the task retry, without its doing anything?"""
    return (
        bool(task.autoretry_for)
        and isinstance(exc, task.autoretry_for)
        and not isinstance(exc, task.dont_autoretry_for)
    )


def signal_of(signal: signals.Signal, task: Task[..., Any], request: Request, **more: Any) -> None:
    """Send a signal of an execution."""
    signal.send(
        task, task_id=request.id, task=task, args=request.args, kwargs=request.kwargs, **more
    )


def guarded(function: Callable[..., Any] | None, *args: Any, **kwargs: Any) -> None:
    """Call a handler of the user's; its errors do not change what the task has done."""
    if function is None:
        return
    try:
        function(*args, **kwargs)
    except Exception:
        logger.exception("%s failed", getattr(function, "__qualname__", function))


def short_repr(value: Any, size: int) -> str:
    """What the log shows of a value, in so many characters at most."""
    text = safe_repr(value)
    return text if len(text) <= size else text[: size - 3] + "..."


def tell_internal_error(task: Task[..., Any], request: Request, exc: Exception) -> None:
    """Send the signal of a task that ran well, but whose outcome cannot be recorded."""
    if signals.task_internal_error.receivers:
        signals.task_internal_error.send(
            task,
            task_id=request.id,
            args=request.args,
            kwargs=request.kwargs,
            request=request,
            exception=exc,
            traceback=exc.__traceback__,
            einfo=ExceptionInfo(exc),
        )
