"""What the store knows of a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from taskq import states
from taskq.backends.base import Outcome
from taskq.exceptions import TaskQError, TaskRevokedError
from taskq.failure import rebuild

if TYPE_CHECKING:
    from taskq.backends.base import Backend
    from taskq.result_codec import ResultCodec


class KnownOutcome:
    """The part of a result that asks the store, and reads what it answers.

    Args:
        id: the task's id.
        backend: the store to ask.
        codec: reads what the store keeps.
        task_name: the task's name, where known.
    """

    def __init__(
        self,
        id: str,
        backend: Callable[[], Backend],
        codec: Callable[[], ResultCodec],
        task_name: str | None = None,
    ) -> None:
        if not isinstance(id, str):
            raise TypeError(f"a task's id is text, not {id!r}")
        self.id = id
        self.task_name = task_name
        self._backend = backend
        self._codec = codec
        self._final: dict[str, Any] | None = None

    @property
    def task_id(self) -> str:
        """The task's id."""
        return self.id

    def _take(self, found: Mapping[str, Outcome]) -> dict[str, Any] | None:
        """Decode what the store answered; keep it once it cannot change any more."""
        outcome = found.get(self.id)
        if outcome is None:
            return None
        document = self._codec().decode(outcome)
        if document.get("status") in states.READY_STATES:
            self._final = document
            self._ended()
        return document

    def _ended(self) -> None:
        """Called when it has become known that the task has ended."""

    def _value(self, document: dict[str, Any], propagate: bool) -> Any:
        value = self._result_of(document)
        if propagate and document["status"] in states.PROPAGATE_STATES:
            if isinstance(value, BaseException):
                raise value
            # update_state(state="FAILURE", meta=...), which says what it likes.
            raise TaskQError(f"task {self.id} has failed, in its own words: {value!r}")
        return value

    def _result_of(self, document: Mapping[str, Any]) -> Any:
        value = document.get("result")
        status = document["status"]
        if isinstance(value, BaseException):
            return value
        if status == states.REVOKED:
            return TaskRevokedError(_first_argument(value) or "revoked")
        if status in states.EXCEPTION_STATES and isinstance(value, Mapping) and "exc_type" in value:
            traceback = document.get("traceback") if self._codec().tracebacks else None
            return rebuild(dict(value), traceback)
        return value

    def _document(self) -> dict[str, Any]:
        if self._final is not None:
            return self._final
        return self._take(self._backend().fetch([self.id])) or {"status": states.PENDING}

    async def adocument(self) -> dict[str, Any]:
        """What the store keeps of it, for code on an event loop."""
        if self._final is not None:
            return self._final
        found = await self._backend().afetch([self.id])
        return self._take(found) or {"status": states.PENDING}

    @property
    def state(self) -> str:
        """One of `taskq.states`, or the task's own; PENDING if nothing is known of it."""
        return str(self._document()["status"])

    @property
    def status(self) -> str:
        """The same as `state`."""
        return self.state

    @property
    def result(self) -> Any:
        """The value, the exception, or what the task said of its progress; None so far."""
        return self._result_of(self._document())

    @property
    def info(self) -> Any:
        """The same as `result`."""
        return self.result

    @property
    def traceback(self) -> str | None:
        """The traceback in the worker, as text, if it failed."""
        return self._document().get("traceback")

    @property
    def date_done(self) -> datetime | None:
        """When it ended."""
        done = self._document().get("date_done")
        return datetime.fromisoformat(done) if done else None

    @property
    def name(self) -> str | None:
        """The task's name; from the store only with ``result_extended``."""
        return self.task_name or self._document().get("name")

    @property
    def args(self) -> Any:
        """Positional arguments; only with ``result_extended``."""
        return self._document().get("args")

    @property
    def kwargs(self) -> Any:
        """Keyword arguments; only with ``result_extended``."""
        return self._document().get("kwargs")

    @property
    def worker(self) -> str | None:
        """The worker that ran it; only with ``result_extended``."""
        return self._document().get("worker")

    @property
    def retries(self) -> int | None:
        """How often it was retried; only with ``result_extended``."""
        return self._document().get("retries")

    @property
    def queue(self) -> str | None:
        """The queue that it came from; only with ``result_extended``."""
        return self._document().get("queue")

    def exists(self) -> bool:
        """Is anything known of it?  PENDING alone does not tell."""
        return self._final is not None or bool(self._backend().fetch([self.id]))

    def ready(self) -> bool:
        """Has it ended?"""
        return self.state in states.READY_STATES

    def successful(self) -> bool:
        """Has it ended well?"""
        return self.state == states.SUCCESS

    def failed(self) -> bool:
        """Has it ended badly?"""
        return self.state == states.FAILURE


def _first_argument(value: Any) -> Any:
    """The message in the stored form of an exception."""
    message = value.get("exc_message") if isinstance(value, Mapping) else value
    return message[0] if isinstance(message, list | tuple) and message else message
