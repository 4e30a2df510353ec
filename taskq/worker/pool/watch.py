"""A look now and then, that costs nothing while there is nothing to look at."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

logger = logging.getLogger("taskq.worker")

_AFTER_ERROR = 1.0
"""Seconds."""


class Watch:
    """Calls a function when it is needed.

    Args:
        loop: the event loop to call it on.
        look: tells in how many seconds it wants to be called again; None is not until
            the next `wake`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, look: Callable[[], float | None]) -> None:
        self._loop = loop
        self._look = look
        self._next: asyncio.Handle | None = None
        # Not asked of the handle: uvloop makes a plain one of a call that is due at once.
        self._due = 0.0
        self._stopped = False

    def wake(self, delay: float = 0.01) -> None:
        """Look in `delay` seconds, unless a look is due sooner."""
        when = self._loop.time() + delay
        if self._stopped or (self._next is not None and self._due <= when):
            return
        if self._next is not None:
            self._next.cancel()
        self._due = when
        self._next = self._loop.call_at(when, self._run)

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _run(self) -> None:
        self._next = None
        try:
            pause = self._look()
        except Exception:
            # Time limits depend on it: one that cannot be understood must not end the others.
            logger.exception("The children could not be looked after; it is tried again")
            pause = _AFTER_ERROR
        if pause is not None:
            self.wake(pause)
