"""The worker's side of the SQLite broker: claim, extend, settle.

SQLite only exists as blocking code, so that one thread of the consumer's own does all
of its work, one short transaction after the other; the event loop never waits for a
lock or a disk.  Waiting for messages holds neither the thread nor a transaction.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from taskq.brokers.base import REVOKED_POLL, Consumer, Delivery, Fate, Settlement
from taskq.brokers.sqlite.enqueue import enqueue
from taskq.exceptions import DecodeError, OperationalError
from taskq.message import unpack
from taskq.stores.sqlite import DELAYED, LEASED, READY, Database
from taskq.stores.wakeups import FIRST_POLL, LAST_POLL, Listener

if TYPE_CHECKING:
    import sqlite3

    from taskq.backends.sqlite import SqliteBackend
    from taskq.routing import Queue

P = ParamSpec("P")
T = TypeVar("T")


class SqliteConsumer(Consumer):
    """Consumes queues of one file.

    Args:
        database: the broker's file.
        queues: what to consume.
        lease: seconds that a delivery is ours without being extended.
        backend: the store in the same file, whose outcomes `settle` writes itself.
    """

    def __init__(
        self,
        database: Database,
        queues: Sequence[Queue],
        lease: float,
        backend: SqliteBackend | None,
    ) -> None:
        self._database = database
        self._use(queues)
        self._lease = lease
        self._backend = backend
        self._owner = secrets.randbits(62)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="taskq-sqlite")
        self._hints = 0
        self._woken = asyncio.Event()
        self._listener: Listener | None = None
        self._revoked: Listener | None = None
        self._loop = asyncio.get_running_loop()

    async def receive(self, limit: int) -> list[Delivery]:
        self._listen()
        poll = FIRST_POLL
        while True:
            self._woken.clear()
            deliveries, next_event = await self._run(self._claim, limit)
            if deliveries:
                return deliveries
            hints = self._hints
            pause = min(poll, max(next_event - time.time(), 0.0005))
            timer = self._loop.call_later(pause, self._woken.set)
            try:
                await self._woken.wait()
            finally:
                timer.cancel()
            poll = FIRST_POLL if self._hints > hints else min(poll * 2, LAST_POLL)

    def _use(self, queues: Sequence[Queue]) -> None:
        """Consume these from now on; on the consumer's thread, once it has one."""
        self._names = [queue.name for queue in queues]
        self._temporary = [queue.name for queue in queues if queue.auto_delete]
        self._claim_sql = _claim_sql(len(self._names))
        self._housekeeping = self._next_look = 0.0

    async def change_queues(self, queues: Sequence[Queue]) -> None:
        await self._run(self._change, queues)
        self._woken.set()

    def _change(self, queues: Sequence[Queue]) -> None:
        gone = set(self._temporary).difference(queue.name for queue in queues)
        if gone:
            with self._database.write() as connection:
                for name in gone:
                    _drop_queue(connection, name)
        self._use(queues)

    def _listen(self) -> None:
        if self._listener is None:
            try:
                self._listener = self._database.wakeups.listener("messages")
            except OSError as exc:
                raise OperationalError(f"cannot listen for wake-ups: {exc}") from exc
            self._loop.add_reader(self._listener.fileno(), self._wake)

    def _wake(self) -> None:
        assert self._listener is not None
        self._listener.drain()
        self._hints += 1
        self._woken.set()

    async def _run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._loop.run_in_executor(self._thread, lambda: function(*args, **kwargs))

    def _claim(self, limit: int) -> tuple[list[Delivery], float]:
        """Lease up to `limit` messages; else tell when something may change by itself."""
        now = time.time()
        if now >= self._housekeeping:
            self._keep_house(now)
        if not self._names:
            return [], now + LAST_POLL
        if now >= self._next_look:
            waiting, next_event = self._look(now)
            if not waiting:
                return [], next_event
        with self._database.write() as connection:
            rows = connection.execute(
                self._claim_sql,
                (
                    now + self._lease,
                    self._owner,
                    *(word for name in self._names for word in (name, name, limit)),
                    limit,
                ),
            ).fetchall()
        if not rows:
            # From now on look first: what is idle must not lock others out.
            self._next_look = 0.0
            return [], self._look(now)[1]
        rows.sort()
        deliveries: list[Delivery] = []
        for _, seq, queue, count, crashes, packed in rows:
            try:
                message = unpack(packed)
            except DecodeError as exc:
                self._bury_unreadable(seq, queue, count, crashes, packed, str(exc))
            else:
                deliveries.append(Delivery(message, packed, queue, seq, count, crashes))
        return deliveries, now

    def _look(self, now: float) -> tuple[bool, float]:
        """Is anything ready?  Reads only, so that idle workers do not lock each other out."""
        with self._database.read() as connection:
            due, lease_end = connection.execute(
                "SELECT (SELECT min(until) FROM messages WHERE state = 1 AND state > 0),"
                " (SELECT min(until) FROM messages WHERE state = 2 AND state > 0)"
            ).fetchone()
            next_event = min(due or now + LAST_POLL, lease_end or now + LAST_POLL)
            # While messages flow, it is enough to look now and then for what becomes due.
            self._next_look = min(next_event, now + FIRST_POLL)
            if next_event > now:
                (waiting,) = connection.execute(
                    f"WITH mine (name) AS (VALUES {','.join(['(?)'] * len(self._names))})"
                    " SELECT EXISTS (SELECT 1 FROM mine"
                    " WHERE name NOT IN (SELECT queue FROM paused)"
                    " AND EXISTS (SELECT 1 FROM messages WHERE state = 0 AND queue = name))",
                    self._names,
                ).fetchone()
                return bool(waiting), next_event
        with self._database.write() as connection:
            _make_ready(connection, now)
        return True, now

    def _bury_unreadable(
        self, seq: int, queue: str, deliveries: int, crashes: int, packed: bytes, reason: str
    ) -> None:
        with self._database.write() as connection:
            if _delete(connection, [seq]):
                _bury(connection, queue, 0, reason, deliveries, crashes, packed)

    def _keep_house(self, now: float) -> None:
        """A few times per lease: keep our temporary queues, delete what has expired."""
        self._housekeeping = now + self._lease / 3
        with self._database.write() as connection:
            self._keep_queues(connection, now)
            for (name,) in connection.execute(
                "SELECT name FROM queues WHERE expires <= ?", (now,)
            ).fetchall():
                _drop_queue(connection, name)
            connection.execute("DELETE FROM sent_steps WHERE expires <= ?", (now,))

    def _keep_queues(self, connection: sqlite3.Connection, now: float) -> None:
        connection.executemany(
            "UPDATE queues SET expires = ? WHERE name = ?",
            [(now + 2 * self._lease, name) for name in self._temporary],
        )

    async def settle(self, batch: Sequence[Settlement]) -> None:
        await self._run(self._settle, batch)

    def _settle(self, batch: Sequence[Settlement]) -> None:
        with self._database.write() as connection:
            winners = _winners(connection, batch)
            outcomes = [outcome for s in winners for outcome in s.outcomes()]
            if self._backend is not None:
                self._backend.write(connection, outcomes)
            enqueue(connection, [message for s in winners for message in s.follow_ups])
            self._add_parts(connection, winners)
            for s in winners:
                if s.fate is Fate.DEAD and not s.acknowledged:
                    d = s.delivery
                    crashes = d.crashes + s.crashed
                    rank = d.message.priority
                    _bury(connection, d.queue, rank, s.reason, d.deliveries, crashes, d.packed)
            now = time.time()
            for s in batch:
                if s.fate is Fate.REQUEUE:
                    self._requeue(connection, s, now)
        # Here, and not on the event loop: whoever waits is told one hop earlier.
        if outcomes and self._backend is not None:
            self._backend.notify(outcomes)
        if any(s.follow_ups or s.part or s.fate is Fate.REQUEUE for s in batch):
            self._database.wakeups.send("messages")

    def _add_parts(self, connection: sqlite3.Connection, winners: Sequence[Settlement]) -> None:
        """Count the members of chords, and send what follows those that are complete."""
        parts = [s.part for s in winners if s.part is not None]
        if parts and self._backend is not None:
            complete = self._backend.write_parts(connection, parts)
            enqueue(connection, [part.done for part in complete])

    def _requeue(self, connection: sqlite3.Connection, s: Settlement, now: float) -> None:
        """Give one message back, unless another worker has taken it over by now."""
        connection.execute(
            "UPDATE messages SET state = ?, until = ?, owner = 0, crashes = crashes + ?,"
            " deliveries = deliveries - ? WHERE seq = ? AND owner = ? AND state = ?",
            (
                DELAYED if s.delay else READY,
                now + s.delay if s.delay else 0.0,
                s.crashed,
                s.unused,
                s.delivery.tag,
                self._owner,
                LEASED,
            ),
        )

    async def extend(self, deliveries: Collection[Delivery]) -> list[Delivery]:
        return await self._run(self._extend, list(deliveries))

    def _extend(self, deliveries: list[Delivery]) -> list[Delivery]:
        until = time.time() + self._lease
        kept: set[int] = set()
        with self._database.write() as connection:
            self._keep_queues(connection, time.time())
            for start in range(0, len(deliveries), 500):
                tags = [d.tag for d in deliveries[start : start + 500]]
                rows = connection.execute(
                    "UPDATE messages SET until = ? WHERE owner = ? AND state = ? AND seq IN"
                    f" ({','.join('?' * len(tags))}) RETURNING seq",
                    (until, self._owner, LEASED, *tags),
                )
                kept.update(seq for (seq,) in rows.fetchall())
        return [delivery for delivery in deliveries if delivery.tag not in kept]

    async def revocations(self) -> dict[str, str]:
        if self._revoked is None:
            self._revoked = self._database.wakeups.listener("revoked")
            return await self._run(self._read_revoked)
        told = asyncio.Event()
        self._loop.add_reader(self._revoked.fileno(), told.set)
        try:
            # A datagram can be lost: look now and then.
            await asyncio.wait_for(told.wait(), REVOKED_POLL)
        except TimeoutError:
            pass
        finally:
            self._loop.remove_reader(self._revoked.fileno())
        self._revoked.drain()
        return await self._run(self._read_revoked)

    def _read_revoked(self) -> dict[str, str]:
        with self._database.read() as connection:
            return dict(
                connection.execute(
                    "SELECT task_id, signal FROM revoked WHERE expires > ?", (time.time(),)
                ).fetchall()
            )

    async def close(self) -> None:
        if self._revoked is not None:
            self._revoked.close()
            self._revoked = None
        if self._listener is not None:
            self._loop.remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None
        try:
            await self._run(self._give_back)
        finally:
            self._thread.shutdown()

    def _give_back(self) -> None:
        """Return what is leased and was not settled, and drop our temporary queues."""
        with self._database.write() as connection:
            returned = connection.execute(
                "UPDATE messages SET state = 0, until = 0, owner = 0, deliveries = deliveries - 1"
                " WHERE state = 2 AND state > 0 AND owner = ?",
                (self._owner,),
            ).rowcount
            for name in self._temporary:
                _drop_queue(connection, name)
        if returned:
            self._database.wakeups.send("messages")


def _claim_sql(queues: int) -> str:
    """The claim over several queues: the most urgent of each, then the most urgent of all.

    One range of the index a queue: an IN with ORDER BY would sort the whole backlog.  The
    parameters are the end of the lease, the owner, for each queue twice its name and how many,
    and how many of all.
    """
    one = (
        "SELECT * FROM (SELECT seq, priority FROM messages WHERE state = 0"
        " AND queue = ? AND NOT EXISTS (SELECT 1 FROM paused WHERE paused.queue = ?)"
        " ORDER BY priority DESC, seq LIMIT ?)"
    )
    union = " UNION ALL ".join([one] * queues)
    return (
        "UPDATE messages SET state = 2, until = ?, owner = ?, deliveries = deliveries + 1"
        f" WHERE seq IN (SELECT seq FROM ({union}) ORDER BY priority DESC, seq LIMIT ?)"
        " RETURNING -priority, seq, queue, deliveries, crashes, message"
    )


def _make_ready(connection: sqlite3.Connection, now: float) -> None:
    """Release delayed messages that are due, and leases that nobody extended.

    A thousand at a time, so that a crowd that is due at once never holds the lock for long.
    """
    connection.execute(
        "UPDATE messages SET state = 0, until = 0, owner = 0 WHERE seq IN (SELECT seq FROM messages"
        " WHERE state IN (1, 2) AND state > 0 AND until <= ? LIMIT 1000)",
        (now,),
    )


def _winners(connection: sqlite3.Connection, batch: Sequence[Settlement]) -> list[Settlement]:
    """Those that count: acknowledged before, or the first to end their message."""
    tags = [s.delivery.tag for s in batch if s.fate is not Fate.REQUEUE and not s.acknowledged]
    won = _delete(connection, tags)
    if len(won) == len(batch):
        return list(batch)
    winners = []
    for s in batch:
        if s.acknowledged:
            winners.append(s)
        elif s.fate is not Fate.REQUEUE and s.delivery.tag in won:
            won.discard(s.delivery.tag)
            winners.append(s)
    return winners


def _delete(connection: sqlite3.Connection, tags: list[int]) -> set[int]:
    """Delete messages; the answer holds those that were still there, and so are won."""
    won: set[int] = set()
    for start in range(0, len(tags), 100):
        part = tags[start : start + 100]
        rows = connection.execute(
            f"DELETE FROM messages WHERE seq IN ({','.join('?' * len(part))}) RETURNING seq", part
        )
        won.update(seq for (seq,) in rows.fetchall())
    return won


def _bury(
    connection: sqlite3.Connection,
    queue: str,
    priority: int,
    reason: str,
    deliveries: int,
    crashes: int,
    packed: bytes,
) -> None:
    connection.execute(
        "INSERT INTO dead_letters (queue, priority, reason, died, deliveries, crashes, message)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (queue, priority, reason, time.time(), deliveries, crashes, packed),
    )


def _drop_queue(connection: sqlite3.Connection, name: str) -> None:
    connection.execute("DELETE FROM bindings WHERE queue = ?", (name,))
    connection.execute("DELETE FROM messages WHERE queue = ?", (name,))
    connection.execute("DELETE FROM queues WHERE name = ?", (name,))
