"""A schedule store in an SQLite file; the broker's own, if that is one."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence

from taskq.beat.stores.base import Claim, Held, Record, ScheduleStore, new_version, version_text
from taskq.brokers.sqlite.enqueue import enqueue
from taskq.message import pack
from taskq.stores.sqlite import Database

_COLUMNS = (
    "name, definition, source, revision, enabled, due, last_due, last_run, runs, missed, failures,"
    " lateness, error"
)
_PART = 500


class SqliteScheduleStore(ScheduleStore):
    """The rows of one app in a file, for any number of beats on one machine.

    Args:
        database: the file.
        namespace: the app's name: apps may share a file.
        sends: the file is the broker's, and messages go into its queues at once.
        lease: seconds for which a message of the outbox is held.
        clock: gives the time.
    """

    def __init__(
        self,
        database: Database,
        namespace: str,
        *,
        sends: bool = False,
        lease: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.database = database
        self.sends = sends
        self._namespace = namespace
        self._lease = lease
        self._clock = clock
        self._known = False

    def poll(self) -> tuple[float, str]:
        if not self._known:
            # A file that cannot be written is found at the start, and not when a tick is due.
            with self.database.write() as connection:
                self._changed(connection)
            self._known = True
        with self.database.read() as connection:
            row = connection.execute(
                "SELECT version FROM schedule_versions WHERE namespace = ?", (self._namespace,)
            ).fetchone()
        return self._clock(), version_text(row[0] if row else 0)

    def _changed(self, connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT INTO schedule_versions (namespace, version) VALUES (?, ?)"
            " ON CONFLICT (namespace) DO UPDATE SET version = version + 1",
            (self._namespace, new_version()),
        )

    def load(self) -> list[Record]:
        with self.database.read() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM schedule_entries WHERE namespace = ?", (self._namespace,)
            ).fetchall()
        return [_record(row) for row in rows]

    def read(self, names: Sequence[str]) -> list[Record]:
        found: list[Record] = []
        with self.database.read() as connection:
            for start in range(0, len(names), _PART):
                part = names[start : start + _PART]
                rows = connection.execute(
                    f"SELECT {_COLUMNS} FROM schedule_entries WHERE namespace = ?"
                    f" AND name IN ({','.join('?' * len(part))})",
                    (self._namespace, *part),
                ).fetchall()
                found += map(_record, rows)
        return found

    def put(self, records: Sequence[Record]) -> None:
        if not records:
            return
        with self.database.write() as connection:
            connection.executemany(
                f"INSERT INTO schedule_entries (namespace, {_COLUMNS})"
                f" VALUES (?{', ?' * 13}) ON CONFLICT (namespace, name) DO UPDATE SET"
                " definition = excluded.definition, source = excluded.source,"
                " revision = excluded.revision, due = excluded.due"
                " WHERE revision <> excluded.revision",
                [(self._namespace, *_values(record)) for record in records],
            )
            self._changed(connection)

    def remove(self, names: Sequence[str]) -> int:
        if not names:
            return 0
        with self.database.write() as connection:
            self._changed(connection)
            return connection.executemany(
                "DELETE FROM schedule_entries WHERE namespace = ? AND name = ?",
                [(self._namespace, name) for name in names],
            ).rowcount

    def enable(self, name: str, due: float | None) -> bool:
        return self._edit(
            "UPDATE schedule_entries SET due = CASE enabled WHEN 0 THEN ? ELSE due END, enabled = 1"
            " WHERE namespace = ? AND name = ?",
            (due, self._namespace, name),
        )

    def disable(self, name: str) -> bool:
        return self._edit(
            "UPDATE schedule_entries SET enabled = 0 WHERE namespace = ? AND name = ?",
            (self._namespace, name),
        )

    def reset(self, name: str, due: float | None, next_due: float | None) -> bool:
        return self._edit(
            "UPDATE schedule_entries SET due = ?, last_due = NULL"
            " WHERE namespace = ? AND name = ? AND due IS ?",
            (next_due, self._namespace, name, due),
        )

    def _edit(self, statement: str, values: Sequence[object]) -> bool:
        with self.database.write() as connection:
            changed = connection.execute(statement, values).rowcount > 0
            if changed:
                self._changed(connection)
        return changed

    def claim(self, claims: Sequence[Claim]) -> set[str]:
        won = set()
        now = self._clock()
        with self.database.write() as connection:
            for claim in claims:
                if claim.due <= now and self._move(connection, claim):
                    won.add(claim.name)
            messages = [
                message for claim in claims if claim.name in won for message in claim.messages
            ]
            if self.sends:
                enqueue(connection, messages)
            else:
                connection.executemany(
                    "INSERT INTO schedule_outbox (namespace, until, message) VALUES (?, 0, ?)",
                    [(self._namespace, pack(message)) for message in messages],
                )
        if self.sends and messages:
            self.database.wakeups.send("messages")
        return won

    def _move(self, connection: sqlite3.Connection, claim: Claim) -> bool:
        """Move a row to its next due time, if it stands where the claim says."""
        moved = connection.execute(
            "UPDATE schedule_entries SET due = ?, last_due = ?, runs = runs + ?,"
            " missed = missed + ?, failures = failures + ?, error = ?"
            " WHERE namespace = ? AND name = ? AND due = ? AND revision = ? AND enabled"
            " AND (last_due IS NULL OR last_due < ?)",
            (
                *(claim.next_due, claim.last, claim.runs, claim.missed, claim.failures),
                *(claim.error, self._namespace, claim.name, claim.due, claim.revision),
                claim.last,
            ),
        ).rowcount
        if moved and claim.runs:
            connection.execute(
                "UPDATE schedule_entries SET last_run = ?, lateness = ?"
                " WHERE namespace = ? AND name = ?",
                (claim.now, claim.lateness, self._namespace, claim.name),
            )
        return bool(moved)

    def take(self, limit: int) -> list[Held]:
        now = self._clock()
        waiting = "SELECT seq FROM schedule_outbox WHERE namespace = ? AND until <= ?"
        with self.database.read() as connection:
            # Most of the time there is nothing, and nobody needs to wait for the lock.
            if not connection.execute(waiting + " LIMIT 1", (self._namespace, now)).fetchall():
                return []
        with self.database.write() as connection:
            rows = connection.execute(
                f"UPDATE schedule_outbox SET until = ? WHERE seq IN ({waiting} LIMIT ?)"
                " RETURNING seq, message",
                (now + self._lease, self._namespace, now, limit),
            ).fetchall()
        return [Held(seq, packed) for seq, packed in sorted(rows)]

    def sent(self, held: Sequence[Held]) -> None:
        with self.database.write() as connection:
            connection.executemany(
                "DELETE FROM schedule_outbox WHERE seq = ?", [(one.tag,) for one in held]
            )

    def close(self) -> None:
        self.database.close()


def _record(row: Sequence[object]) -> Record:
    name, definition, source, revision, enabled, *rest = row
    return Record(name, definition, source, revision, bool(enabled), *rest)  # type: ignore[arg-type]


def _values(record: Record) -> Sequence[object]:
    return (
        *(record.name, record.definition, record.source, record.revision, record.enabled),
        *(record.due, record.last_due, record.last_run, record.runs, record.missed),
        *(record.failures, record.lateness, record.error),
    )
