"""Between an outcome's document and the columns of `TaskResult`.

A JSON document is taken apart into columns and put together again without its values being
decoded.  Whatever is none lies whole in a column of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from taskq import states
from taskq.backends.base import Outcome
from taskq.backends.documents import json_parts
from taskq.contrib.django.models.results import NAME_SIZE, STATE_SIZE
from taskq.exceptions import BackendStoreError

LIMITED = ("name", "queue", "worker")
_RAW = ("args", "kwargs", "result")
_FROM_ROW = ("status", "task_id", "date_done")
_NOTHING = {
    "children": (b"[]", b"null"),
    **dict.fromkeys((*LIMITED, "traceback", "retries"), (b"null",)),
}
COLUMNS = (
    *("task_id", "state", *LIMITED, *_RAW, "traceback", "retries", "more", "payload"),
    *("created", "changed"),
)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.decode

Row = dict[str, Any]


def split(outcome: Outcome, now: datetime) -> Row:
    """The columns of an outcome.

    Args:
        outcome: what is to be kept.
        now: the time, as Django keeps it.

    Raises:
        BackendStoreError: the table has no room for it.
    """
    if len(outcome.task_id) > NAME_SIZE or len(outcome.state) > STATE_SIZE:
        raise BackendStoreError(
            f"task {outcome.task_id[:300]!r} in state {outcome.state[:60]!r}: the table has room "
            f"for ids of {NAME_SIZE} and states of {STATE_SIZE} characters",
            state=outcome.state,
            task_id=outcome.task_id,
        )
    row: Row = dict.fromkeys(COLUMNS)
    row.update(dict.fromkeys(LIMITED, ""))
    row.update(task_id=outcome.task_id, state=outcome.state, created=now, changed=now)
    parts = json_parts(outcome)
    try:
        row.update(_columns(parts) if parts is not None else {"payload": outcome.payload})
    except UnicodeDecodeError:
        row.update(payload=outcome.payload)
    return row


def _columns(parts: dict[str, msgspec.Raw]) -> Row:
    """The columns of a JSON document."""
    row: Row = {name: bytes(parts.pop(name)).decode() for name in _RAW if name in parts}
    for name in _FROM_ROW:
        parts.pop(name, None)
    for name, nothing in _NOTHING.items():
        if name in parts and bytes(parts[name]) in nothing:
            del parts[name]
    for name in [name for name in (*LIMITED, "traceback", "retries") if name in parts]:
        value = _decode(parts[name])
        if _fits(name, value):
            row[name] = value
            del parts[name]
    if parts:
        row["more"] = _encode(parts).decode()
    return row


def _fits(name: str, value: Any) -> bool:
    if name == "retries":
        return type(value) is int and abs(value) < 1 << 31
    # PostgreSQL's text cannot hold the character 0.
    return (
        isinstance(value, str)
        and value != ""
        and "\0" not in value
        and (name not in LIMITED or len(value) <= NAME_SIZE)
    )


def join(row: Mapping[str, Any]) -> Outcome:
    """The outcome in a row, see `COLUMNS`."""
    task_id, state = row["task_id"], row["state"]
    if row["payload"] is not None:
        return Outcome(task_id, state, bytes(row["payload"]))
    done = _utc(row["changed"]).isoformat() if state in states.READY_STATES else None
    document = [
        '{"status":' + _text(state),
        '"result":' + (row["result"] or "null"),
        '"traceback":' + _text(row["traceback"]),
        '"children":[]',
        '"date_done":' + _text(done),
        '"task_id":' + _text(task_id),
    ]
    document += [f'"{name}":{row[name]}' for name in ("args", "kwargs") if row[name] is not None]
    document += [f'"{name}":{_text(row[name])}' for name in LIMITED if row[name]]
    if row["retries"] is not None:
        document.append(f'"retries":{row["retries"]}')
    if row["more"]:
        # Last: of two members of one name the later counts.
        document.append(row["more"][1:-1])
    return Outcome(task_id, state, (",".join(document) + "}").encode())


def _text(value: str | None) -> str:
    return _encode(value).decode()


def _utc(moment: datetime) -> datetime:
    """A moment as Django gives it: with its zone, or of the clock on the wall."""
    return moment.astimezone(UTC)
