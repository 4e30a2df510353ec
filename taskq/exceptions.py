"""Every error that taskq raises.

    TaskQError
     ├─ ImproperlyConfigured         a setting, queue, route or schedule is wrong
     │   └─ UnknownSetting           also AttributeError and KeyError
     ├─ OperationalError             broker or result store unreachable, or it refused
     ├─ BackendError                 the result store answered with something unusable
     │   └─ BackendStoreError        an outcome could not be stored
     ├─ SecurityError                signature, certificate or key is not right
     │   └─ ContentDisallowed        content type outside of ``accept_content``
     ├─ ServiceError                 a service of the worker cannot start
     ├─ EncodeError                  a value cannot be turned into bytes
     ├─ DecodeError                  bytes cannot be turned into a value
     ├─ NotRegistered                also KeyError: no task of that name
     ├─ AlreadyRegistered            two tasks of one name
     ├─ QueueNotFound                also KeyError: no queue of that name
     ├─ InvalidTaskError             a message that is no task message
     ├─ TaskPredicate                raised inside of a task to decide its fate
     │   ├─ Retry
     │   ├─ Ignore
     │   └─ Reject
     ├─ TaskRevokedError             the result belongs to a revoked task
     ├─ MaxRetriesExceededError      a task used up its retries
     ├─ IncompleteStream             what a task has led to is not known yet
     ├─ ChordError                   a member of a chord failed
     ├─ SoftTimeLimitExceeded        raised inside of a task, which may catch it
     ├─ TimeLimitExceeded            the task was stopped at its hard limit
     ├─ WorkerLostError              the process that ran the task died
     ├─ Terminated                   the task was stopped on request
     └─ TimeoutError                 also the built-in TimeoutError

    SystemExit
     ├─ WorkerShutdown               warm shutdown of this worker
     └─ WorkerTerminate              cold shutdown of this worker

All of them survive pickling, with their attributes.
"""

import builtins
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any


class TaskQError(Exception):
    """Root of all errors of taskq."""


# Set-up


class ImproperlyConfigured(TaskQError):
    """A setting, queue, route or schedule is wrong; the message says which and how to mend it."""


class UnknownSetting(ImproperlyConfigured, AttributeError, KeyError):
    """There is no setting of that name.

    Also an ``AttributeError`` and a ``KeyError``, so that ``hasattr(conf, name)``,
    ``name in conf`` and ``conf.get(name)`` behave as they do elsewhere.
    """

    # KeyError shows the repr of its message, quotes and escapes included.
    __str__ = Exception.__str__


# Brokers, stores and bytes


class OperationalError(TaskQError):
    """The broker or the result store cannot be reached, or refused, after the allowed retries."""


class ServiceError(TaskQError):
    """A service that starts with the worker has raised something, so that the worker cannot."""


class BackendError(TaskQError):
    """The result store gave an answer that cannot be used."""


class BackendStoreError(BackendError):
    """An outcome could not be stored.

    Attributes:
        state: the state that was to be stored.
        task_id: the task it belongs to.
    """

    def __init__(self, *args: object, state: str | None = None, task_id: str | None = None) -> None:
        super().__init__(*args)
        self.state = state
        self.task_id = task_id


class SecurityError(TaskQError):
    """A signature, certificate or key is missing or not right."""


class ContentDisallowed(SecurityError):
    """A message or result has a content type that ``accept_content`` does not allow."""


class EncodeError(TaskQError):
    """A value cannot be serialized; the message says where in the data it is."""


class DecodeError(TaskQError):
    """Bytes cannot be deserialized or decompressed."""


# Tasks and queues


class NotRegistered(TaskQError, KeyError):
    """No task of that name is registered."""

    __str__ = Exception.__str__


class AlreadyRegistered(TaskQError):
    """Another task of that name is registered."""


class QueueNotFound(TaskQError, KeyError):
    """No queue of that name is declared, and ``task_create_missing_queues`` is off."""

    __str__ = Exception.__str__


class InvalidTaskError(TaskQError):
    """A message is not a task message, or lacks a part that is needed."""


# What a task raises to decide its own fate


class TaskPredicate(TaskQError):
    """Base of what a task raises to decide its own fate."""


class Retry(TaskPredicate):
    """The task is to be run again; raised by ``Task.retry``.

    Attributes:
        message: why.
        exc: the error that led to the retry.
        when: seconds from now, or the moment, of the next run.
        is_eager: the task runs in the calling process.
        sig: the signature that is sent for the next run.
    """

    def __init__(
        self,
        message: str | None = None,
        exc: BaseException | None = None,
        when: float | datetime | None = None,
        is_eager: bool = False,
        sig: Any = None,
    ) -> None:
        super().__init__(message, exc, when)
        self.message = message
        self.exc = exc
        self.when = when
        self.is_eager = is_eager
        self.sig = sig

    def humanize(self) -> str:
        """Tell when the next run is, in words."""
        if isinstance(self.when, (int, float)):
            return f"in {self.when}s"
        return f"at {self.when}"

    def __str__(self) -> str:
        if self.message:
            return self.message
        if self.exc is not None:
            return f"Retry {self.humanize()}: {self.exc!r}"
        return f"Retry {self.humanize()}"


class Ignore(TaskPredicate):
    """The worker stores no outcome for this run; the task may have stored its own."""


class Reject(TaskPredicate):
    """The message is refused: put back into its queue, or moved to the dead letters.

    Attributes:
        reason: why, for the log and the dead letter.
        requeue: put it back instead of moving it to the dead letters.
    """

    def __init__(self, reason: object = None, requeue: bool = False) -> None:
        super().__init__(reason, requeue)
        self.reason = reason
        self.requeue = requeue

    def __str__(self) -> str:
        return f"reject requeue={self.requeue}: {self.reason}"


# How tasks end


class TaskRevokedError(TaskQError):
    """The task was revoked, so that there is no result."""


class MaxRetriesExceededError(TaskQError):
    """The task used up its retries.

    Attributes:
        task_args: arguments of the last run.
        task_kwargs: keyword arguments of the last run.
    """

    def __init__(
        self,
        *args: object,
        task_args: Sequence[Any] = (),
        task_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(*args)
        self.task_args = task_args
        self.task_kwargs = dict(task_kwargs or {})


class IncompleteStream(TaskQError):
    """What a task has led to is not known yet, since it has not ended."""


class ChordError(TaskQError):
    """A member of a chord failed, so that its body does not run."""


class SoftTimeLimitExceeded(TaskQError):
    """The soft time limit passed; raised inside of the task, which may catch it and clean up."""


class TimeLimitExceeded(TaskQError):
    """The hard time limit passed and the task was stopped."""


class WorkerLostError(TaskQError):
    """The process that ran the task died."""


class Terminated(TaskQError):
    """The task was stopped on request."""


class TimeoutError(TaskQError, builtins.TimeoutError):
    """An operation, such as waiting for a result, took longer than allowed."""


# Raised inside of a worker to end it


class WorkerShutdown(SystemExit):
    """Stop this worker when what it runs is done."""


class WorkerTerminate(SystemExit):
    """Stop this worker now and give back what it runs."""
