"""The result store that keeps nothing: results are sent to whoever has sent the task.

A message says in ``reply_to`` to which queue its result goes, and the result's
``correlation_id`` is the task's id, as in Celery's ``rpc://``: both read each other's.
Each process has a queue of its own; only it can read the results of what it has sent.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from taskq.backends.base import Outcome
from taskq.backends.documents import pack_outcome
from taskq.backends.polling import Endurance, PollingBackend, only_ready
from taskq.backends.rpc.replies import Replies
from taskq.exceptions import ImproperlyConfigured, OperationalError
from taskq.serialization import decompress_result
from taskq.stores.amqp.links import ChannelError
from taskq.stores.amqp.parcels import Parcel
from taskq.stores.amqp.pool import Links

if TYPE_CHECKING:
    from taskq.stores.amqp.address import Address
    from taskq.stores.amqp.links import Inbox, Link

POLLS = (1.0, 1.0)
"""Seconds between looks whether RabbitMQ has been away for too long."""


class RpcBackend(PollingBackend):
    """Sends results by RabbitMQ, and reads those of this process.

    Args:
        address: where RabbitMQ is.
        make_link: makes a blocking connection.
        make_inbox: makes a connection that consumes.
        expires: seconds that a result is kept for its reader; 0 is for ever.
        limit: results that a process keeps at most.
        persistent: results survive a restart of RabbitMQ.
        content: type and encoding of result documents.
    """

    addressed = True
    remembers = False
    polls = POLLS

    def __init__(
        self,
        address: Address,
        make_link: Callable[[Address], Link],
        make_inbox: Callable[[Address], Inbox],
        *,
        expires: float = 86400.0,
        limit: int = 100_000,
        persistent: bool = False,
        content: tuple[str, str] = ("application/json", "utf-8"),
    ) -> None:
        super().__init__(expires)
        self._links = Links(lambda: make_link(address), address.links)
        self._make_inbox = lambda: make_inbox(address)
        self._limit = limit
        self._mode = 2 if persistent else 1
        self._content_type, self._content_encoding = content
        self._lock, self._pid = threading.Lock(), os.getpid()
        self._mine: Replies | None = None

    # What is sent here

    def _replies(self) -> Replies:
        """This process's own."""
        if self._pid != os.getpid():  # the parent's thread is not here, and its queue is not ours
            self._lock, self._mine, self._pid = threading.Lock(), None, os.getpid()
        mine = self._mine
        if mine is None:
            with self._lock:
                mine = self._mine
                if mine is None:
                    mine = self._mine = Replies(
                        self._links, self._make_inbox, self.expires, self._limit, self.bell.ring
                    )
                    # Whoever ends without closing the store leaves no queue behind.
                    weakref.finalize(self, mine.close)
        return mine

    @property
    def reply_to(self) -> str:
        return self._replies().name

    def expect(self) -> None:
        mine = self._replies()
        if not mine.fresh:
            mine.declare()

    async def aexpect(self) -> None:
        if not self._replies().fresh:
            await super().aexpect()

    # Storing

    def store(self, outcomes: Sequence[Outcome]) -> None:
        """Send outcomes to those who want them; who has gone, or asked for none, gets none."""
        parcels = [self._parcel(outcome) for outcome in outcomes if outcome.reply_to]
        if not parcels:
            return
        try:
            self._send(parcels)
        except OperationalError:
            # The connection may have been lost long ago.  What is sent twice counts once.
            self._send(parcels)

    def _send(self, parcels: Sequence[Parcel]) -> None:
        try:
            with self._links.link() as link:
                refusals = link.publish(parcels)
        except ChannelError as exc:
            raise OperationalError(f"RabbitMQ refuses results: {exc.text}") from exc
        for refusal in refusals:
            if not refusal.unroutable:
                raise OperationalError(f"RabbitMQ refuses a result: {refusal.text}")

    def _parcel(self, outcome: Outcome) -> Parcel:
        # Celery compresses no results that it sends.
        plain = Outcome(outcome.task_id, outcome.state, decompress_result(outcome.payload))
        return Parcel(
            pack_outcome(plain),
            {},
            "",
            outcome.reply_to or "",
            self._content_type,
            self._content_encoding,
            correlation_id=outcome.task_id,
            message_id=outcome.task_id,
            delivery_mode=self._mode,
        )

    # Reading

    def fetch(self, task_ids: Sequence[str]) -> dict[str, Outcome]:
        mine = self._replies()
        found = mine.kept.find(task_ids)
        if len(only_ready(found)) < len(set(task_ids)):
            mine.catch_up()
            found = mine.kept.find(task_ids)
        return found

    def _ready(self, task_ids: Sequence[str]) -> dict[str, Outcome]:
        """Those that are here; whoever waits is told when more come."""
        mine = self._replies()
        mine.start()
        ready = only_ready(mine.kept.find(task_ids))
        if not ready and mine.away is not None:
            raise OperationalError(f"results cannot be read: {mine.away}")
        return ready

    async def _abear(self, away: Endurance, task_ids: Sequence[str]) -> dict[str, Outcome]:
        return self._bear(away, task_ids)  # which looks into this process's memory alone

    def wait(self, task_ids: Sequence[str], timeout: float | None) -> dict[str, Outcome]:
        ready = super().wait(task_ids, timeout) if timeout != 0 else {}
        return ready or only_ready(self.fetch(task_ids))

    async def await_(self, task_ids: Sequence[str], timeout: float | None) -> dict[str, Outcome]:
        ready = await super().await_(task_ids, timeout) if timeout != 0 else {}
        return ready or only_ready(await self.afetch(task_ids))

    def forget(self, task_ids: Sequence[str]) -> None:
        mine = self._replies()
        if len(mine.kept.find(task_ids)) < len(set(task_ids)):
            mine.catch_up()  # what is on its way is meant as well
        mine.kept.forget(task_ids)

    def save_group(self, group: str, payload: bytes) -> None:
        raise ImproperlyConfigured(
            "result_backend='rpc://' keeps nothing, and so no groups either: save groups with a "
            "store that does, such as redis://"
        )

    def cleanup(self) -> int:
        return self._replies().kept.expire()

    def close(self) -> None:
        if self._pid == os.getpid() and self._mine is not None:
            mine, self._mine = self._mine, None
            mine.close()
        self._links.close()
