"""Waiting for results on an event loop: one listener for however many waiters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from taskq.backends.base import Outcome
from taskq.stores.wakeups import FIRST_POLL, LAST_POLL, Listener


class Waiters:
    """All that wait for results on one event loop.

    Args:
        look: reads those of the given tasks that are ready; quick enough for a loop.
        listen: binds a listener for the topic "results".
    """

    def __init__(
        self,
        look: Callable[[Sequence[str]], dict[str, Outcome]],
        listen: Callable[[], Listener],
    ) -> None:
        self._look = look
        self._listen = listen
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._watch: asyncio.Task[None] | None = None

    async def wait(self, task_ids: Sequence[str], timeout: float | None) -> dict[str, Outcome]:
        """Wait until one of the tasks is ready; nothing if the time is over."""
        ready = self._look(task_ids)
        if ready or timeout == 0:
            return ready
        loop = asyncio.get_running_loop()
        news: asyncio.Future[None] = loop.create_future()
        for task_id in task_ids:
            self._waiting.setdefault(task_id, set()).add(news)
        if self._watch is None or self._watch.done():
            self._watch = loop.create_task(self._watching())
        try:
            await asyncio.wait_for(news, timeout)
        except TimeoutError:
            pass
        finally:
            self._leave(task_ids, news)
        return self._look(task_ids)

    def _leave(self, task_ids: Sequence[str], news: asyncio.Future[None]) -> None:
        for task_id in task_ids:
            waiting = self._waiting.get(task_id)
            if waiting is not None:
                waiting.discard(news)
                if not waiting:
                    del self._waiting[task_id]

    async def _watching(self) -> None:
        """Watch until nobody waits; an error is everybody's, since nobody else watches."""
        try:
            await self._look_and_tell()
        except Exception as exc:
            for news in {news for waiting in self._waiting.values() for news in waiting}:
                if not news.done():
                    news.set_exception(exc)

    async def _look_and_tell(self) -> None:
        """Look whenever woken, and now and then without."""
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()
        with self._listen() as listener:
            loop.add_reader(listener.fileno(), woken.set)
            try:
                poll = FIRST_POLL
                # Look first: what was stored before the socket was bound sent no hint.
                names = list(self._waiting)
                while self._waiting:
                    if names:
                        self._tell(self._look(names))
                    woken.clear()
                    try:
                        await asyncio.wait_for(woken.wait(), poll)
                        names = self._named(listener.drain())
                        poll = FIRST_POLL
                    except TimeoutError:
                        names = list(self._waiting)
                        poll = min(poll * 2, LAST_POLL)
            finally:
                loop.remove_reader(listener.fileno())

    def _named(self, hints: list[bytes]) -> list[str]:
        """The awaited tasks that the hints are about."""
        if not all(hints):
            return list(self._waiting)
        names = {name for hint in hints for name in hint.decode().split("\n")}
        return [name for name in names if name in self._waiting]

    def _tell(self, ready: dict[str, Outcome]) -> None:
        for task_id in ready:
            for news in self._waiting.get(task_id, ()):
                if not news.done():
                    news.set_result(None)
