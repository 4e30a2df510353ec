"""Results: what a caller holds of a task that it has sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from taskq import states
from taskq.context import get_current_app
from taskq.exceptions import TimeoutError
from taskq.joining import refuse_inside_task
from taskq.known_outcome import KnownOutcome
from taskq.result_tree import ResultTree

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.backends.base import Backend
    from taskq.result_codec import ResultCodec

R = TypeVar("R", covariant=True)


class AsyncResult(KnownOutcome, ResultTree, Generic[R]):
    """The result of one task, wherever and whenever it runs.

    ``await result`` and ``result.get()`` give the value, or raise what the task raised.

    Args:
        id: the task's id.
        backend: the store to ask; the current app's by default.
        codec: reads what the store keeps; likewise.
        task_name: the task's name, where known.
        parent: the result of the step before, in a chain: an `AsyncResult` or `GroupResult`.
    """

    _group_type: ClassVar[Any] = None
    """`GroupResult`, which stands on this class, and tells it so."""

    def __init__(
        self,
        id: str,
        backend: Callable[[], Backend] | None = None,
        codec: Callable[[], ResultCodec] | None = None,
        task_name: str | None = None,
        parent: Any = None,
    ) -> None:
        if backend is None or codec is None:
            app = get_current_app()
            backend, codec = (lambda: app.backend), (lambda: app.result_codec)
        super().__init__(id, backend, codec, task_name)
        self.parent = parent
        self._revoke: Callable[..., Any] | None = None
        self._then: list[tuple[Callable[[Any], Any], Callable[[Any], Any] | None]] = []

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        no_ack: bool = True,
        follow_parents: bool = True,
        callback: Callable[[str, Any], Any] | None = None,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> R:
        """Wait for the result.

        Args:
            timeout: seconds to wait; None waits for ever.
            propagate: raise what the task raised; otherwise return the exception.
            interval: seconds between two calls of `on_interval`.
            no_ack: accepted for Celery's sake.
            follow_parents: accepted for Celery's sake: whoever waits for a later step of a
                chain always gets the error of an earlier one.
            callback: called with id and value, when it is there.
            on_message: called with the stored document, when it is there.
            on_interval: called while it is not.
            disable_sync_subtasks: refuse to wait inside a task, where waiting workers
                can wait for each other for ever.

        Raises:
            TimeoutError: it is not there in time; the task goes on.
            RuntimeError: called inside a task.
        """
        if disable_sync_subtasks:
            refuse_inside_task()
        if self._final is None:
            self._wait(timeout, interval if on_interval is not None else None, on_interval)
            if self._final is None:
                raise self._too_late(timeout)
        if on_message is not None:
            on_message(self._final)
        value: R = self._value(self._final, propagate)
        if callback is not None:
            callback(self.id, value)
        return value

    wait = get

    def _wait(
        self, timeout: float | None, interval: float | None, tell: Callable[[], Any] | None
    ) -> None:
        """Wait in the store; in pieces if somebody is to be told now and then."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if end is None else max(end - time.monotonic(), 0.0)
            piece = left
            if interval is not None:
                piece = interval if left is None else min(interval, left)
            self._take(self._backend().wait([self.id], piece))
            if self._final is not None or piece == left:
                return
            if tell is not None:
                tell()

    async def aget(self, timeout: float | None = None, propagate: bool = True) -> R:
        """`get` for code on an event loop."""
        if self._final is None:
            self._take(await self._backend().await_([self.id], timeout))
            if self._final is None:
                raise self._too_late(timeout)
        value: R = self._value(self._final, propagate)
        return value

    def __await__(self) -> Generator[Any, None, R]:
        return self.aget().__await__()

    def _too_late(self, timeout: float | None) -> TimeoutError:
        name = f" of {self.task_name}" if self.task_name else ""
        return TimeoutError(
            f"no result{name} for {self.id} within {timeout} s (it is {self.state}): "
            "is a worker running on its queue, does it keep results, and has it not expired?"
        )

    def then(
        self,
        callback: Callable[[Any], Any],
        on_error: Callable[[Any], Any] | None = None,
        weak: bool = False,
    ) -> Callable[[Any], Any]:
        """Call a function with this result as soon as this process knows that it has ended.

        It knows when it waits for the result, or asks for its state.

        Args:
            callback: called if it has ended well; without `on_error`, however it has ended.
            on_error: called if it has failed.
            weak: accepted for Celery's sake.

        Returns:
            The callback.
        """
        self._then.append((callback, on_error))
        if self._final is not None:
            self._ended()
        return callback

    def _ended(self) -> None:
        waiting, self._then = self._then, []
        for callback, on_error in waiting:
            failed = self.state in states.PROPAGATE_STATES
            (on_error if failed and on_error is not None else callback)(self)

    @property
    def children(self) -> list[Any]:
        """The results of the tasks and groups that it has sent, once it has ended."""
        known = self._document().get("children") or ()
        return [self._from_tuple(child) for child in known]

    def _from_tuple(self, plain: Any) -> Any:
        return from_tuple(plain, self._backend, self._codec)

    @property
    def app(self) -> TaskQ:
        """The current app."""
        return get_current_app()

    @property
    def backend(self) -> Backend:
        """The store that is asked."""
        return self._backend()

    @property
    def supports_native_join(self) -> bool:
        """Can many be waited for together?  Every store can."""
        return True

    def maybe_throw(
        self, propagate: bool = True, callback: Callable[[str, Any], Any] | None = None
    ) -> Any:
        """The value if there is one so far; raises what the task raised.

        Args:
            propagate: raise it; otherwise return the exception.
            callback: called with id and value.
        """
        value = self._value(self._document(), propagate)
        if callback is not None:
            callback(self.id, value)
        return value

    maybe_reraise = maybe_throw

    def forget(self) -> None:
        """Delete the result, and those of its parents, from the store."""
        ids: list[str] = []
        node: Any = self
        while isinstance(node, AsyncResult):
            node._final = None
            ids.append(node.id)
            node = node.parent
        self._backend().forget(ids)
        if node is not None:
            node.forget()

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

    def get(self, timeout: float | None = None, propagate: bool = True, **kwargs: Any) -> R:  # type: ignore[override]
        """The value, which is here already: never waits, and so is allowed inside a task."""
        return super().get(timeout, propagate, **{**kwargs, "disable_sync_subtasks": False})

    wait = get  # type: ignore[assignment]

    def forget(self) -> None:
        """There is nothing in a store to delete."""


def from_tuple(plain: Any, backend: Callable[[], Backend], codec: Callable[[], ResultCodec]) -> Any:
    """The result, or that of a group, whose ids these are.

    Args:
        plain: what `AsyncResult.as_tuple` has returned, also after its way through JSON.
        backend: the store to ask.
        codec: reads what the store keeps.
    """
    if isinstance(plain, AsyncResult | AsyncResult._group_type):
        return plain
    pending: list[Any] = []
    found: Any = None
    while plain is not None:
        pending.append(plain)
        head = plain[0]
        plain = head[1] if isinstance(head, list | tuple) else None
    for head, members in reversed(pending):
        result_id = head[0] if isinstance(head, list | tuple) else head
        if members is None:
            found = AsyncResult(result_id, backend, codec, parent=found)
        else:
            results = [from_tuple(member, backend, codec) for member in members]
            found = AsyncResult._group_type(result_id, results, found, backend, codec)
    return found


def _no_store() -> Backend:
    raise RuntimeError("an eager result is in no store")


def _no_codec() -> ResultCodec:
    raise RuntimeError("an eager result is in no store")
