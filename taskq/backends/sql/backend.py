"""Results in an SQL database, in Celery's tables: either side reads what the other has written."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from taskq import states
from taskq.backends.base import ChordPart, ChordRecord, Outcome
from taskq.backends.polling import Ear, PollingBackend
from taskq.backends.sql.chords import Chords
from taskq.backends.sql.database import Database, chunks
from taskq.backends.sql.notices import NOTIFIED_POLLS, Notices, notify
from taskq.backends.sql.rows import join, split
from taskq.backends.sql.upsert import upsert
from taskq.exceptions import OperationalError

if TYPE_CHECKING:
    from taskq.settings import Settings

_ASKED = 500
"""Ids in one question at most."""
_DELETED = 1000
"""Rows in one transaction of the clean-up."""


class SqlBackend(PollingBackend):
    """The result store of ``db+postgresql://`` and whatever else SQLAlchemy has a dialect for.

    Args:
        url: where it is, see `taskq.backends.sql.database.Database`.
        conf: the settings ``database_*``.
        expires: seconds that an outcome is kept; 0 keeps it for ever.
        notices: let PostgreSQL tell whoever waits; without it they look now and then.
    """

    def __init__(
        self, url: str, conf: Settings, expires: float = 86400.0, notices: bool = True
    ) -> None:
        super().__init__(expires)
        self.database = Database(url, conf)
        self.tables = self.database.tables
        self._chords = Chords(self.database)
        self._notices: Notices | None = None
        if notices and Notices.possible(self.database):
            self._notices = Notices(self.database, self.bell)
            self.polls = NOTIFIED_POLLS
        if conf.database_create_tables_at_setup:
            try:
                self.database.create_tables()
            except OperationalError:
                pass  # it is away: they are made when it is first used

    # The time is that of this program, as in Celery; the column has no time zone.

    def _now(self) -> datetime:
        now = datetime.now(UTC).replace(tzinfo=None)
        if self.database.dialect in {"mysql", "mariadb"}:
            # Celery's column has whole seconds there: round up, never to keep for less.
            now = now.replace(microsecond=0) + timedelta(seconds=1)
        return now

    def _end(self, expires: float | None = None) -> datetime:
        """What was stored before has expired.

        Args:
            expires: seconds that it is kept; those of results by default.
        """
        expires = self.expires if expires is None else expires
        if not expires:
            return datetime(1970, 1, 1)  # noqa: DTZ001 - as the column has it
        try:
            return datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=expires)
        except OverflowError:
            return datetime(1970, 1, 1)  # noqa: DTZ001

    # Keeping

    def store(self, outcomes: Sequence[Outcome]) -> None:
        if not outcomes:
            return
        columns, now, end = self.database.columns, self._now(), self._end()
        rows = [split(outcome, columns, now) for outcome in outcomes]
        # In one order everywhere, so that two transactions do not wait for each other.
        rows.sort(key=_id_of)
        ended = [o.task_id for o in outcomes if o.state in states.READY_STATES]

        def work(connection: sa.Connection) -> None:
            upsert(connection, self.tables.tasks, rows, end)
            if self._notices is not None:
                notify(connection, ended)

        self.database.run(work)
        self.bell.ring(ended)

    def fetch(self, task_ids: Sequence[str]) -> dict[str, Outcome]:
        if not task_ids:
            return {}
        tasks, columns = self.tables.tasks, self.database.columns
        query = sa.select(*(column for column in tasks.c if column.name in columns)).where(
            tasks.c.task_id.in_(sa.bindparam("ids", expanding=True)),
            sa.or_(tasks.c.date_done.is_(None), tasks.c.date_done > sa.bindparam("end")),
        )
        end = self._end()

        def work(connection: sa.Connection) -> dict[str, Outcome]:
            found = {}
            for ids in chunks(list(task_ids), _ASKED):
                for row in connection.execute(query, {"ids": ids, "end": end}).mappings():
                    found[row["task_id"]] = join(row)
            return found

        return self.database.run(work, writes=False)

    def forget(self, task_ids: Sequence[str]) -> None:
        if not task_ids:
            return
        self._prepare()
        tasks = self.tables.tasks
        statement = tasks.delete().where(tasks.c.task_id.in_(sa.bindparam("ids", expanding=True)))

        def work(connection: sa.Connection) -> None:
            for ids in chunks(sorted(task_ids), _ASKED):
                connection.execute(statement, {"ids": ids})

        self.database.run(work)

    # Chords

    def add_parts(self, parts: Sequence[ChordPart]) -> list[ChordPart]:
        if not parts:
            return []
        self._prepare()
        return self._chords.add_parts(parts, self._now())

    def chord_parts(self, group: str) -> dict[int, bytes]:
        self._prepare()
        return self._chords.parts(group)

    def forget_parts(self, group: str) -> None:
        self._prepare()
        self._chords.forget_parts(group)

    def keep_chords(self, records: Sequence[ChordRecord]) -> None:
        self._prepare()
        self._chords.keep(records, self._now())

    def chord_record(self, group: str) -> bytes | None:
        self._prepare()
        return self._chords.record(group, self._end(self.chord_expires))

    def forget_chord(self, group: str) -> None:
        self._prepare()
        self._chords.forget(group)

    def open_chords(self, after: str, limit: int) -> list[ChordRecord]:
        self._prepare()
        return self._chords.open(after, limit, self._end(self.chord_expires))

    def extend_chord(self, group: str, index: int) -> None:
        self._prepare()
        self._chords.extend(group, index, self._now())

    # Expiry

    def cleanup(self) -> int:
        if not self.expires:
            return 0
        self._prepare()
        self._chords.cleanup(self._end(), self._end(self.chord_expires))
        self._clean(self.tables.groups)
        return self._clean(self.tables.tasks)

    def _clean(self, table: sa.Table) -> int:
        """Delete what has expired, in pieces, so that nobody waits for long."""
        old = table.c.date_done <= self._end()
        query = sa.select(table.c.id).where(old).limit(_DELETED)

        def work(connection: sa.Connection) -> int:
            ids = list(connection.execute(query).scalars())
            if ids:
                # It may have been stored anew since it was found.
                connection.execute(table.delete().where(table.c.id.in_(ids), old))
            return len(ids)

        deleted = 0
        while count := self.database.run(work):
            deleted += count
        return deleted

    # The rest

    def _prepare(self) -> None:
        """The tables are there."""
        assert self.database.columns

    def listening(self, ear: Ear) -> AbstractContextManager[None]:
        if self._notices is not None:
            return self._notices.listening(ear)
        return super().listening(ear)

    def close(self) -> None:
        if self._notices is not None:
            self._notices.close()
        self.database.close()


def _id_of(row: dict[str, Any]) -> str:
    return str(row["task_id"])
