"""The chords in an SQL database: what their members contribute, and what follows them.

All of a chord lies in one table, under the group's id and a place: a member's is its place in
the header.  Places below zero are ours: one for what follows the chord, and one for each member
that has joined it later, by which its size is larger than the members say.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from taskq.backends.base import ChordPart, ChordRecord
from taskq.backends.sql.database import Database, chunks
from taskq.backends.sql.upsert import insert_missing

_RECORD = -1
_ASKED = 500
"""Ids in one question at most."""


class Chords:
    """The table of chords.

    Args:
        database: where it is.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._table = database.tables.parts

    def _insert(self, rows: Sequence[tuple[str, int, bytes]], now: datetime) -> None:
        """Write rows of group, place and payload; of two for one place the first stays."""
        # In one order everywhere, so that two transactions do not wait for each other.
        values = [
            {"group_id": group, "place": place, "stored": now, "payload": payload}
            for group, place, payload in sorted(rows, key=lambda row: row[:2])
        ]
        if values:
            self._database.run(lambda connection: insert_missing(connection, self._table, values))

    def add_parts(self, parts: Sequence[ChordPart], now: datetime) -> list[ChordPart]:
        """Keep parts; those whose chords are complete."""
        self._insert([(part.group, part.index, part.payload) for part in parts], now)
        # Counted only now: two members that are added at the same time do not see each other
        # before both are committed, and then at least the later one sees all.
        counts = self._counts(sorted({part.group for part in parts}))
        return [part for part in parts if counts.get(part.group, 0) >= part.size]

    def _counts(self, groups: list[str]) -> dict[str, int]:
        """How many members have ended, less those that have joined."""
        place = self._table.c.place
        counted = sa.case((place >= 0, 1), (place == _RECORD, 0), else_=-1)
        query = (
            sa.select(self._table.c.group_id, sa.func.sum(counted))
            .where(self._table.c.group_id.in_(sa.bindparam("ids", expanding=True)))
            .group_by(self._table.c.group_id)
        )

        def work(connection: sa.Connection) -> dict[str, int]:
            counts: dict[str, int] = {}
            for ids in chunks(groups, _ASKED):
                found = connection.execute(query, {"ids": ids})
                counts.update((group, int(count)) for group, count in found)
            return counts

        return self._database.run(work, writes=False)

    def parts(self, group: str) -> dict[int, bytes]:
        """What the members have contributed, by their places."""
        table = self._table
        query = sa.select(table.c.place, table.c.payload).where(
            table.c.group_id == group, table.c.place >= 0
        )
        return self._database.run(
            lambda connection: {row[0]: bytes(row[1]) for row in connection.execute(query)},
            writes=False,
        )

    def keep(self, records: Sequence[ChordRecord], now: datetime) -> None:
        """Keep what follows chords."""
        self._insert([(record.group, _RECORD, record.payload) for record in records], now)

    def extend(self, group: str, index: int, now: datetime) -> None:
        """One more member, by its place."""
        self._insert([(group, _RECORD - 1 - index, b"")], now)

    def record(self, group: str, end: datetime) -> bytes | None:
        """What follows a chord, if it was kept after `end`."""
        table = self._table
        query = sa.select(table.c.payload).where(
            table.c.group_id == group, table.c.place == _RECORD, table.c.stored > end
        )
        found = self._database.run(
            lambda connection: connection.execute(query).scalar(), writes=False
        )
        return None if found is None else bytes(found)

    def open(self, after: str, limit: int, end: datetime) -> list[ChordRecord]:
        """Chords with a record that was kept after `end`, by their ids."""
        table = self._table
        query = (
            sa.select(table.c.group_id, table.c.payload)
            .where(table.c.group_id > after, table.c.place == _RECORD, table.c.stored > end)
            .order_by(table.c.group_id)
            .limit(limit)
        )
        found = self._database.run(
            lambda connection: [(row[0], bytes(row[1])) for row in connection.execute(query)],
            writes=False,
        )
        counts = self._counts([group for group, _ in found])
        return [ChordRecord(group, payload, counts[group]) for group, payload in found]

    def forget_parts(self, group: str) -> None:
        """Delete what the members have contributed."""
        self._delete(self._table.c.group_id == group, self._table.c.place >= 0)

    def forget(self, group: str) -> None:
        """Delete all that is known of a chord."""
        self._delete(self._table.c.group_id == group)

    def _delete(self, *where: sa.ColumnElement[bool]) -> None:
        statement = self._table.delete().where(*where)
        self._database.run(lambda connection: connection.execute(statement))

    def cleanup(self, end: datetime, chord_end: datetime) -> None:
        """Delete chords of which nothing is newer than their end.

        Args:
            end: of those without a record of what follows them.
            chord_end: of the others.
        """
        table = self._table
        newest, first = sa.func.max(table.c.stored), sa.func.min(table.c.place)
        query = (
            sa.select(table.c.group_id)
            .group_by(table.c.group_id)
            .having(newest <= end, sa.or_(first >= 0, newest <= chord_end))
            .limit(100)
        )

        def work(connection: sa.Connection) -> int:
            ids = list(connection.execute(query).scalars())
            if ids:
                # A member may have been added since.
                old = table.c.stored <= end
                connection.execute(table.delete().where(table.c.group_id.in_(ids), old))
            return len(ids)

        while self._database.run(work):
            pass
