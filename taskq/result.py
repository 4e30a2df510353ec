"""Results: what a caller holds of a task that it has sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from taskq import states
from taskq.backends.base import Outcome
from taskq.context import get_current_app, running
from taskq.exceptions import TaskQError, TaskRevokedError, TimeoutError
from taskq.failure import rebuild

if TYPE_CHECKING:
    from taskq.backends.base import Backend
    from taskq.result_codec import ResultCodec

R = TypeVar("R", covariant=True)


class AsyncResult(Generic[R]):
    """The result of one task, wherever and whenever it runs.

    ``await result`` and ``result.get()`` give the value, or raise what the task raised.

    Args:
        id: the task's id.
        backend: the store to ask.
        codec: reads what the store keeps.
        task_name: the task's name, where known.
        parent: the result of the step before, in a chain: an `AsyncResult` or `GroupResult`.
    """

    def __init__(
        self,
        id: str,
        backend: Callable[[], Backend],
        codec: Callable[[], ResultCodec],
        task_name: str | None = None,
        parent: Any = None,
    ) -> None:
        if not isinstance(id, str):
            raise TypeError(f"a task's id is text, not {id!r}")
        self.id = id
        self.task_name = task_name
        self.parent = parent
        self._backend = backend
        self._codec = codec
        self._final: dict[str, Any] | None = None
        self._revoke: Callable[..., Any] | None = None

    @property
    def task_id(self) -> str:
        """The task's id."""
        return self.id

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        disable_sync_subtasks: bool = True,
    ) -> R:
        """Wait for the result.

        Args:
            timeout: seconds to wait; None waits for ever.
            propagate: raise what the task raised; otherwise return the exception.
            disable_sync_subtasks: refuse to wait inside a task, where waiting workers
                can wait for each other for ever.

        Raises:
            TimeoutError: it is not there in time; the task goes on.
            RuntimeError: called inside a task.
        """
        if disable_sync_subtasks:
            refuse_inside_task()
        if self._final is None:
            found = self._backend().wait([self.id], timeout)
            self._take(found)
            if self._final is None:
                raise self._too_late(timeout)
        return self._value(self._final, propagate)

    async def aget(self, timeout: float | None = None, propagate: bool = True) -> R:
        """`get` for code on an event loop."""
        if self._final is None:
            self._take(await self._backend().await_([self.id], timeout))
            if self._final is None:
                raise self._too_late(timeout)
        return self._value(self._final, propagate)

    def __await__(self) -> Generator[Any, None, R]:
        return self.aget().__await__()

    def _too_late(self, timeout: float | None) -> TimeoutError:
        name = f" of {self.task_name}" if self.task_name else ""
        return TimeoutError(
            f"no result{name} for {self.id} within {timeout} s (it is {self.state}): "
            "is a worker running on its queue, and does it keep results?"
        )

    def _take(self, found: Mapping[str, Outcome]) -> dict[str, Any] | None:
        """Decode what the store answered; keep it once it cannot change any more."""
        outcome = found.get(self.id)
        if outcome is None:
            return None
        document = self._codec().decode(outcome)
        if document.get("status") in states.READY_STATES:
            self._final = document
        return document

    def _value(self, document: dict[str, Any], propagate: bool) -> R:
        value = self._result_of(document)
        if propagate and document["status"] in states.PROPAGATE_STATES:
            if isinstance(value, BaseException):
                raise value
            # update_state(state="FAILURE", meta=...), which says what it likes.
            raise TaskQError(f"task {self.id} has failed, in its own words: {value!r}")
        return value  # type: ignore[no-any-return]  # the task's own type, checked at the call

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
    def children(self) -> list[AsyncResult[Any]]:
        """The results of the tasks that it has sent, once it has ended."""
        known = self._document().get("children") or ()
        return [AsyncResult(child[0][0], self._backend, self._codec) for child in known]

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

    def maybe_throw(self, propagate: bool = True) -> Any:
        """The value if there is one so far; raises what the task raised."""
        return self._value(self._document(), propagate)

    def forget(self) -> None:
        """Delete the result from the store."""
        self._final = None
        self._backend().forget([self.id])

    def revoke(self, terminate: bool = False, signal: str = "SIGTERM") -> None:
        """Let no worker run the task; see `taskq.control.Control.revoke`."""
        revoke = self._revoke or get_current_app().control.revoke
        revoke(self.id, terminate=terminate, signal=signal)

    def __repr__(self) -> str:
        return f"<AsyncResult: {self.id}>"

    def __str__(self) -> str:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncResult) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)


class EagerResult(AsyncResult[R]):
    """The result of a task that ran in this process.

    Args:
        id: the task's id.
        value: what it returned, or raised.
        state: how it ended.
        traceback: of the exception, as text.
        task_name: the task's name.
    """

    def __init__(
        self,
        id: str,
        value: Any,
        state: str,
        traceback: str | None = None,
        task_name: str | None = None,
    ) -> None:
        super().__init__(id, _no_store, _no_codec, task_name)
        self._final = {
            "status": state,
            "result": value,
            "traceback": traceback,
            "task_id": id,
            "date_done": datetime.fromtimestamp(time.time(), UTC).isoformat(),
        }

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        disable_sync_subtasks: bool = True,
    ) -> R:
        """The value, which is here already: never waits, and so is allowed inside a task."""
        return super().get(timeout, propagate, disable_sync_subtasks=False)

    def forget(self) -> None:
        """There is nothing in a store to delete."""


def _first_argument(value: Any) -> Any:
    """The message in the stored form of an exception."""
    message = value.get("exc_message") if isinstance(value, Mapping) else value
    return message[0] if isinstance(message, list | tuple) and message else message


def refuse_inside_task() -> None:
    """Raise RuntimeError inside a task: waiting there can go on for ever."""
    if running.get() is not None:
        raise RuntimeError(
            "never wait for a result inside a task: workers that wait for each other stop "
            "for ever.  Link the tasks as a chain, or pass disable_sync_subtasks=False"
        )


def _no_store() -> Backend:
    raise RuntimeError("an eager result is in no store")


def _no_codec() -> ResultCodec:
    raise RuntimeError("an eager result is in no store")
