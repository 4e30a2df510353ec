"""Writing outcomes that may be there already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from taskq import states
from taskq.backends.base import supersedes
from taskq.contrib.django.models import TaskResult
from taskq.contrib.django.results.rows import COLUMNS, Row

_READY = tuple(sorted(states.READY_STATES))
_KEPT = ("task_id", "created")
"""Columns that a later outcome leaves as they are."""
_CHANGED = tuple(name for name in COLUMNS if name not in _KEPT)
_ROWS = 100
"""Rows in one statement at most."""


def upsert(connection: BaseDatabaseWrapper, rows: Sequence[Row], end: datetime) -> None:
    """Write outcomes, each unless the one that is there counts for more.

    Args:
        connection: in a transaction.
        rows: one for each task.
        end: what was stored before has expired, and counts for nothing.
    """
    # In one order everywhere, so that two transactions do not wait for each other.
    rows = sorted(rows, key=_id_of)
    most = connection.features.max_query_params or 1 << 15
    size = max(1, min(_ROWS, (most - 2 * len(_READY) - 2) // len(COLUMNS)))
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        # What these two have in common, and no other of Django's databases has.
        if connection.vendor in {"postgresql", "sqlite"}:
            _upsert(connection, part, end)
        else:
            upsert_step_by_step(connection, part, end)


def _upsert(connection: BaseDatabaseWrapper, rows: Sequence[Row], end: datetime) -> None:
    """One statement; Django's own bulk_create cannot make the update depend on what is there."""
    quote = connection.ops.quote_name
    table = quote(TaskResult._meta.db_table)
    columns = {name: quote(_field(name).column) for name in COLUMNS}
    state, changed, new_state = columns["state"], columns["changed"], f"excluded.{columns['state']}"
    values = f"({', '.join(['%s'] * len(COLUMNS))})"
    ready = f"({', '.join(['%s'] * len(_READY))})"
    statement = (
        f"INSERT INTO {table} ({', '.join(columns.values())})"
        f" VALUES {', '.join([values] * len(rows))}"
        f" ON CONFLICT ({columns['task_id']}) DO UPDATE SET "
        + ", ".join(f"{columns[name]} = excluded.{columns[name]}" for name in _CHANGED)
        # `taskq.backends.base.supersedes`, in SQL.
        + f" WHERE {table}.{state} NOT IN {ready}"
        f" OR ({table}.{state} <> %s AND {new_state} IN {ready})"
        f" OR {table}.{changed} <= %s"
    )
    end_value = _field("changed").get_db_prep_value(end, connection)
    parameters = [*_values(connection, rows), *_READY, states.SUCCESS, *_READY, end_value]
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def _values(connection: BaseDatabaseWrapper, rows: Sequence[Row]) -> Iterator[Any]:
    fields = [(name, _field(name)) for name in COLUMNS]
    for row in rows:
        for name, field in fields:
            yield field.get_db_prep_save(row[name], connection)


def _field(name: str) -> Any:
    return TaskResult._meta.get_field(name)


def upsert_step_by_step(
    connection: BaseDatabaseWrapper, rows: Sequence[Row], end: datetime
) -> None:
    """The same for every database; whoever inserts the same row meanwhile makes it fail."""
    objects = TaskResult.objects.using(connection.alias)
    found = objects.select_for_update().filter(task_id__in=[row["task_id"] for row in rows])
    known = {
        task_id: (key, "" if changed <= end else state)
        for key, task_id, state, changed in found.order_by("task_id").values_list(
            "pk", "task_id", "state", "changed"
        )
    }
    new = [TaskResult(**row) for row in rows if row["task_id"] not in known]
    old = []
    for row in rows:
        key, state = known.get(row["task_id"], (None, ""))
        if key is not None and supersedes(row["state"], state):
            old.append(TaskResult(pk=key, **row))
    objects.bulk_create(new)
    objects.bulk_update(old, _CHANGED)


def _id_of(row: Row) -> str:
    return str(row["task_id"])
