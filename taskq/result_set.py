"""Several results, waited for together."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from taskq import states
from taskq.exceptions import TimeoutError
from taskq.result import AsyncResult, refuse_inside_task

if TYPE_CHECKING:
    from taskq.backends.base import Backend, Outcome

R = TypeVar("R", covariant=True)

_FEW = 32
"""Results that are waited for at a time: a store is told all of them anew each time."""
_MANY = 256
"""Results that are looked at when one has come, for others have come with it."""
_LOOK = 1.0
"""Seconds after which all are looked at, so that one that has failed is noticed."""


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
        return all(_ended_as(states.SUCCESS, result) for result in self._looked_at())

    def failed(self) -> bool:
        """Has one of them ended badly?"""
        return any(_ended_as(states.FAILURE, result) for result in self._looked_at())

    def completed_count(self) -> int:
        """How many tasks have ended well?"""
        return sum(_ended_as(states.SUCCESS, result) for result in self._looked_at())

    def _singles(self) -> Iterator[AsyncResult[Any]]:
        """The results of single tasks: a member may be a group as well."""
        members: list[Any] = self.results
        for result in members:
            if isinstance(result, ResultSet):
                yield from result._singles()
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
        wait = _Wait(list(self._singles()), timeout, propagate)
        while wait.waiting:
            wait.take(wait.backend.wait(*wait.ask()))
        return [result.get(0, propagate, disable_sync_subtasks=False) for result in self.results]

    join = get

    async def aget(self, timeout: float | None = None, propagate: bool = True) -> list[R]:
        """`get` for code on an event loop."""
        wait = _Wait(list(self._singles()), timeout, propagate)
        while wait.waiting:
            wait.take(await wait.backend.await_(*wait.ask()))
        return [await result.aget(0, propagate) for result in self.results]

    def __await__(self) -> Generator[Any, None, list[R]]:
        return self.aget().__await__()

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


class _Wait:
    """One wait for many results: what to ask the store for, without asking it.

    Args:
        results: the results of single tasks.
        timeout: seconds to wait for all together; None waits for ever.
        propagate: raise what a task raised.

    Attributes:
        waiting: those that have not ended.
    """

    def __init__(
        self, results: list[AsyncResult[Any]], timeout: float | None, propagate: bool
    ) -> None:
        self._count = len(results)
        self._timeout = timeout
        self._end = None if timeout is None else time.monotonic() + timeout
        self._propagate = propagate
        self._next_look = 0.0
        self._found = True
        self.waiting = results
        self._sort_out()

    def _sort_out(self) -> None:
        waiting = []
        for result in self.waiting:
            if result._final is None:
                waiting.append(result)
            elif self._propagate:
                result._value(result._final, propagate=True)
        self.waiting = waiting

    @property
    def backend(self) -> Backend:
        """The store to ask."""
        return self.waiting[0]._backend()

    def ask(self) -> tuple[list[str], float | None]:
        """The ids to ask for next, and for how many seconds to wait for one of them."""
        now = time.monotonic()
        left = None if self._end is None else max(self._end - now, 0.0)
        count = len(self.waiting)
        if count > _FEW:
            if now >= self._next_look:
                self._next_look, left = now + _LOOK, 0.0
            elif self._found:
                count, left = _MANY, 0.0
            else:
                pause = self._next_look - now
                count, left = _FEW, pause if left is None else min(pause, left)
        return [result.id for result in self.waiting[:count]], left

    def take(self, found: Mapping[str, Outcome]) -> None:
        """Take what the store has answered.

        Raises:
            TimeoutError: the time is over.
        """
        self._found = bool(found)
        if found:
            for result in self.waiting:
                result._take(found)
            self._sort_out()
        elif self._end is not None and time.monotonic() >= self._end:
            raise TimeoutError(
                f"{len(self.waiting)} of {self._count} results are not there within "
                f"{self._timeout} s; the first is {self.waiting[0].id}"
            )


def _ended_as(state: str, result: AsyncResult[Any]) -> bool:
    return result._final is not None and result._final["status"] == state
