"""Putting messages into the queues of an SQLite file, within somebody's transaction."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from taskq.exceptions import QueueNotFound
from taskq.message import TaskMessage, pack
from taskq.routing import matching_queues
from taskq.stores.sqlite import DELAYED, READY

if TYPE_CHECKING:
    import sqlite3

ONCE_WINDOW = 3600.0
"""Seconds for which a message with a `TaskMessage.once` key is recognised."""
_ROWS = 100
"""Rows a statement: enough to make the statement's own cost vanish, few enough to cache."""


def enqueue(connection: sqlite3.Connection, messages: Sequence[TaskMessage]) -> None:
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
