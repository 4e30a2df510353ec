"""The queues of one consumer that one script reaches: all, but on a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING, Any

from taskq.brokers.base import Delivery
from taskq.brokers.redis.scripts import FETCH, TOP
from taskq.exceptions import OperationalError
from taskq.message import TaskMessage
from taskq.stores.redis.aio import LINK_ERRORS, LoopLink
from taskq.stores.redis.calls import command
from taskq.stores.redis.errors import code_of, explain
from taskq.stores.redis.keys import FREE, GROUP, QueueKeys

if TYPE_CHECKING:
    from taskq.stores.redis.aio import LoopClient

UNREAD = TaskMessage({}, b"")
"""Stands for the message of a delivery that has not been decoded yet."""
_SLACK = 5.0
"""Seconds past its end after which a blocking read that says nothing is given up."""
_UNBLOCK_AGAIN = 0.001


class Lane:
    """Fetches from the queues of one slot, and blocks on them.

    Args:
        client: of the event loop.
        queues: the keys of the queues.
        me: the consumer.
        passing: names of queues that go with their consumer; those have one stream.

    Attributes:
        missing: the last fetch found that the server does not know a queue any more.
        due: when a delayed message is due, by the event loop's clock.
    """

    def __init__(
        self, client: LoopClient, queues: Sequence[QueueKeys], me: str, passing: Container[str]
    ) -> None:
        self._client = client
        self.queues = list(queues)
        self._me = me
        self._keys = [key for queue in queues for key in queue.fetched]
        self._paused: set[int] = set()
        # Most urgent first, and all queues alike within a priority.
        self._streams = [
            (index, queue.streams[priority])
            for priority in range(9, -1, -1)
            for index, queue in enumerate(queues)
            if not (priority and queue.name in passing)
        ]
        self._places = {
            stream.encode(): (queue.name, priority)
            for queue in queues
            for priority, stream in enumerate(queue.streams)
        }
        self._link: LoopLink | None = None
        self._id = 0
        self._reading: asyncio.TimerHandle | None = None
        self.missing = False
        self.due = float("inf")

    async def fetch(self, limit: int, least: int) -> list[Delivery]:
        """Take what is there, the most urgent first.

        Args:
            limit: how many at most.
            least: the least priority to take.
        """
        reply = await self._client.call(FETCH.call(self._keys, GROUP, self._me, limit, least, FREE))
        paused, due, missing, flat = reply
        self._paused = set(map(int, paused.split(b","))) if paused else set()
        loop = asyncio.get_running_loop()
        self.due = loop.time() + int(due) / 1000 if due else float("inf")
        self.missing = bool(missing)
        names = [queue.name for queue in self.queues]
        places, entries, counts, crashes, messages = (flat[at::5] for at in range(5))
        return [
            Delivery(
                UNREAD, packed, names[place // 10], (place % 10, entry.decode()), count, crashed
            )
            for place, entry, count, crashed, packed in zip(
                places, entries, counts, crashes, messages, strict=True
            )
        ]

    async def top(self) -> int:
        """The priority of the most urgent message; -1 if there is none."""
        (priority,) = await self._client.calls(TOP.call(self._keys, GROUP, FREE))
        return int(priority)

    # The blocking read

    async def begin_read(self, timeout: float, heard: Callable[[], None]) -> bool:
        """Begin to wait for new messages; `end_read` says what came.

        Args:
            timeout: seconds to wait.
            heard: called when the read has ended.

        Returns:
            Whether there is a read: there is none if all queues are paused.
        """
        streams = [stream for index, stream in self._streams if index not in self._paused]
        if not streams:
            return False
        if self._link is None:
            self._link = await self._client.open(self._keys[0])
            self._client.keep(self._link)
            (self._id,) = await self._talk([("CLIENT", "ID")])
        words = (
            *("XREADGROUP", "GROUP", GROUP, self._me, "COUNT", 1),
            *("BLOCK", int(timeout * 1000), "STREAMS", *streams, *">" * len(streams)),
        )
        link = self._link
        link.on_heard(heard)
        try:
            link.send([words])
        except LINK_ERRORS as exc:
            raise await self._lost(exc) from exc
        loop = asyncio.get_running_loop()
        self._reading = loop.call_later(timeout + _SLACK, self._give_up, link)
        return True

    def _give_up(self, link: LoopLink) -> None:
        """The server says nothing though it should: what reads is told by the end of the link."""
        self._giving_up = asyncio.ensure_future(link.close())

    @property
    def is_reading(self) -> bool:
        """Is there a read whose end has not been asked for?"""
        return self._reading is not None

    @property
    def has_read(self) -> bool:
        """Has the read ended?"""
        return self._reading is not None and (self._link is None or self._link.can_read)

    async def end_read(self) -> list[Delivery]:
        """End the blocking read, with what it has got."""
        while not self.has_read:
            # Once more if it comes before the read has begun to block.
            try:
                await self._client.calls(command(self._keys[0], "CLIENT", "UNBLOCK", self._id))
            except OperationalError:
                # What has ended that connection has ended this one too.
                await self.close()
            else:
                if self._link is not None:
                    await self._link.readable(_UNBLOCK_AGAIN)
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
        try:
            if self._link is None:
                raise TimeoutError("the blocking read was given up")
            reply = await self._link.read()  # it is there: nothing is waited for
        except LINK_ERRORS as exc:
            raise await self._lost(exc) from exc
        if isinstance(reply, Exception):
            code = code_of(reply)
            if code == "UNBLOCKED":
                await self.close()  # it has become a replica, and hangs up behind that
            if code in ("NOGROUP", "UNBLOCKED"):
                return []  # the next fetch sees what has happened
            raise explain(reply, self._client.address.shown)
        return self._deliveries(reply)

    def _deliveries(self, reply: Any) -> list[Delivery]:
        found = []
        for stream, entries in reply or ():
            queue, priority = self._places[stream]
            for entry, fields in entries:
                before, crashes = _counts(fields) if len(fields) > 2 else (0, 0)
                tag = (priority, entry.decode())
                found.append(Delivery(UNREAD, fields[1], queue, tag, 1 + before, crashes))
        return found

    async def _talk(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        assert self._link is not None
        try:
            return await self._link.talk(commands)
        except LINK_ERRORS as exc:
            raise await self._lost(exc) from exc

    async def _lost(self, exc: BaseException) -> Exception:
        """The connection is of no more use; the error to raise for it."""
        await self.close()
        self._client.topology.forget()
        assert isinstance(exc, Exception)
        return explain(exc, self._client.address.shown)

    async def close(self) -> None:
        """Hang up."""
        link, self._link = self._link, None
        if link is not None:
            self._client.let_go(link)
            await link.close()


def _counts(fields: list[bytes]) -> tuple[int, int]:
    """After a delay: how often it had been delivered, and its crashes."""
    try:
        return int(fields[3]), int(fields[5])
    except (ValueError, IndexError):
        return 0, 0  # no producer of ours has written that
