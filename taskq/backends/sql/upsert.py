"""Writing rows that may be there already."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from taskq import states
from taskq.backends.base import supersedes
from taskq.backends.sql.rows import Row


def _insert(connection: sa.Connection, table: sa.Table) -> postgresql.Insert | sqlite.Insert | None:
    """An INSERT that knows ON CONFLICT; None where the database does not."""
    match connection.dialect.name:
        case "postgresql":
            return postgresql.insert(table)
        case "sqlite":
            return sqlite.insert(table)
        case _:
            return None


def upsert(connection: sa.Connection, table: sa.Table, rows: Sequence[Row], end: datetime) -> None:
    """Write outcomes, each unless the one that is there counts for more.

    Args:
        connection: in a transaction.
        table: the table of results.
        rows: in the order in which they count, each with the same columns.
        end: what was stored before has expired, and counts for nothing.
    """
    insert = _insert(connection, table)
    if insert is None:
        _upsert_step_by_step(connection, table, rows, end)
        return
    new = insert.excluded
    # `taskq.backends.base.supersedes`, in SQL.
    counts = sa.or_(
        table.c.status.is_(None),
        sa.not_(_is_ready(table.c.status)),
        sa.and_(table.c.status != states.SUCCESS, _is_ready(new.status)),
        table.c.date_done <= sa.bindparam("expired_before", type_=sa.DateTime()),
    )
    changed = {name: new[name] for name in rows[0] if name != "task_id"}
    statement = insert.on_conflict_do_update(
        index_elements=[table.c.task_id], set_=changed, where=counts
    )
    connection.execute(statement, [{**row, "expired_before": end} for row in rows])


def _is_ready(status: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    # Written out: IN expands its list for each call, which a batch of rows does not allow.
    return sa.or_(*(status == state for state in sorted(states.READY_STATES)))


def _upsert_step_by_step(
    connection: sa.Connection, table: sa.Table, rows: Sequence[Row], end: datetime
) -> None:
    """The same for every database; whoever inserts the same row meanwhile makes it fail.

    Only rows that are there are locked: to lock a missing one takes a gap in MySQL.
    """
    ids = sorted({row["task_id"] for row in rows})
    known = list(
        connection.execute(sa.select(table.c.task_id).where(table.c.task_id.in_(ids))).scalars()
    )
    query = sa.select(table.c.task_id, table.c.status, table.c.date_done)
    locked = query.where(table.c.task_id.in_(sorted(known))).with_for_update()
    states_now = {
        row.task_id: "" if row.date_done is not None and row.date_done <= end else row.status or ""
        for row in (connection.execute(locked) if known else ())
    }
    there = set(states_now)
    changed: dict[str, Row] = {}
    for row in rows:
        task_id = row["task_id"]
        if supersedes(row["status"], states_now.get(task_id, "")):
            states_now[task_id] = row["status"]
            changed[task_id] = row
    new = [row for row in changed.values() if row["task_id"] not in there]
    old = [{**row, "the_id": row["task_id"]} for row in changed.values() if row["task_id"] in there]
    if new:
        connection.execute(table.insert(), new)
    if old:
        statement = table.update().where(table.c.task_id == sa.bindparam("the_id"))
        connection.execute(statement, old)


def insert_missing(
    connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]
) -> None:
    """Write rows, but for those whose primary key is there."""
    insert = _insert(connection, table)
    if insert is not None:
        connection.execute(insert.on_conflict_do_nothing(), rows)
        return
    names = [column.name for column in table.primary_key]
    keys = list(table.primary_key)
    wanted = {tuple(row[name] for name in names): row for row in reversed(rows)}
    query = sa.select(*keys).where(keys[0].in_(sorted({row[names[0]] for row in rows})))
    known = {tuple(row) for row in connection.execute(query)}
    if new := [wanted[key] for key in sorted(wanted.keys() - known)]:
        connection.execute(table.insert(), new)
