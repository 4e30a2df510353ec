"""Between an outcome's document and the columns of Celery's table.

Celery (5.7) keeps each part of a document in a column of its own, and the value as its
serializer has written it.  A JSON document is taken apart into such columns and put together
again without its values being decoded.  Whatever is no such document (it is compressed, or
another serializer's) lies whole in taskq's own column, where Celery does not see it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from taskq import states
from taskq.backends.base import Outcome
from taskq.backends.documents import json_parts
from taskq.backends.sql.tables import ID_SIZE, OWN_COLUMN
from taskq.exceptions import BackendStoreError, DecodeError

if TYPE_CHECKING:
    import sqlalchemy as sa

_TEXTS = ("traceback", "name", "worker", "queue")
_RAW = ("args", "kwargs", "children")
_LIMITED = ("name", "worker", "queue")
_encode = msgspec.json.Encoder().encode
_NOTHING = (b"null", b"[]")

Row = dict[str, Any]


def split(outcome: Outcome, columns: frozenset[str], now: datetime) -> Row:
    """The columns of an outcome.

    Args:
        outcome: what is to be kept.
        columns: the columns that the table has.
        now: the time, in UTC and without a time zone.

    Raises:
        BackendStoreError: the table has no room for it.
    """
    if len(outcome.task_id) > ID_SIZE or len(outcome.state) > 50:
        raise BackendStoreError(
            f"task {outcome.task_id[:200]!r} in state {outcome.state[:60]!r}: the tables of an SQL "
            f"database have room for ids of {ID_SIZE} and states of 50 characters",
            state=outcome.state,
            task_id=outcome.task_id,
        )
    row: Row = dict.fromkeys(columns - {"id"})
    row.update(task_id=outcome.task_id, status=outcome.state, date_done=now)
    parts = json_parts(outcome)
    if parts is None:
        if OWN_COLUMN not in columns:
            raise BackendStoreError(
                f"task {outcome.task_id}: the table has no column {OWN_COLUMN!r}, which results "
                "in other serializers than json, and compressed ones, need: add it, for bytes",
                state=outcome.state,
                task_id=outcome.task_id,
            )
        row[OWN_COLUMN] = outcome.payload
        return row
    for name in ("status", "task_id", "date_done"):
        parts.pop(name, None)
    row["result"] = bytes(parts.pop("result"))
    if "children" in parts and bytes(parts["children"]) in _NOTHING:
        del parts["children"]
    for name in [name for name in _RAW if name in row and name in parts]:
        row[name] = bytes(parts.pop(name))
    for name in [name for name in (*_TEXTS, "retries") if name in row and name in parts]:
        value = msgspec.json.decode(parts[name])
        if _fits(name, value):
            row[name] = value
            del parts[name]
    if parts and OWN_COLUMN in row:
        row[OWN_COLUMN] = _encode(parts)
    return row


def _fits(name: str, value: Any) -> bool:
    if name == "retries":
        return value is None or (type(value) is int and abs(value) < 1 << 31)
    if not isinstance(value, str):
        return value is None
    # PostgreSQL's text cannot hold the character 0.
    return "\0" not in value and (name not in _LIMITED or len(value) <= ID_SIZE)


def join(row: sa.RowMapping | Mapping[str, Any]) -> Outcome:
    """The outcome in a row, which taskq or Celery has written.

    Raises:
        DecodeError: an old Celery has written it.
    """
    task_id, state = row["task_id"], row["status"] or states.PENDING
    value, more = row["result"], row.get(OWN_COLUMN)
    if value is None and more is not None:
        return Outcome(task_id, state, bytes(more))
    value = b"null" if value is None else bytes(value)
    if value.startswith(b"\x80"):
        raise DecodeError(
            f"the result of {task_id} is a pickle, as Celery has stored them before 5.7: taskq "
            "reads none from a database, since whoever can write there could run code"
        )
    done = row["date_done"] if state in states.READY_STATES else None
    document = [
        b'{"status":' + _encode(state),
        b'"result":' + value,
        b'"traceback":' + _encode(row["traceback"]),
        b'"children":' + bytes(row.get("children") or b"[]"),
        b'"date_done":' + _encode(done and done.replace(tzinfo=UTC).isoformat()),
        b'"task_id":' + _encode(task_id),
    ]
    document += [
        b'"%b":%b' % (name.encode(), _encode(row[name]))
        for name in (*_LIMITED, "retries")
        if row.get(name) is not None
    ]
    document += [
        b'"%b":%b' % (name.encode(), bytes(row[name]))
        for name in ("args", "kwargs")
        if row.get(name) is not None
    ]
    if more is not None:
        document.append(bytes(more)[1:-1])
    return Outcome(task_id, state, b",".join(document) + b"}")
