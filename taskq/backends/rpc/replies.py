"""The queue to which a process has its results sent, and the thread that reads it.

One connection and one consumer serve all that wait, in threads and on event loops.  They
begin with the first who asks: a process that only sends has a queue, and no connection more.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from taskq.backends.documents import unpack_outcome
from taskq.backends.rpc.kept import Kept
from taskq.exceptions import OperationalError
from taskq.message import new_id
from taskq.stores.amqp.links import ChannelError, DeclareQueue, Refusal
from taskq.stores.amqp.parcels import Arrival, Parcel
from taskq.stores.amqp.pool import Links

if TYPE_CHECKING:
    import asyncio

    from taskq.stores.amqp.links import Inbox

logger = logging.getLogger("taskq.results")

PATIENCE = 10.0
"""Seconds within which the queue must have been read as far as it goes."""
_PREFETCH = 1000
_FIRST_PAUSE, _LAST_PAUSE = 0.05, 2.0
"""Seconds before a connection that was lost is made again."""
_MARK = "taskq-mark"
_FRESHEST, _STALEST = 1.0, 600.0
"""Seconds after which a queue is declared again, at least and at most: it may have expired."""


class Replies:
    """What is sent to this process.

    Args:
        links: connections to declare and publish by.
        make_inbox: makes the connection that consumes, on the event loop that calls it.
        expires: seconds that results are kept, and that the queue outlives its process; 0 is
            for ever.
        limit: how many are kept in this process.
        ring: told the tasks that there is news of.
    """

    def __init__(
        self,
        links: Links,
        make_inbox: Callable[[], Inbox],
        expires: float,
        limit: int,
        ring: Callable[[Sequence[str]], None],
    ) -> None:
        self.pid = os.getpid()
        self.name = f"taskq.replies.{new_id()}"
        self.kept = Kept(expires, limit)
        self.away: str | None = None
        """Why nothing comes at the moment, once that is known."""
        self._links = links
        self._make_inbox = make_inbox
        self._expires = expires
        self._ring = ring
        self._lock = threading.Lock()
        self._fresh_until = 0.0
        self._marks: dict[str, threading.Event] = {}
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reading: asyncio.Task[None] | None = None
        self._closed = False

    # The queue

    @property
    def fresh(self) -> bool:
        """Has the queue been declared lately?"""
        return time.monotonic() < self._fresh_until

    def declare(self) -> None:
        """Have the queue.

        It does not go with its consumer, as Celery's do: what is sent while a connection is
        lost would be lost with it.

        Raises:
            OperationalError: RabbitMQ cannot be reached, or refuses it.
        """
        arguments: dict[str, Any] | None = None
        if self._expires:
            milliseconds = max(1, math.ceil(self._expires * 1000))
            arguments = {"x-expires": milliseconds, "x-message-ttl": milliseconds}
        try:
            with self._links.link() as link:
                link.run(DeclareQueue(self.name, arguments=arguments))
        except ChannelError as exc:
            raise OperationalError(f"RabbitMQ refuses the queue {self.name}: {exc.text}") from exc
        age = min(max(self._expires / 4, _FRESHEST), _STALEST) if self._expires else _STALEST
        self._fresh_until = time.monotonic() + age

    def catch_up(self) -> None:
        """Have everything here that has been sent before this call.

        Raises:
            OperationalError: RabbitMQ cannot be reached, or is too slow.
        """
        self.start()
        mark, seen = new_id(), threading.Event()
        self._marks[mark] = seen
        try:
            if not self.fresh:
                self.declare()
            if self._publish_mark(mark):  # somebody has deleted the queue
                self.declare()
                self._publish_mark(mark)
            if not seen.wait(PATIENCE):
                raise OperationalError(
                    f"results cannot be read: {self.away or 'RabbitMQ sends nothing'}"
                )
        finally:
            del self._marks[mark]

    def _publish_mark(self, mark: str) -> list[Refusal]:
        parcel = Parcel(b"", {_MARK: mark}, routing_key=self.name, message_id=mark, delivery_mode=1)
        with self._links.link() as link:
            return link.publish([parcel])

    # The thread

    def start(self) -> None:
        """Begin to read; again is no matter."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="taskq-results", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        # asyncio is imported by those who use it: it doubles the time to import taskq.
        import asyncio

        try:
            asyncio.run(self._serve())
        except RuntimeError:
            # The interpreter ends, and starts no threads to close the loop properly.
            if not self._closed:
                raise

    async def _serve(self) -> None:
        import asyncio

        self._loop, self._reading = asyncio.get_running_loop(), asyncio.current_task()
        pause = _FIRST_PAUSE
        try:
            while not self._closed:
                try:
                    await self._connect_and_read()
                except Exception as exc:
                    if self.away is None:
                        pause = _FIRST_PAUSE
                        logger.warning("results cannot be read, and will be: %s", exc)
                    self.away = str(exc) or type(exc).__name__
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LAST_PAUSE)
        except asyncio.CancelledError:
            pass  # by `close`

    async def _connect_and_read(self) -> None:
        import asyncio

        inbox = self._make_inbox()
        try:
            await inbox.open()
            await asyncio.to_thread(self.declare)
            await inbox.consume(self.name, 0, _PREFETCH, {})
            self.away = None
            await self._read(inbox)
        finally:
            try:
                await inbox.close()
            except RuntimeError:
                pass  # the interpreter ends, and starts no threads to close it properly

    async def _read(self, inbox: Inbox) -> None:
        """Take in what comes, until that is not possible any more."""
        while True:
            await inbox.news.wait()
            inbox.news.clear()
            arrivals = inbox.take()
            if arrivals:
                self._take(arrivals)
                inbox.ack(arrivals[-1].tag)
            if inbox.lost is not None:
                raise OperationalError(f"the connection to RabbitMQ was lost: {inbox.lost}")
            if self.name in inbox.cancelled:
                raise OperationalError(f"the queue {self.name} was deleted")

    def _take(self, arrivals: Sequence[Arrival]) -> None:
        marks, outcomes = [], []
        for arrival in arrivals:
            parcel = arrival.parcel
            if mark := parcel.headers.get(_MARK):
                marks.append(mark)
            elif parcel.correlation_id:
                outcomes.append(unpack_outcome(parcel.correlation_id, parcel.body))
        if outcomes:
            self.kept.add(outcomes)
            self._ring([outcome.task_id for outcome in outcomes])
        for mark in marks:
            if (seen := self._marks.get(mark)) is not None:
                seen.set()

    # The end

    def close(self) -> None:
        """Read no more, and delete the queue; a process that was forked leaves it alone."""
        with self._lock:
            if self._closed or self.pid != os.getpid():
                return
            self._closed = True
        declared, self._fresh_until = self._fresh_until > 0, 0.0
        thread, loop, reading = self._thread, self._loop, self._reading
        if thread is not None and loop is not None and reading is not None:
            try:
                loop.call_soon_threadsafe(reading.cancel)
            except RuntimeError:
                pass  # it has ended
            thread.join(PATIENCE)
        if declared:
            try:
                with self._links.link() as link:
                    link.delete(self.name)
            except (OperationalError, ChannelError) as exc:
                logger.debug("the queue %s is left to expire: %s", self.name, exc)
