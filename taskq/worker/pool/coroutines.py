"""Running a coroutine from code that is none, and stopping it at its soft limit."""

from __future__ import annotations

import contextvars
from collections.abc import Coroutine, Generator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


class Driver:
    """An event loop of a child's own, made when the first coroutine needs it."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None
        self._current: Interruptible | None = None

    @property
    def running(self) -> bool:
        """Is a coroutine being run?"""
        return self._current is not None

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run it to its end and return what it returns."""
        # Most tasks are plain functions: only who runs a coroutine pays for asyncio.
        import asyncio

        if self._runner is None:
            self._runner = asyncio.Runner()
        current = self._current = Interruptible(coroutine)
        try:
            return self._runner.run(current, context=contextvars.copy_context())
        finally:
            self._current = None

    def interrupt(self, error: Exception) -> None:
        """Raise an error in the coroutine, at what it awaits; called by a signal handler."""
        if self._current is not None:
            self._current.interrupt(error)


class Interruptible(Coroutine[Any, Any, Any]):
    """A coroutine into which an error can be raised from outside.

    asyncio can only cancel; this turns the cancellation that it asked for into the error.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._error: Exception | None = None
        self._task: asyncio.Task[Any] | None = None

    @property
    def has_started(self) -> bool:
        """Has its first step been made?  Before that it cannot be interrupted."""
        return self._task is not None

    def interrupt(self, error: Exception) -> None:
        """Raise an error at what the coroutine is awaiting."""
        if self._task is not None:
            self._error = error
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)

    def send(self, value: Any) -> Any:
        """Go on; called by the asyncio task that runs it."""
        if self._task is None:
            # Loaded already: an event loop is running.
            import asyncio

            self._task = asyncio.current_task()
        return self._coroutine.send(value)

    def throw(self, *details: Any) -> Any:
        """Raise in the coroutine: the error, in place of the cancellation that it caused."""
        error, self._error = self._error, None
        if error is None or self._task is None:
            return self._coroutine.throw(*details)
        self._task.uncancel()
        return self._coroutine.throw(error)

    def close(self) -> None:
        """Give it up."""
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()
