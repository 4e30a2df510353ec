"""What Django wants to know of a task, and a result document does not say.

A record is kept beside the result, under an id of its own: when the task is enqueued, and when it
starts. How it has ended is read from the result itself, which is stored in the step that settles
the task.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from django.utils.module_loading import import_string

from taskq import exceptions, states
from taskq.contrib.django.models.results import RECORD
from taskq.contrib.django.task_backend.framework import (
    Task,
    TaskError,
    TaskResult,
    TaskResultStatus,
)
from taskq.failure import describe

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.backends.base import Outcome

HEADER = "django_task"
"""The message's header that holds the record, so that whoever runs the task need not ask for it."""


class Record(msgspec.Struct, omit_defaults=True):
    """One task, as far as the result does not tell it.

    Attributes:
        path: the dotted name of Django's task.
        backend: the alias of the backend.
        queue: Django's name of the queue.
        priority: Django's.
        run_after: when it is to run.
        enqueued: when it was enqueued.
        args: positional arguments.
        kwargs: keyword arguments.
        started: when it was first started.
        attempted: when it was started last.
        workers: the names of workers that have started it.
        errors: class and traceback of errors that did not end it.
    """

    path: str
    backend: str
    queue: str
    priority: int
    run_after: datetime | None
    enqueued: datetime
    args: list[Any]
    kwargs: dict[str, Any]
    started: datetime | None = None
    attempted: datetime | None = None
    workers: list[str] = msgspec.field(default_factory=list)
    errors: list[tuple[str, str]] = msgspec.field(default_factory=list)

    def result(self, task_id: str, task: Task[..., Any] | None = None) -> TaskResult[..., Any]:
        """Django's view of it, before it has ended.

        Args:
            task_id: the task's id.
            task: Django's task, if it is at hand.
        """
        return TaskResult(
            task=task or self._task(),
            id=task_id,
            status=TaskResultStatus.RUNNING if self.workers else TaskResultStatus.READY,
            enqueued_at=self.enqueued,
            started_at=self.started,
            finished_at=None,
            last_attempted_at=self.attempted,
            args=self.args,
            kwargs=self.kwargs,
            backend=self.backend,
            errors=[TaskError(exception_class_path=name, traceback=t) for name, t in self.errors],
            worker_ids=[*self.workers],
        )

    def _task(self) -> Task[..., Any]:
        found: Task[..., Any] = import_string(self.path)
        return found.using(
            priority=self.priority,
            queue_name=self.queue,
            run_after=self.run_after,
            backend=self.backend,
        )

    def outline(self) -> dict[str, Any]:
        """What the message's header says of it: all but the arguments, which the message has."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return {**plain, "args": [], "kwargs": {}}


def from_header(outline: Mapping[str, Any], args: Any, kwargs: Any) -> Record:
    """The record of a message that has arrived."""
    record = msgspec.convert(outline, Record, strict=False)
    record.args, record.kwargs = list(args), dict(kwargs)
    return record


def store(app: TaskQ, task_id: str, record: Record) -> None:
    """Keep a record.

    Raises:
        OperationalError: the result store cannot be reached.
    """
    state = states.STARTED if record.workers else states.QUEUED
    outcome = app.result_codec.encode(_key(task_id), state, msgspec.to_builtins(record))
    app.backend.store([outcome])


def forget(app: TaskQ, task_id: str) -> None:
    """Delete a record."""
    app.backend.forget([_key(task_id)])


def load(app: TaskQ, task_id: str) -> tuple[Record, dict[str, Any] | None] | None:
    """A record, and the document of the result; None if there is no such task.

    Raises:
        OperationalError: the result store cannot be reached.
    """
    found = app.backend.fetch([_key(task_id), task_id])
    kept = found.get(_key(task_id))
    if kept is None:
        return None
    record = msgspec.convert(app.result_codec.decode(kept)["result"], Record, strict=False)
    ended: Outcome | None = found.get(task_id)
    return record, app.result_codec.decode(ended) if ended is not None else None


def end(result: TaskResult[..., Any], document: Mapping[str, Any]) -> None:
    """Add to Django's view what the document of the result says."""
    state = document["status"]
    if state not in states.READY_STATES:
        return
    done = document.get("date_done")
    change(result, finished_at=datetime.fromisoformat(done) if done else None)
    if state == states.SUCCESS:
        change(result, status=TaskResultStatus.SUCCESSFUL, _return_value=document["result"])
        return
    error = document["result"]
    if isinstance(error, BaseException):  # by the serializer pickle
        error = describe(error, lambda _: True)
    if not (isinstance(error, Mapping) and "exc_type" in error):  # revoked, with a reason
        error = {"exc_module": exceptions.__name__, "exc_type": "TaskRevokedError"}
    path = f"{error['exc_module']}.{error['exc_type']}"
    traceback = document.get("traceback") or ""
    failure = TaskError(exception_class_path=path, traceback=traceback)
    change(result, status=TaskResultStatus.FAILED, errors=[*result.errors, failure])


def change(result: TaskResult[..., Any], **attributes: Any) -> None:
    """Set attributes of Django's view, which nobody else may change."""
    for name, value in attributes.items():
        object.__setattr__(result, name, value)


def _key(task_id: str) -> str:
    return f"{task_id}{RECORD}"
