"""Results in an SQLite file; in the broker's own file they are settled with the message."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from taskq import states
from taskq.backends.base import Backend, ChordPart, ChordRecord, Outcome
from taskq.stores.sqlite import Database
from taskq.stores.wakeups import FIRST_POLL, LAST_POLL, Listener

if TYPE_CHECKING:
    import asyncio
    import sqlite3

    from taskq.backends.waiting import Waiters

# `taskq.backends.base.supersedes`, in SQL.
_READY = ",".join(f"'{state}'" for state in sorted(states.READY_STATES))
_SUPERSEDES = (
    f"(results.state NOT IN ({_READY})"
    f" OR (results.state <> '{states.SUCCESS}' AND excluded.state IN ({_READY})))"
)
_ROWS = 100
"""Rows a statement: enough to make the statement's own cost vanish, few enough to cache."""

_RECORD = -1
"""The place of what follows a chord; below it are the members that have joined later."""
_COUNT = (
    "SELECT coalesce(sum(CASE WHEN place >= 0 THEN 1 WHEN place < -1 THEN -1 ELSE 0 END), 0)"
    " FROM chord_parts WHERE group_id = ?"
)


class SqliteBackend(Backend):
    """The result store of ``sqlite:///path``.

    Args:
        url: the file, see `taskq.stores.sqlite.Database`.
        expires: seconds that an outcome is kept; 0 keeps it for ever.
        timeout: seconds to wait for another process's transaction.
    """

    def __init__(self, url: str, expires: float = 86400.0, timeout: float = 4.0) -> None:
        super().__init__(expires)
        self.database = Database(url, timeout)
        self._waiters: WeakKeyDictionary[asyncio.AbstractEventLoop, Waiters] = WeakKeyDictionary()

    def store(self, outcomes: Sequence[Outcome]) -> None:
        with self.database.write() as connection:
            self.write(connection, outcomes)
        self.notify(outcomes)

    def write(self, connection: sqlite3.Connection, outcomes: Sequence[Outcome]) -> None:
        """Add outcomes to a transaction that is somebody else's."""
        now = time.time()
        # Whole seconds, rounded up: never shorter than was asked for.
        expires = int(now + self.expires) + 1 if self.expires else 0
        for start in range(0, len(outcomes), _ROWS):
            rows = outcomes[start : start + _ROWS]
            values: list[object] = []
            for outcome in rows:
                values += outcome.task_id, outcome.state, expires, outcome.payload
            connection.execute(
                "INSERT INTO results (task_id, state, expires, payload) VALUES "
                + ",".join(["(?,?,?,?)"] * len(rows))
                + " ON CONFLICT (task_id) DO UPDATE SET state = excluded.state,"
                " expires = excluded.expires, payload = excluded.payload"
                f" WHERE {_SUPERSEDES} OR results.expires BETWEEN 1 AND ?",
                (*values, int(now)),
            )

    def notify(self, outcomes: Sequence[Outcome]) -> None:
        """Wake those who wait for these tasks; called when they are committed."""
        self.database.wakeups.send("results", "\n".join([o.task_id for o in outcomes]).encode())

    def fetch(self, task_ids: Sequence[str]) -> dict[str, Outcome]:
        found: dict[str, Outcome] = {}
        now = int(time.time())
        with self.database.read() as connection:
            for start in range(0, len(task_ids), _ROWS):
                ids = task_ids[start : start + _ROWS]
                rows = connection.execute(
                    "SELECT task_id, state, payload FROM results WHERE task_id IN "
                    f"({','.join('?' * len(ids))}) AND (expires = 0 OR expires > ?)",
                    (*ids, now),
                )
                found.update((row[0], Outcome(*row)) for row in rows.fetchall())
        return found

    def _ready(self, task_ids: Sequence[str]) -> dict[str, Outcome]:
        found = self.fetch(task_ids)
        return {key: o for key, o in found.items() if o.state in states.READY_STATES}

    def wait(self, task_ids: Sequence[str], timeout: float | None) -> dict[str, Outcome]:
        ready = self._ready(task_ids)
        if ready or timeout == 0:
            return ready
        deadline = None if timeout is None else time.monotonic() + timeout
        wanted = [task_id.encode() for task_id in task_ids]
        poll = FIRST_POLL
        with self.database.wakeups.listener("results") as listener:
            while True:
                # Look again only now: what came before the socket was bound sent no hint.
                ready = self._ready(task_ids)
                left = poll if deadline is None else deadline - time.monotonic()
                if ready or left <= 0:
                    return ready
                until = time.monotonic() + min(poll, left)
                while (pause := until - time.monotonic()) > 0:
                    if _concerns(listener.wait(pause), wanted):
                        break
                poll = min(poll * 2, LAST_POLL)

    async def await_(self, task_ids: Sequence[str], timeout: float | None) -> dict[str, Outcome]:
        # asyncio is imported by those who use it: it doubles the time to import taskq.
        import asyncio

        from taskq.backends.waiting import Waiters, hints

        loop = asyncio.get_running_loop()
        waiters = self._waiters.get(loop)
        if waiters is None:
            waiters = Waiters(self._look, lambda news: hints(self._listen, news))
            self._waiters[loop] = waiters
        return await waiters.wait(task_ids, timeout)

    async def _look(self, task_ids: Sequence[str]) -> dict[str, Outcome]:
        return self._ready(task_ids)  # quick enough for a loop

    def _listen(self) -> Listener:
        return self.database.wakeups.listener("results")

    def forget(self, task_ids: Sequence[str]) -> None:
        with self.database.write() as connection:
            connection.executemany(
                "DELETE FROM results WHERE task_id = ?", [(key,) for key in task_ids]
            )

    def add_parts(self, parts: Sequence[ChordPart]) -> list[ChordPart]:
        with self.database.write() as connection:
            return self.write_parts(connection, parts)

    def write_parts(
        self, connection: sqlite3.Connection, parts: Sequence[ChordPart]
    ) -> list[ChordPart]:
        """`add_parts` in a transaction that is somebody else's."""
        expires = int(time.time() + self.expires) + 1 if self.expires else 0
        connection.executemany(
            "INSERT OR IGNORE INTO chord_parts (group_id, place, expires, payload)"
            " VALUES (?, ?, ?, ?)",
            [(part.group, part.index, expires, part.payload) for part in parts],
        )
        counts = {
            group: connection.execute(_COUNT, (group,)).fetchone()[0]
            for group in {part.group for part in parts}
        }
        return [part for part in parts if counts[part.group] >= part.size]

    def chord_parts(self, group: str) -> dict[int, bytes]:
        with self.database.read() as connection:
            return dict(
                connection.execute(
                    "SELECT place, payload FROM chord_parts WHERE group_id = ? AND place >= 0",
                    (group,),
                ).fetchall()
            )

    def forget_parts(self, group: str) -> None:
        with self.database.write() as connection:
            connection.execute("DELETE FROM chord_parts WHERE group_id = ?", (group,))

    def forget_chord(self, group: str) -> None:
        self.forget_parts(group)

    def keep_chords(self, records: Sequence[ChordRecord]) -> None:
        expires = int(time.time() + self.chord_expires) + 1 if self.expires else 0
        with self.database.write() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO chord_parts (group_id, place, expires, payload)"
                " VALUES (?, ?, ?, ?)",
                [(record.group, _RECORD, expires, record.payload) for record in records],
            )

    def chord_record(self, group: str) -> bytes | None:
        with self.database.read() as connection:
            row = connection.execute(
                "SELECT payload FROM chord_parts WHERE group_id = ? AND place = ?",
                (group, _RECORD),
            ).fetchone()
        return row[0] if row is not None else None

    def open_chords(self, after: str, limit: int) -> list[ChordRecord]:
        with self.database.read() as connection:
            rows = connection.execute(
                "SELECT group_id, payload FROM chord_parts WHERE group_id > ? AND place = ?"
                " ORDER BY group_id LIMIT ?",
                (after, _RECORD, limit),
            ).fetchall()
            return [
                ChordRecord(group, payload, connection.execute(_COUNT, (group,)).fetchone()[0])
                for group, payload in rows
            ]

    def extend_chord(self, group: str, index: int) -> None:
        expires = int(time.time() + self.chord_expires) + 1 if self.expires else 0
        with self.database.write() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO chord_parts (group_id, place, expires, payload)"
                " VALUES (?, ?, ?, x'')",
                (group, _RECORD - 1 - index, expires),
            )

    def cleanup(self) -> int:
        with self.database.write() as connection:
            # A chord's parts live as long as the newest of them.
            now = int(time.time())
            connection.execute(
                "DELETE FROM chord_parts WHERE expires > 0 AND expires <= ? AND group_id NOT IN"
                " (SELECT group_id FROM chord_parts WHERE expires > ?)",
                (now, now),
            )
        deleted = 0
        while True:
            # In pieces, so that a large clean-up never holds the lock for long.
            with self.database.write() as connection:
                count = connection.execute(
                    "DELETE FROM results WHERE task_id IN (SELECT task_id FROM results"
                    " WHERE expires > 0 AND expires <= ? LIMIT 1000)",
                    (int(time.time()),),
                ).rowcount
            deleted += count
            if count < 1000:
                return deleted

    def close(self) -> None:
        self.database.close()


def _concerns(hints: list[bytes], wanted: list[bytes]) -> bool:
    """Do these hints name one of the tasks?  An empty hint means "look for yourself"."""
    return any(not hint or any(task_id in hint for task_id in wanted) for hint in hints)
