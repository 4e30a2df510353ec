"""The backend itself: Django's tasks go to taskq's workers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from traceback import format_exception
from typing import TYPE_CHECKING, Any

from django.core import checks
from django.db import transaction
from django.utils import timezone

from taskq.backends.disabled import DisabledBackend
from taskq.context import get_current_app, has_current_app
from taskq.contrib.django.task_backend import records, running
from taskq.contrib.django.task_backend.framework import (
    DEFAULT_TASK_QUEUE_NAME,
    TASK_MAX_PRIORITY,
    TASK_MIN_PRIORITY,
    BaseTaskBackend,
    Task,
    TaskError,
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
    normalize_json,
    task_enqueued,
)
from taskq.exceptions import ImproperlyConfigured
from taskq.message import MAX_PRIORITY, new_id

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.producer import CallOptions


class TaskqBackend(BaseTaskBackend):
    """Sends Django's tasks to the workers of the project's app.

    Args:
        alias: its name in the setting ``TASKS``.
        params: what stands there. ``ENQUEUE_ON_COMMIT``: wait for the transaction on the default
            database, as `Task.delay_on_commit` does.
    """

    supports_defer = True
    supports_async_task = True
    supports_priority = True

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, dict(params))
        self.enqueue_on_commit = bool(params.get("ENQUEUE_ON_COMMIT", False))

    @property
    def supports_get_result(self) -> bool:  # type: ignore[override]
        """Can results be read from any process?  That is up to the result store."""
        backend = get_current_app().backend
        return not (backend.addressed or isinstance(backend, DisabledBackend))

    def validate_task(self, task: Task[..., Any]) -> None:
        """See that it can be run; Django calls this for every task that is made.

        So it is here that a worker, which imports the modules of tasks, comes to know them.

        Raises:
            InvalidTask: it cannot.
        """
        super().validate_task(task)
        if not (has_current_app() and task.module_path in get_current_app().tasks):
            running.register(task, type(self))

    def enqueue(
        self, task: Task[..., Any], args: Iterable[Any], kwargs: Mapping[str, Any]
    ) -> TaskResult[Any, Any]:
        """Send it to a worker, or write it to the outbox if there is one.

        Raises:
            InvalidTask: it cannot be run by this backend.
            TypeError: an argument is no JSON.
            OperationalError: broker or result store cannot be reached.
        """
        self.validate_task(task)
        record = records.Record(
            path=task.module_path,
            backend=self.alias,
            queue=task.queue_name,
            priority=task.priority,
            run_after=_aware(task.run_after),
            enqueued=timezone.now(),
            args=[normalize_json(each) for each in args],
            kwargs={name: normalize_json(each) for name, each in kwargs.items()},
        )
        result = record.result(new_id(), task)
        if self.enqueue_on_commit and transaction.get_connection().in_atomic_block:
            records.change(result, enqueued_at=None)
            transaction.on_commit(partial(self._enqueue, record, result))
        else:
            self._enqueue(record, result)
        return result

    def _enqueue(self, record: records.Record, result: TaskResult[..., Any]) -> None:
        app = get_current_app()
        records.change(result, enqueued_at=record.enqueued)
        options: CallOptions = {
            "task_id": result.id,
            "priority": own_priority(record.priority),
            "eta": record.run_after,
            "serializer": "json",
            "headers": {records.HEADER: record.outline()},
        }
        if record.queue != DEFAULT_TASK_QUEUE_NAME:
            options["queue"] = record.queue
        task_enqueued.send(type(self), task_result=result)
        if app.conf.task_always_eager:
            _run_here(app, record, result, options)
            return
        self._remember(app, record, result.id)
        try:
            app.send_task(record.path, record.args, record.kwargs, **options)
        except BaseException:
            if self.supports_get_result:
                records.forget(app, result.id)
            raise

    def _remember(self, app: TaskQ, record: records.Record, task_id: str) -> None:
        """Keep the record before the message is there, or with the transaction that it is in."""
        if not self.supports_get_result:
            return
        keep = partial(records.store, app, task_id, record)
        if app.commits_with(None):
            transaction.on_commit(keep)
        else:
            keep()

    def get_result(self, result_id: str) -> TaskResult[..., Any]:
        """How a task is doing, or has ended.

        Raises:
            TaskResultDoesNotExist: there is no such task, or its result has expired.
            NotImplementedError: the result store gives results to their callers alone, or none.
        """
        if not self.supports_get_result:
            super().get_result(result_id)  # says so
        found = records.load(get_current_app(), str(result_id))
        if found is None:
            raise TaskResultDoesNotExist(result_id)
        record, document = found
        result = record.result(str(result_id))
        if document is not None:
            records.end(result, document)
        return result

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """For ``manage.py check``: W006 if results cannot be read."""
        found = [*super().check(**kwargs)]
        try:
            readable = self.supports_get_result
        except ImproperlyConfigured:
            return found  # the checks of the project tell it
        if not readable:
            text = f"TASKS[{self.alias!r}]: results cannot be read from the result store."
            hint = "Set TASKQ_RESULT_BACKEND to a store that keeps them, or never ask for them."
            found.append(checks.Warning(text, hint, id="taskq.W006"))
        return found


def own_priority(priority: int) -> int:
    """Taskq's priority, 0 to 9, for Django's, -100 to 100; 0 is 4, 100 is 9."""
    span = TASK_MAX_PRIORITY - TASK_MIN_PRIORITY
    return (priority - TASK_MIN_PRIORITY) * MAX_PRIORITY // span


def _aware(moment: datetime | None) -> datetime | None:
    """A moment with a time zone; without USE_TZ Django's have none."""
    if moment is not None and timezone.is_naive(moment):
        return timezone.make_aware(moment)
    return moment


def _run_here(
    app: TaskQ, record: records.Record, result: TaskResult[..., Any], options: CallOptions
) -> None:
    """Run it in this process, with ``task_always_eager``."""
    started = timezone.now()
    ended = app.tasks[record.path].apply(record.args, record.kwargs, False, **options)
    changes = {"started_at": started, "last_attempted_at": started, "finished_at": timezone.now()}
    records.change(result, **changes, worker_ids=["eager"])
    if ended.successful():
        records.change(result, status=TaskResultStatus.SUCCESSFUL, _return_value=ended.result)
        return
    error = ended.result
    kind = type(error)
    failure = TaskError(
        exception_class_path=f"{kind.__module__}.{kind.__qualname__}",
        traceback=ended.traceback or "".join(format_exception(error)),
    )
    records.change(result, status=TaskResultStatus.FAILED, errors=[failure])
