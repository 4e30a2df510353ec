"""One wait for many results."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from taskq.exceptions import TimeoutError
from taskq.result import AsyncResult

if TYPE_CHECKING:
    from taskq.backends.base import Backend, Outcome

_FEW = 32
"""Results that are waited for at a time: a store is told all of them anew each time."""
_MANY = 256
"""Results that are looked at when one has come, for others have come with it."""
_LOOK = 1.0
"""Seconds after which all are looked at, so that one that has failed is noticed."""


class Wait:
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
        self._ended: list[AsyncResult[Any]] = []
        self.waiting = results
        self._sort_out()

    def _sort_out(self) -> None:
        waiting = []
        for result in self.waiting:
            if result._final is None:
                waiting.append(result)
                continue
            self._ended.append(result)
            if self._propagate:
                result._value(result._final, propagate=True)
        self.waiting = waiting

    def ended(self) -> list[AsyncResult[Any]]:
        """Those that have ended since this was asked last."""
        ended, self._ended = self._ended, []
        return ended

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
