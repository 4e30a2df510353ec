"""Telling everybody through a file: a small table, and datagrams that spare a poll.

The table is bounded: whoever tells deletes what is old, and what is too much.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from taskq.brokers.notices import MAX_UNREAD, AsyncSubscription, Channel, Notice, Subscription
from taskq.exceptions import OperationalError
from taskq.stores.sqlite import Database
from taskq.stores.wakeups import FIRST_POLL, LAST_POLL, Listener

if TYPE_CHECKING:
    import sqlite3

LIFETIME = 10.0
"""Seconds that a notice is kept; ten times as long as the longest pause between two looks."""
_AT_ONCE = 256

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Notice).decode


def tell(database: Database, notices: Sequence[Notice]) -> None:
    """Write notices down, and wake those who listen."""
    if not notices:
        return
    now = time.time()
    rows = [(notice.channel.name, now, _encode(notice)) for notice in notices]
    with database.write() as connection:
        connection.executemany("INSERT INTO notices (channel, told, notice) VALUES (?, ?, ?)", rows)
        _forget_old(connection, now)
    for channel in {notice.channel for notice in notices}:
        database.wakeups.send(_topic(channel))


def _forget_old(connection: sqlite3.Connection, now: float) -> None:
    """Bound the table; more is deleted than one call can add, so that it shrinks."""
    connection.execute(
        "DELETE FROM notices WHERE seq <= (SELECT max(seq) FROM notices) - ?", (MAX_UNREAD,)
    )
    connection.execute(
        "DELETE FROM notices WHERE told <= ?"
        " AND seq IN (SELECT seq FROM notices ORDER BY seq LIMIT 1000)",
        (now - LIFETIME,),
    )


def _topic(channel: Channel) -> str:
    # A name may have signs that no file can have.
    return f"notices{zlib.crc32(channel.name.encode()):08x}"


class _Reader:
    """Reads what is new in the table.

    Args:
        database: the file.
        channel: where to listen.
        keys: which notices of it.
    """

    def __init__(self, database: Database, channel: Channel, keys: Sequence[str]) -> None:
        self._database = database
        self._channel = channel
        self._keys = tuple(keys)
        with database.read() as connection:
            self._last = _newest(connection)

    def listen(self) -> Listener:
        """Bind a socket that is woken when there is something to read."""
        try:
            return self._database.wakeups.listener(_topic(self._channel))
        except OSError as exc:
            raise OperationalError(f"cannot listen for wake-ups: {exc}") from exc

    def look(self) -> tuple[list[Notice], int]:
        """What is new, and how far that goes; tell `advance` when it is in good hands."""
        last = self._last
        with self._database.read() as connection:
            while True:
                rows = connection.execute(
                    "SELECT seq, notice FROM notices WHERE seq > ? AND channel = ?"
                    " ORDER BY seq LIMIT ?",
                    (last, self._channel.name, _AT_ONCE),
                ).fetchall()
                if not rows:
                    # Lower than before when another file has taken the place of the first.
                    return [], min(last, _newest(connection))
                last = rows[-1][0]
                notices = [_decode(blob) for _, blob in rows]
                heard = [n for n in notices if self._channel.reaches(self._keys, n.key)]
                if heard:
                    return heard, last

    def advance(self, last: int) -> None:
        """All up to here has been read."""
        self._last = last


def _newest(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'notices'").fetchone()
    return int(row[0]) if row else 0


class SqliteSubscription(Subscription):
    """Listens to what is told in a file.

    Args:
        database: the file.
        channel: where to listen.
        keys: which notices of it.
    """

    def __init__(self, database: Database, channel: Channel, keys: Sequence[str]) -> None:
        self._reader = _Reader(database, channel, keys)
        self._listener = self._reader.listen()

    def receive(self, timeout: float | None = None) -> list[Notice]:
        deadline = None if timeout is None else time.monotonic() + timeout
        poll = FIRST_POLL
        while True:
            notices, last = self._reader.look()
            self._reader.advance(last)
            left = poll if deadline is None else deadline - time.monotonic()
            if notices or left <= 0:
                return notices
            self._listener.wait(min(poll, left))
            poll = min(poll * 2, LAST_POLL)

    def close(self) -> None:
        self._listener.close()


class AsyncSqliteSubscription(AsyncSubscription):
    """`SqliteSubscription` on an event loop, which never waits for the file.

    Args:
        database: the file.
        channel: where to listen.
        keys: which notices of it.
    """

    def __init__(self, database: Database, channel: Channel, keys: Sequence[str]) -> None:
        # asyncio is imported by those who use it: it doubles the time to import taskq.
        import asyncio

        self._asyncio = asyncio
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._closed = False
        self._reader = _Reader(database, channel, keys)
        self._listener = self._reader.listen()
        self._loop.add_reader(self._listener.fileno(), self._wake)

    def _wake(self) -> None:
        self._listener.drain()
        self._woken.set()

    async def receive(self) -> list[Notice]:
        poll = FIRST_POLL
        while True:
            self._woken.clear()
            notices, last = await self._asyncio.to_thread(self._reader.look)
            self._reader.advance(last)
            if notices:
                return notices
            timer = self._loop.call_later(poll, self._woken.set)
            try:
                await self._woken.wait()
            finally:
                timer.cancel()
            poll = min(poll * 2, LAST_POLL)

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._listener.fileno())
            self._listener.close()
