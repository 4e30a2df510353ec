"""Several results, waited for together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from taskq import states
from taskq.context import get_current_app
from taskq.joining import refuse_inside_task
from taskq.result import AsyncResult
from taskq.result_wait import Wait

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.backends.base import Backend

R = TypeVar("R", covariant=True)


class ResultSet(Generic[R]):
    """Several results, waited for together.

    Args:
        results: the results.
        app: accepted for Celery's sake.
    """

    parent: Any = None

    def __init__(self, results: Iterable[AsyncResult[R]] = (), app: TaskQ | None = None) -> None:
        self.results = list(results)

    # What is in it

    def add(self, result: AsyncResult[Any]) -> None:
        """Add one more, unless it is there."""
        if result not in self.results:
            self.results.append(result)

    def remove(self, result: AsyncResult[Any] | str) -> None:
        """Take one out, by itself or by its id.

        Raises:
            KeyError: it is not there.
        """
        count = len(self.results)
        self.discard(result)
        if len(self.results) == count:
            raise KeyError(str(result))

    def discard(self, result: AsyncResult[Any] | str) -> None:
        """Take one out if it is there, by itself or by its id."""
        self.results = [each for each in self.results if each.id != str(result)]

    def update(self, results: Iterable[AsyncResult[Any]]) -> None:
        """Add several, each unless it is there."""
        known = {each.id for each in self.results}
        for result in results:
            if result.id not in known:
                known.add(result.id)
                self.results.append(result)

    def clear(self) -> None:
        """Take all of them out."""
        self.results = []

    # How it is going

    def ready(self) -> bool:
        """Have all ended?"""
        return all(result._final is not None for result in self._looked_at())

    def waiting(self) -> bool:
        """Has one of them not ended?"""
        return not self.ready()

    def successful(self) -> bool:
        """Have all ended well?"""
        return all(_ended_as(states.SUCCESS, result) for result in self._looked_at())

    def failed(self) -> bool:
        """Has one of them ended badly?"""
        return any(_ended_as(states.FAILURE, result) for result in self._looked_at())

    def completed_count(self) -> int:
        """How many tasks have ended well?"""
        return sum(_ended_as(states.SUCCESS, result) for result in self._looked_at())

    def maybe_throw(
        self, propagate: bool = True, callback: Callable[[str, Any], Any] | None = None
    ) -> None:
        """Raise what one of them has raised, if that is known.

        Args:
            propagate: raise it.
            callback: called with id and value of each that has ended.
        """
        for result in self._looked_at():
            if result._final is not None:
                result.maybe_throw(propagate, callback)

    maybe_reraise = maybe_throw

    def _singles(self) -> Iterator[AsyncResult[Any]]:
        """The results of single tasks: a member may be a group as well."""
        pending: list[Any] = list(reversed(self.results))
        while pending:
            result = pending.pop()
            if isinstance(result, ResultSet):
                pending += reversed(result.results)
            else:
                yield result

    def _looked_at(self) -> list[AsyncResult[Any]]:
        """The results of single tasks, after one look at the store for those not ended."""
        singles = list(self._singles())
        waiting = [result for result in singles if result._final is None]
        if waiting:
            found = waiting[0]._backend().fetch([result.id for result in waiting])
            for result in waiting:
                result._take(found)
        return singles

    # Waiting

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callable[[str, Any], Any] | None = None,
        no_ack: bool = True,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        disable_sync_subtasks: bool = True,
        on_interval: Callable[[], Any] | None = None,
    ) -> list[R]:
        """Wait for all of them; their values, in order.

        Args:
            timeout: seconds to wait for all together; None waits for ever.
            propagate: raise what a task raised, as soon as it is known; otherwise its
                exception stands for its value.
            interval: accepted for Celery's sake.
            callback: called with id and value of each, in order, in place of returning them.
            no_ack: accepted for Celery's sake.
            on_message: called with the stored document of each.
            disable_sync_subtasks: refuse to wait inside a task.
            on_interval: called now and then while they are not all there.

        Raises:
            TimeoutError: not all are there in time.
        """
        if disable_sync_subtasks:
            refuse_inside_task()
        if not self.results and self.parent is not None:  # a group of none, at the end of a chain
            self.parent.get(timeout, propagate, disable_sync_subtasks=False)
        wait = Wait(list(self._singles()), timeout, propagate)
        while wait.waiting:
            wait.take(wait.backend.wait(*wait.ask()))
            if on_interval is not None:
                on_interval()
        if on_message is not None:
            for result in self._singles():
                on_message(result._document())
        if callback is not None:
            for result in self._singles():
                callback(result.id, result.get(0, propagate, disable_sync_subtasks=False))
            return []
        return [result.get(0, propagate, disable_sync_subtasks=False) for result in self.results]

    join = get
    join_native = get

    async def aget(self, timeout: float | None = None, propagate: bool = True) -> list[R]:
        """`get` for code on an event loop."""
        if not self.results and self.parent is not None:
            await self.parent.aget(timeout, propagate)
        wait = Wait(list(self._singles()), timeout, propagate)
        while wait.waiting:
            wait.take(await wait.backend.await_(*wait.ask()))
        return [await result.aget(0, propagate) for result in self.results]

    def __await__(self) -> Generator[Any, None, list[R]]:
        return self.aget().__await__()

    def as_completed(self, timeout: float | None = None) -> Iterator[AsyncResult[R]]:
        """The results of single tasks, each when it has ended, whichever is the first.

        Args:
            timeout: seconds to wait for all together; None waits for ever.

        Raises:
            TimeoutError: not all are there in time.
        """
        refuse_inside_task()
        wait = Wait(list(self._singles()), timeout, propagate=False)
        yield from wait.ended()
        while wait.waiting:
            wait.take(wait.backend.wait(*wait.ask()))
            yield from wait.ended()

    async def aas_completed(self, timeout: float | None = None) -> AsyncIterator[AsyncResult[R]]:
        """`as_completed` for code on an event loop; ``async for result in results`` is the same."""
        wait = Wait(list(self._singles()), timeout, propagate=False)
        for result in wait.ended():
            yield result
        while wait.waiting:
            wait.take(await wait.backend.await_(*wait.ask()))
            for result in wait.ended():
                yield result

    def __aiter__(self) -> AsyncIterator[AsyncResult[R]]:
        return self.aas_completed()

    def iter_native(
        self,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """The id and the stored document of each, when it has ended, whichever is the first.

        Args:
            timeout: seconds to wait for all together; None waits for ever.
            interval: accepted for Celery's sake.
            no_ack: accepted for Celery's sake.
            on_message: called with each document.
            on_interval: accepted for Celery's sake.

        Raises:
            TimeoutError: not all are there in time.
        """
        for result in self.as_completed(timeout):
            document = result._document()
            if on_message is not None:
                on_message(document)
            yield result.id, document

    def then(
        self, callback: Callable[[Any], Any], on_error: Callable[[Any], Any] | None = None
    ) -> Callable[[Any], Any]:
        """Call a function with this set as soon as this process knows that all have ended.

        Args:
            callback: called if all have ended well; without `on_error`, however they have.
            on_error: called if one has not.

        Returns:
            The callback.
        """
        left = {id(result) for result in self._singles()}

        def one_more(result: AsyncResult[Any]) -> None:
            left.discard(id(result))
            if not left:
                well = all(_ended_as(states.SUCCESS, each) for each in self._singles())
                (callback if well or on_error is None else on_error)(self)

        if not left:
            callback(self)
        for result in list(self._singles()):
            result.then(one_more)
        return callback

    # All of them at once

    def forget(self) -> None:
        """Delete all of them, and their parents, from the store; one round trip for all."""
        singles = list(self._singles())
        if singles:
            backend = singles[0]._backend()
            for result in singles:
                result._final = None
            backend.forget([result.id for result in singles])
        if self.parent is not None:
            self.parent.forget()

    def revoke(self, terminate: bool = False, signal: str = "SIGTERM") -> None:
        """Let no worker run these tasks; see `taskq.control.Control.revoke`."""
        for result in self._singles():
            result.revoke(terminate, signal)

    @property
    def app(self) -> TaskQ:
        """The current app."""
        return get_current_app()

    @property
    def backend(self) -> Backend:
        """The store that is asked."""
        return self.results[0].backend if self.results else get_current_app().backend

    @property
    def supports_native_join(self) -> bool:
        """Can they be waited for together?  In every store."""
        return True

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


def _ended_as(state: str, result: AsyncResult[Any]) -> bool:
    return result._final is not None and result._final["status"] == state
