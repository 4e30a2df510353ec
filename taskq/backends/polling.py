"""Waiting for outcomes by looking, ever less often, with hints where there are any."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from taskq import states
from taskq.backends.base import Backend, Outcome
from taskq.exceptions import OperationalError

if TYPE_CHECKING:
    import asyncio

    from taskq.backends.waiting import News, Waiters

PATIENCE = 10.0
"""Seconds for which a store may be away before those who wait are told."""

Ear = Callable[[Sequence[str] | None], object]
"""Told which tasks there is news of; None means "look for yourself"."""


class Bell:
    """Tells those who wait in this process which tasks there is news of."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ears: tuple[Ear, ...] = ()
        self._pid = os.getpid()

    @contextmanager
    def listening(self, ear: Ear) -> Iterator[None]:
        """Call `ear`, in the thread of whoever rings, until the end of the block."""
        self._after_fork()
        with self._lock:
            self._ears = (*self._ears, ear)
        try:
            yield
        finally:
            with self._lock:
                self._ears = tuple(other for other in self._ears if other is not ear)

    def ring(self, task_ids: Sequence[str] | None) -> None:
        """There is news of these tasks; None: there may be news of any."""
        self._after_fork()
        for ear in self._ears:
            ear(task_ids)

    @property
    def heard(self) -> bool:
        """Is anybody listening?"""
        return self._pid == os.getpid() and bool(self._ears)

    def _after_fork(self) -> None:
        # A child inherits the ears of threads that it does not have, and perhaps a held lock.
        if self._pid != os.getpid():
            self._lock, self._ears, self._pid = threading.Lock(), (), os.getpid()


class Endurance:
    """Bears with a store that cannot be reached: a restart of it ends nobody's waiting."""

    def __init__(self) -> None:
        self._since: float | None = None

    def bear(self, error: OperationalError) -> None:
        """Raise the error if the store has been away for too long."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        elif now - self._since > PATIENCE:
            self._since = None
            raise error

    def relax(self) -> None:
        """It is there."""
        self._since = None


class PollingBackend(Backend):
    """A store that is asked again and again.

    What this process stores itself is heard at once; a subclass that learns of news in
    another way rings the `bell`.
    """

    polls = (0.01, 0.5)
    """Seconds until the first look at the store, and between looks at last."""

    def __init__(self, expires: float = 86400.0) -> None:
        super().__init__(expires)
        self.bell = Bell()
        self._waiters: WeakKeyDictionary[asyncio.AbstractEventLoop, Waiters] = WeakKeyDictionary()

    def listening(self, ear: Ear) -> AbstractContextManager[None]:
        """Listen for news until the end of the block."""
        return self.bell.listening(ear)

    def _ready(self, task_ids: Sequence[str]) -> dict[str, Outcome]:
        return only_ready(self.fetch(task_ids))

    def wait(self, task_ids: Sequence[str], timeout: float | None) -> dict[str, Outcome]:
        if timeout == 0 or not task_ids:
            return self._ready(task_ids)
        end = float("inf") if timeout is None else time.monotonic() + timeout
        poll, last = self.polls
        woken, wanted, away = threading.Event(), frozenset(task_ids), Endurance()

        def ear(names: Sequence[str] | None) -> None:
            if names is None or not wanted.isdisjoint(names):
                woken.set()

        # Listen and then look: what came before somebody listened was told to nobody.
        with self.listening(ear):
            while True:
                woken.clear()
                ready = self._bear(away, task_ids)
                left = end - time.monotonic()
                if ready or left <= 0:
                    return ready
                woken.wait(min(poll, left))
                poll = min(poll * 2, last)

    def _bear(self, away: Endurance, task_ids: Sequence[str]) -> dict[str, Outcome]:
        try:
            ready = self._ready(task_ids)
        except OperationalError as exc:
            away.bear(exc)
            return {}
        away.relax()
        return ready

    async def _abear(self, away: Endurance, task_ids: Sequence[str]) -> dict[str, Outcome]:
        # asyncio is imported by those who use it: it doubles the time to import taskq.
        import asyncio

        return await asyncio.to_thread(self._bear, away, task_ids)

    async def await_(self, task_ids: Sequence[str], timeout: float | None) -> dict[str, Outcome]:
        if timeout == 0 or not task_ids:
            return only_ready(await self.afetch(task_ids))
        # asyncio is imported by those who use it: it doubles the time to import taskq.
        import asyncio

        from taskq.backends.waiting import Waiters

        loop = asyncio.get_running_loop()
        waiters = self._waiters.get(loop)
        if waiters is None:
            away = Endurance()

            async def look(names: Sequence[str]) -> dict[str, Outcome]:
                return await self._abear(away, names)

            def listen(news: News) -> AbstractContextManager[None]:
                return self.listening(lambda names: _call_on(loop, news, names))

            waiters = self._waiters[loop] = Waiters(look, listen, self.polls)
        return await waiters.wait(task_ids, timeout)


def only_ready(found: dict[str, Outcome]) -> dict[str, Outcome]:
    """Those that are in a ready state."""
    return {key: o for key, o in found.items() if o.state in states.READY_STATES}


def _call_on(loop: asyncio.AbstractEventLoop, news: News, names: Sequence[str] | None) -> None:
    try:
        loop.call_soon_threadsafe(news, names)
    except RuntimeError:
        pass  # the loop has ended, and with it all that waited on it
