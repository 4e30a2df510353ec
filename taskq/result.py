"""Results: what a caller holds of a task that it has sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from taskq import states
from taskq.backends.base import Outcome
from taskq.context import get_current_app, running
from taskq.exceptions import TaskQError, TaskRevokedError, TimeoutError
from taskq.failure import describe, rebuild
from taskq.serialization import compress, decompress
from taskq.serialization.plain import all_plain

if TYPE_CHECKING:
    from taskq.backends.base import Backend
    from taskq.serialization import SerializerRegistry

R = TypeVar("R", covariant=True)

_COMPRESSED = b"\0celery-compressed\0"
"""How a compressed result begins, as Celery marks it; the content type follows."""


class _Plain(msgspec.Struct, gc=False):
    """The usual document: a struct is encoded in a fraction of the time of a dict."""

    status: str
    result: Any
    traceback: None
    children: tuple[()]
    date_done: str
    task_id: str


_encode_plain = msgspec.json.Encoder().encode


class ResultCodec:
    """Between an outcome's bytes and the document in them; the document is Celery's.

    Args:
        serializers: the app's serializers.
        serializer: the setting ``result_serializer``.
        accept: content types that results may have.
        extended: keep name, arguments, worker, retries and queue as well.
        compression: compress what is kept.
        tracebacks: errors carry the worker's traceback as a note.
    """

    def __init__(
        self,
        serializers: SerializerRegistry,
        serializer: str,
        accept: frozenset[str],
        extended: bool = False,
        compression: str | None = None,
        tracebacks: bool = True,
    ) -> None:
        self._serializers = serializers
        self._serializer = serializer
        self._content_type = next(iter(serializers.content_types([serializer])))
        self._accept = accept
        self._compression = compression
        self._usual = serializer == "json" and not compression and serializers.is_built_in("json")
        self.extended = extended
        self.tracebacks = tracebacks

    def encode(
        self,
        task_id: str,
        state: str,
        result: Any,
        traceback: str | None = None,
        headers: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Outcome:
        """The outcome to keep of a task.

        Args:
            task_id: whose it is.
            state: its state.
            result: the value, the exception, or what a task said of its progress.
            traceback: of the exception, as text.
            headers: the message's, for parent and group.
            more: what an extended result keeps.

        Raises:
            EncodeError: the value cannot be encoded.
        """
        if state == states.SUCCESS and self._usual and not more and _stands_alone(headers):
            payload = self._encode_usual(task_id, state, result)
            if payload is not None:
                return Outcome(task_id, state, payload)
        if isinstance(result, BaseException):
            result = describe(result, self._encodable)
        document = {
            "status": state,
            "result": result,
            "traceback": traceback,
            "children": (),
            "date_done": datetime.now(UTC).isoformat() if state in states.READY_STATES else None,
            "task_id": task_id,
            **more,
        }
        if headers is not None:
            if headers.get("group"):
                document["group_id"] = headers["group"]
            if headers.get("parent_id"):
                document["parent_id"] = headers["parent_id"]
        payload = self._serializers.encode(document, self._serializer).body
        # What is still going on is not: stores look for its state.
        if self._compression and state in states.READY_STATES:
            compressed, content_type = compress(payload, self._compression)
            payload = _COMPRESSED + content_type.encode() + b"\0" + compressed
        return Outcome(task_id, state, payload)

    def _encode_usual(self, task_id: str, state: str, result: Any) -> bytes | None:
        """The document of a plain result; None if there is anything special about it."""
        if not all_plain((result,)):
            return None
        done = datetime.now(UTC).isoformat()
        try:
            return _encode_plain(_Plain(state, result, None, (), done, task_id))
        except (OverflowError, UnicodeError):
            return None  # huge numbers and lone surrogates, which the usual way knows about

    def _encodable(self, value: Any) -> bool:
        try:
            self._serializers.encode(value, self._serializer)
        except Exception:
            return False
        return True

    def decode(self, outcome: Outcome) -> dict[str, Any]:
        """The document in an outcome.

        Raises:
            DecodeError: the bytes are no result document.
        """
        payload = outcome.payload
        if payload.startswith(_COMPRESSED):
            content_type, _, compressed = payload[len(_COMPRESSED) :].partition(b"\0")
            payload = decompress(compressed, content_type.decode())
        document = self._serializers.decode(payload, self._content_type, "utf-8", self._accept)
        return dict(document)


def _stands_alone(headers: Mapping[str, Any] | None) -> bool:
    """Has the task neither parent nor group?"""
    return headers is None or not (headers.get("parent_id") or headers.get("group"))


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
        self._revoke: Callable[[str, bool, str], None] | None = None

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
            _refuse_inside_task()
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
        revoke(self.id, terminate, signal)

    def __repr__(self) -> str:
        return f"<AsyncResult: {self.id}>"

    def __str__(self) -> str:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncResult) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)


class ResultSet(Generic[R]):
    """Several results, waited for together.

    Args:
        results: the results.
    """

    def __init__(self, results: Iterable[AsyncResult[R]] = ()) -> None:
        self.results = list(results)

    def add(self, result: AsyncResult[R]) -> None:
        """Add one more."""
        if result not in self.results:
            self.results.append(result)

    def ready(self) -> bool:
        """Have all ended?"""
        return all(result._final is not None for result in self._looked_at())

    def successful(self) -> bool:
        """Have all ended well?"""
        return all(result.successful() for result in self._looked_at())

    def failed(self) -> bool:
        """Has one of them ended badly?"""
        return any(result.failed() for result in self._looked_at())

    def completed_count(self) -> int:
        """How many have ended well?"""
        return sum(result.successful() for result in self._looked_at())

    def _looked_at(self) -> list[AsyncResult[R]]:
        """All of them, after one look at the store for those that have not ended."""
        waiting = [result for result in self.results if result._final is None]
        if waiting:
            found = waiting[0]._backend().fetch([result.id for result in waiting])
            for result in waiting:
                result._take(found)
        return self.results

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        disable_sync_subtasks: bool = True,
    ) -> list[R]:
        """Wait for all of them; their values, in order.

        Args:
            timeout: seconds to wait for all together; None waits for ever.
            propagate: raise what a task raised; otherwise its exception stands for its value.
            disable_sync_subtasks: refuse to wait inside a task.

        Raises:
            TimeoutError: not all are there in time.
        """
        if disable_sync_subtasks:
            _refuse_inside_task()
        deadline = None if timeout is None else time.monotonic() + timeout
        while waiting := self._waiting(propagate):
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            found = waiting[0]._backend().wait([result.id for result in waiting], left)
            if not found and left == 0.0:
                raise self._too_late(waiting, timeout)
            for result in waiting:
                result._take(found)
        return [result.get(0, propagate, disable_sync_subtasks=False) for result in self.results]

    join = get

    async def aget(self, timeout: float | None = None, propagate: bool = True) -> list[R]:
        """`get` for code on an event loop."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while waiting := self._waiting(propagate):
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            found = await waiting[0]._backend().await_([result.id for result in waiting], left)
            if not found and left == 0.0:
                raise self._too_late(waiting, timeout)
            for result in waiting:
                result._take(found)
        return [result._value(result._final or {}, propagate) for result in self.results]

    def __await__(self) -> Generator[Any, None, list[R]]:
        return self.aget().__await__()

    def _waiting(self, propagate: bool) -> list[AsyncResult[R]]:
        """Those that have not ended; none as soon as one has failed that shall be raised."""
        if propagate:
            for result in self.results:
                if result._final is not None:
                    result._value(result._final, propagate)
        return [result for result in self.results if result._final is None]

    def _too_late(self, waiting: list[AsyncResult[R]], timeout: float | None) -> TimeoutError:
        return TimeoutError(
            f"{len(waiting)} of {len(self.results)} results are not there within {timeout} s; "
            f"the first is {waiting[0].id}"
        )

    def forget(self) -> None:
        """Delete all of them from the store."""
        for result in self.results:
            result.forget()

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[AsyncResult[R]]:
        return iter(self.results)

    def __getitem__(self, index: int) -> AsyncResult[R]:
        return self.results[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResultSet) and other.results == self.results

    def __hash__(self) -> int:
        return hash(tuple(self.results))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: [{', '.join(map(str, self.results))}]>"


class GroupResult(ResultSet[R]):
    """The results of a group.

    Args:
        id: the group's id.
        results: its members' results, in order.
        parent: the result of the step before, if the group ends a chain.
    """

    def __init__(self, id: str, results: Iterable[AsyncResult[R]] = (), parent: Any = None) -> None:
        super().__init__(results)
        self.id = id
        self.parent = parent

    @property
    def children(self) -> list[AsyncResult[R]]:
        """The members' results."""
        return self.results


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


def _refuse_inside_task() -> None:
    if running.get() is not None:
        raise RuntimeError(
            "never wait for a result inside a task: workers that wait for each other stop "
            "for ever.  Link the tasks as a chain, or pass disable_sync_subtasks=False"
        )


def _no_store() -> Backend:
    raise RuntimeError("an eager result is in no store")


def _no_codec() -> ResultCodec:
    raise RuntimeError("an eager result is in no store")
