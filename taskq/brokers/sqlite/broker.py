"""The producer's side of the SQLite broker, and what the commands ask of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from taskq.backends.sqlite import SqliteBackend
from taskq.brokers.base import Broker, Consumer, DeadLetter, QueueDepth
from taskq.brokers.notices import AsyncSubscription, Channel, Notice, Subscription
from taskq.brokers.sqlite.enqueue import enqueue
from taskq.brokers.sqlite.subscriptions import (
    AsyncSqliteSubscription,
    SqliteSubscription,
    tell,
)
from taskq.exceptions import DecodeError
from taskq.message import TaskMessage, unpack
from taskq.stores.sqlite import DELAYED, READY, Database

if TYPE_CHECKING:
    from taskq.backends.base import Backend
    from taskq.routing import Queue


class SqliteBroker(Broker):
    """The broker of ``sqlite:///path``, for any number of processes on one machine.

    Args:
        url: the file, see `taskq.stores.sqlite.Database`.
        timeout: seconds to wait for another process's transaction.
        options: more options of the file.
    """

    def __init__(
        self, url: str, timeout: float = 4.0, options: Mapping[str, Any] | None = None
    ) -> None:
        self.database = Database(url, timeout, options)

    def publish(self, messages: Sequence[TaskMessage]) -> None:
        with self.database.write() as connection:
            enqueue(connection, messages)
        self.database.wakeups.send("messages")

    def declare(self, queues: Iterable[Queue]) -> None:
        with self.database.write() as connection:
            for queue in queues:
                expires = time.time() + (queue.expires or 60.0) if queue.auto_delete else None
                connection.execute(
                    "INSERT INTO queues (name, expires) VALUES (?, ?)"
                    " ON CONFLICT (name) DO UPDATE SET expires = excluded.expires",
                    (queue.name, expires),
                )
                connection.executemany(
                    "INSERT OR REPLACE INTO bindings (exchange, type, routing_key, queue)"
                    " VALUES (?, ?, ?, ?)",
                    [
                        (bound.exchange.name, bound.exchange.type, bound.routing_key, queue.name)
                        for bound in queue.all_bindings()
                    ],
                )

    def queues(self) -> list[str]:
        with self.database.read() as connection:
            rows = connection.execute(
                "SELECT name FROM queues UNION SELECT queue FROM messages"
                " UNION SELECT queue FROM dead_letters UNION SELECT queue FROM paused ORDER BY 1"
            ).fetchall()
        return [name for (name,) in rows]

    def depth(self, queue: str) -> QueueDepth:
        with self.database.read() as connection:
            counts = dict(
                connection.execute(
                    "SELECT 0, count(*) FROM messages WHERE state = 0 AND queue = ?"
                    " UNION ALL SELECT state, count(*) FROM messages"
                    " WHERE state > 0 AND queue = ? GROUP BY state"
                    " UNION ALL SELECT 3, count(*) FROM dead_letters WHERE queue = ?",
                    (queue,) * 3,
                ).fetchall()
            )
        return QueueDepth(
            ready=counts.get(0, 0),
            delayed=counts.get(1, 0),
            leased=counts.get(2, 0),
            dead=counts.get(3, 0),
        )

    def purge(self, queue: str) -> int:
        with self.database.write() as connection:
            return connection.execute(
                "DELETE FROM messages WHERE queue = ? AND state IN (?, ?)", (queue, READY, DELAYED)
            ).rowcount

    def browse(self, queue: str, limit: int) -> list[TaskMessage]:
        with self.database.read() as connection:
            rows = connection.execute(
                "SELECT message FROM messages WHERE queue = ? AND state IN (?, ?)"
                " ORDER BY state, CASE state WHEN 0 THEN -priority ELSE until END, seq LIMIT ?",
                (queue, READY, DELAYED, limit),
            ).fetchall()
        return [message for (blob,) in rows if (message := _try_unpack(blob)) is not None]

    def scheduled(self, queue: str, limit: int) -> list[TaskMessage]:
        with self.database.read() as connection:
            rows = connection.execute(
                "SELECT message FROM messages WHERE queue = ? AND state = 1 AND state > 0"
                " ORDER BY until LIMIT ?",
                (queue, limit),
            ).fetchall()
        return [message for (blob,) in rows if (message := _try_unpack(blob)) is not None]

    def hasten(self, queue: str) -> None:
        with self.database.write() as connection:
            connection.execute(
                "UPDATE messages SET state = ?, until = 0 WHERE queue = ? AND state = ?",
                (READY, queue, DELAYED),
            )
        self.database.wakeups.send("messages")

    def dead_letters(self, queue: str | None = None, limit: int = 100) -> list[DeadLetter]:
        with self.database.read() as connection:
            rows = connection.execute(
                "SELECT id, queue, reason, died, deliveries, crashes, message FROM dead_letters"
                " WHERE ? IS NULL OR queue = ? ORDER BY id DESC LIMIT ?",
                (queue, queue, limit),
            ).fetchall()
        return [
            DeadLetter(str(key), name, reason, died, count, crashes, _try_unpack(packed), packed)
            for key, name, reason, died, count, crashes, packed in rows
        ]

    def retry_dead(self, ids: Sequence[str]) -> int:
        found = 0
        with self.database.write() as connection:
            for key in ids:
                found += connection.execute(
                    "INSERT INTO messages (queue, priority, state, message)"
                    " SELECT queue, priority, ?, message FROM dead_letters WHERE id = ?",
                    (READY, key),
                ).rowcount
                connection.execute("DELETE FROM dead_letters WHERE id = ?", (key,))
        self.database.wakeups.send("messages")
        return found

    def purge_dead(self, ids: Sequence[str] | None = None) -> int:
        with self.database.write() as connection:
            if ids is None:
                return connection.execute("DELETE FROM dead_letters").rowcount
            return connection.executemany(
                "DELETE FROM dead_letters WHERE id = ?", [(key,) for key in ids]
            ).rowcount

    def revoke(self, task_ids: Sequence[str], expires: float, signal: str = "") -> None:
        now = time.time()
        with self.database.write() as connection:
            connection.execute("DELETE FROM revoked WHERE expires <= ?", (now,))
            connection.executemany(
                "INSERT OR REPLACE INTO revoked (task_id, expires, signal) VALUES (?, ?, ?)",
                [(task_id, now + expires, signal) for task_id in task_ids],
            )
        self.database.wakeups.send("revoked")

    def pause(self, queue: str) -> None:
        with self.database.write() as connection:
            connection.execute("INSERT OR IGNORE INTO paused (queue) VALUES (?)", (queue,))

    def resume(self, queue: str) -> None:
        with self.database.write() as connection:
            connection.execute("DELETE FROM paused WHERE queue = ?", (queue,))
        self.database.wakeups.send("messages")

    def paused(self) -> list[str]:
        with self.database.read() as connection:
            rows = connection.execute("SELECT queue FROM paused ORDER BY queue").fetchall()
        return [name for (name,) in rows]

    def broadcast(self, notices: Sequence[Notice]) -> None:
        tell(self.database, notices)

    def subscribe(
        self, channel: Channel, keys: Sequence[str] = ("#",), *, name: str = ""
    ) -> Subscription:
        return SqliteSubscription(self.database, channel, keys)

    async def asubscribe(
        self, channel: Channel, keys: Sequence[str] = ("#",), *, name: str = ""
    ) -> AsyncSubscription:
        return AsyncSqliteSubscription(self.database, channel, keys)

    def consumer(self, queues: Sequence[Queue], *, lease: float, backend: Backend) -> Consumer:
        # Imported here because it needs asyncio, which producers need not load.
        from taskq.brokers.sqlite.consumer import SqliteConsumer

        shared = backend if isinstance(backend, SqliteBackend) else None
        return SqliteConsumer(self.database, queues, lease, shared)

    def settles_into(self, backend: Backend) -> bool:
        return isinstance(backend, SqliteBackend) and backend.database.path == self.database.path

    def close(self) -> None:
        self.database.close()


def _try_unpack(packed: bytes) -> TaskMessage | None:
    try:
        return unpack(packed)
    except DecodeError:
        return None
