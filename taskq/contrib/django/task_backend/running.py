"""Running Django's tasks as tasks of taskq's."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from traceback import format_exception
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from taskq.app import shared_task
from taskq.contrib.django.task_backend import records
from taskq.contrib.django.task_backend.framework import (
    Task,
    TaskContext,
    TaskError,
    TaskResult,
    TaskResultStatus,
    normalize_json,
    task_finished,
    task_started,
)
from taskq.exceptions import TaskQError

if TYPE_CHECKING:
    from taskq.task import Task as OwnTask

logger = logging.getLogger("taskq.django")


def register(task: Task[..., Any], backend: type) -> None:
    """Make a task of Django's known to the project's app, and to every worker that imports it.

    Args:
        task: it.
        backend: the class of its backend, which Django's signals are sent by.
    """
    run = _arun if inspect.iscoroutinefunction(task.func) else _run
    make = shared_task(
        bind=True, name=task.module_path, serializer="json", typing=False, ignore_result=False
    )
    make(_with_function(run, task, backend))


def _with_function(
    run: Callable[..., Any], task: Task[..., Any], backend: type
) -> Callable[..., Any]:
    """A function that is called with taskq's task and the arguments."""
    function, takes_context = task.func, task.takes_context

    def call(own: OwnTask[..., Any], *args: Any, **kwargs: Any) -> Any:
        return run(_Attempt(own, backend, args, kwargs), function, takes_context)

    async def acall(own: OwnTask[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await run(_Attempt(own, backend, args, kwargs), function, takes_context)

    chosen = acall if run is _arun else call
    chosen.__name__, chosen.__module__ = function.__name__, function.__module__
    chosen.__doc__ = function.__doc__
    return chosen


def _run(attempt: _Attempt, function: Callable[..., Any], takes_context: bool) -> Any:
    result = attempt.begin()
    task_started.send(attempt.sender, task_result=result)
    try:
        context = (TaskContext(task_result=result),) if takes_context else ()
        value = normalize_json(function(*context, *attempt.args, **attempt.kwargs))
    except Exception as exc:
        attempt.failed(exc)
        task_finished.send(attempt.sender, task_result=result)
        raise
    attempt.succeeded(value)
    task_finished.send(attempt.sender, task_result=result)
    return value


async def _arun(attempt: _Attempt, function: Callable[..., Any], takes_context: bool) -> Any:
    # The store is spoken to in a thread, and other coroutines go on.
    result = await asyncio.to_thread(attempt.begin)
    await task_started.asend(attempt.sender, task_result=result)
    try:
        context = (TaskContext(task_result=result),) if takes_context else ()
        value = normalize_json(await function(*context, *attempt.args, **attempt.kwargs))
    except Exception as exc:
        attempt.failed(exc)
        await task_finished.asend(attempt.sender, task_result=result)
        raise
    attempt.succeeded(value)
    await task_finished.asend(attempt.sender, task_result=result)
    return value


class _Attempt:
    """One execution of a task of Django's.

    Args:
        own: taskq's task.
        sender: the class of the backend.
        args: positional arguments.
        kwargs: keyword arguments.
    """

    def __init__(
        self, own: OwnTask[..., Any], sender: type, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._own = own
        self._request = own.request
        self.sender = sender
        self.args = args
        self.kwargs = kwargs

    def begin(self) -> TaskResult[..., Any]:
        """Note that it has begun, and give Django's view of it."""
        request, app, now = self._request, self._own.app, timezone.now()
        task_id = str(request.id)
        outline = request.headers.get(records.HEADER) or {
            # It was not Django that has sent it, but somebody by its name.
            "path": self._own.name,
            "backend": "default",
            "queue": "default",
            "priority": 0,
            "run_after": None,
            "enqueued": now,
            "args": [],
            "kwargs": {},
        }
        record = records.from_header(outline, self.args, self.kwargs)
        keeps = not (request.is_eager or app.backend.addressed)
        try:
            if keeps and request.deliveries > 1 and (known := records.load(app, task_id)):
                record = known[0]
            record.started = record.started or now
            record.attempted = now
            record.workers.append(request.hostname or "eager")
            if keeps:
                records.store(app, task_id, record)
        except TaskQError as exc:  # what the task does is more than what is said of it
            logger.warning("%s[%s]: cannot tell that it runs: %s", self._own.name, task_id, exc)
        self._result = record.result(task_id)
        return self._result

    def succeeded(self, value: Any) -> None:
        """Add to Django's view that it has returned."""
        ended = timezone.now()
        status = TaskResultStatus.SUCCESSFUL
        records.change(self._result, finished_at=ended, status=status, _return_value=value)

    def failed(self, exc: Exception) -> None:
        """Add to Django's view that it has raised something."""
        kind = type(exc)
        error = TaskError(
            exception_class_path=f"{kind.__module__}.{kind.__qualname__}",
            traceback="".join(format_exception(exc)),
        )
        self._result.errors.append(error)
        status = TaskResultStatus.FAILED
        records.change(self._result, finished_at=timezone.now(), status=status)
