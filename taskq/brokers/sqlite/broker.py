"""The producer's side of the SQLite broker, and what the commands ask of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from taskq.backends.sqlite import SqliteBackend
from taskq.brokers.base import Broker, Consumer, DeadLetter, QueueDepth
from taskq.exceptions import DecodeError, QueueNotFound
from taskq.message import TaskMessage, pack, unpack
from taskq.routing import matching_queues
from taskq.stores.sqlite import DELAYED, READY, Database

if TYPE_CHECKING:
    import sqlite3

    from taskq.backends.base import Backend
    from taskq.routing import Queue

ONCE_WINDOW = 3600.0
"""Seconds for which a message with a `TaskMessage.once` key is recognised."""
_ROWS = 100
"""Rows a statement: enough to make the statement's own cost vanish, few enough to cache."""


class SqliteBroker(Broker):
    """The broker of ``sqlite:///path``, for any number of processes on one machine.

    Args:
        url: the file, see `taskq.stores.sqlite.Database`.
        timeout: seconds to wait for another process's transaction.
    """

    def __init__(self, url: str, timeout: float = 4.0) -> None:
        self.database = Database(url, timeout)

    def publish(self, messages: Sequence[TaskMessage]) -> None:
        with self.database.write() as connection:
            insert(connection, messages)
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
                " UNION SELECT queue FROM dead_letters ORDER BY 1"
            ).fetchall()
        return [name for (name,) in rows]

    def depth(self, queue: str) -> QueueDepth:
        with self.database.read() as connection:
            counts = dict(
                connection.execute(
                    "SELECT 0, count(*) FROM messages WHERE state = 0 AND queue = ?1"
                    " UNION ALL SELECT state, count(*) FROM messages"
                    " WHERE state > 0 AND queue = ?1 GROUP BY state"
                    " UNION ALL SELECT 3, count(*) FROM dead_letters WHERE queue = ?1",
                    (queue,),
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
                " ORDER BY state, priority DESC, until, seq LIMIT ?",
                (queue, READY, DELAYED, limit),
            ).fetchall()
        return [message for (blob,) in rows if (message := _try_unpack(blob)) is not None]

    def dead_letters(self, queue: str | None = None, limit: int = 100) -> list[DeadLetter]:
        with self.database.read() as connection:
            rows = connection.execute(
                "SELECT id, queue, reason, died, deliveries, crashes, message FROM dead_letters"
                " WHERE ?1 IS NULL OR queue = ?1 ORDER BY id DESC LIMIT ?2",
                (queue, limit),
            ).fetchall()
        return [DeadLetter(str(row[0]), *row[1:6], _try_unpack(row[6]), row[6]) for row in rows]

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

    def consumer(self, queues: Sequence[Queue], *, lease: float, backend: Backend) -> Consumer:
        # Imported here because it needs asyncio, which producers need not load.
        from taskq.brokers.sqlite.consumer import SqliteConsumer

        shared = backend if isinstance(backend, SqliteBackend) else None
        return SqliteConsumer(self.database, queues, lease, shared)

    def settles_into(self, backend: Backend) -> bool:
        return isinstance(backend, SqliteBackend) and backend.database.path == self.database.path

    def close(self) -> None:
        self.database.close()


def insert(connection: sqlite3.Connection, messages: Sequence[TaskMessage]) -> None:
    """Add messages to a transaction, each to every queue that it is routed to.

    Raises:
        QueueNotFound: nothing is bound to the exchange of one of them.
    """
    now = time.time()
    values: list[object] = []
    for message in messages:
        if message.once is not None and not _first_time(connection, message.once, now):
            continue
        due = message.due or 0.0
        state = DELAYED if due > now else READY
        packed = pack(message)
        for queue in _destinations(connection, message, now):
            values += queue, message.priority, state, due, packed
    step = 5 * _ROWS
    for start in range(0, len(values), step):
        rows = values[start : start + step]
        connection.execute(
            "INSERT INTO messages (queue, priority, state, until, message) VALUES "
            + ",".join(["(?,?,?,?,?)"] * (len(rows) // 5)),
            rows,
        )


def _first_time(connection: sqlite3.Connection, step: str, now: float) -> bool:
    return bool(
        connection.execute(
            "INSERT OR IGNORE INTO sent_steps (step, expires) VALUES (?, ?)",
            (step, now + ONCE_WINDOW),
        ).rowcount
    )


def _destinations(
    connection: sqlite3.Connection, message: TaskMessage, now: float
) -> Sequence[str]:
    if not message.exchange:
        return (message.routing_key,)
    rows = connection.execute(
        "SELECT b.type, b.routing_key, b.queue FROM bindings b JOIN queues q ON q.name = b.queue"
        " WHERE b.exchange = ? AND (q.expires IS NULL OR q.expires > ?) ORDER BY b.queue",
        (message.exchange, now),
    ).fetchall()
    found = matching_queues(rows, message.routing_key)
    if not found:
        raise QueueNotFound(
            f"no queue is bound to exchange {message.exchange!r} for routing key "
            f"{message.routing_key!r}: declare one in task_queues, or start its worker first"
        )
    return found


def _try_unpack(packed: bytes) -> TaskMessage | None:
    try:
        return unpack(packed)
    except DecodeError:
        return None
