"""Waiting for results on an event loop: one watch for however many waiters."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from taskq.backends.base import Outcome
from taskq.stores.wakeups import FIRST_POLL, LAST_POLL, Listener

News = Callable[[Sequence[str] | None], None]
"""Told, on the loop, which tasks there is news of; None means "look for yourself"."""


class Waiters:
    """All that wait for results on one event loop.

    Args:
        look: reads those of the given tasks that are ready.
        listen: tells news from its beginning to its end.
        polls: seconds until the first look without news, and between looks at last; None
            takes those of this module.
    """

    def __init__(
        self,
        look: Callable[[Sequence[str]], Awaitable[dict[str, Outcome]]],
        listen: Callable[[News], AbstractContextManager[None]],
        polls: tuple[float, float] | None = None,
    ) -> None:
        self._look = look
        self._listen = listen
        self._polls = polls
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._watch: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._names: set[str] = set()

    async def wait(self, task_ids: Sequence[str], timeout: float | None) -> dict[str, Outcome]:
        """Wait until one of the tasks is ready; nothing if the time is over."""
        ready = await self._look(task_ids)
        if ready or timeout == 0:
            return ready
        loop = asyncio.get_running_loop()
        news: asyncio.Future[None] = loop.create_future()
        for task_id in task_ids:
            self._waiting.setdefault(task_id, set()).add(news)
        if self._watch is None or self._watch.done():
            self._watch = loop.create_task(self._watching())
        else:
            # What was stored since the look above was told to nobody: the watch looks once more.
            self._hear(task_ids)
        try:
            await asyncio.wait_for(news, timeout)
        except TimeoutError:
            pass
        finally:
            self._leave(task_ids, news)
        return await self._look(task_ids)

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
        """Look whenever there is news, and now and then without."""
        first, last = self._polls or (FIRST_POLL, LAST_POLL)
        with self._listen(self._hear):
            poll = first
            # Look first: what was stored before somebody listened was told to nobody.
            names = list(self._waiting)
            while self._waiting:
                if names:
                    self._tell(await self._look(names))
                try:
                    await asyncio.wait_for(self._woken.wait(), poll)
                    names = [name for name in self._names if name in self._waiting]
                    poll = first
                except TimeoutError:
                    names = list(self._waiting)
                    poll = min(poll * 2, last)
                self._woken.clear()
                self._names.clear()

    def _hear(self, names: Sequence[str] | None) -> None:
        self._names.update(self._waiting if names is None else names)
        self._woken.set()

    def _tell(self, ready: dict[str, Outcome]) -> None:
        for task_id in ready:
            for news in self._waiting.get(task_id, ()):
                if not news.done():
                    news.set_result(None)


@contextmanager
def hints(open_listener: Callable[[], Listener], news: News) -> Iterator[None]:
    """Tell the hints that come to a listener, as `Waiters` wants them told."""
    loop = asyncio.get_running_loop()
    with open_listener() as listener:

        def drain() -> None:
            heard = listener.drain()
            if all(heard):
                news([name for hint in heard for name in hint.decode().split("\n")])
            else:
                news(None)

        loop.add_reader(listener.fileno(), drain)
        try:
            yield
        finally:
            loop.remove_reader(listener.fileno())
