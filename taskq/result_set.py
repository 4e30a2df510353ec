"""Several results, waited for together."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from typing import Any, Generic, TypeVar

from taskq.exceptions import TimeoutError
from taskq.result import AsyncResult, refuse_inside_task

R = TypeVar("R", covariant=True)


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
            refuse_inside_task()
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
