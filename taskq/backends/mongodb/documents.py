"""Between an outcome and the document that Celery keeps of it in MongoDB.

Celery keeps the value as text, as its serializer has written it, and everything else as what it
is.  What is no JSON document lies whole in a field of our own, where Celery does not see it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from taskq import states
from taskq.backends.base import Outcome
from taskq.backends.documents import json_parts
from taskq.exceptions import DecodeError

OWN_FIELD = "taskq"
_CELERYS = ("traceback", "children")
_OWN = frozenset({"_id", "status", "date_done", "result", OWN_FIELD})
_LARGEST = 1 << 63

Document = dict[str, Any]


def to_document(outcome: Outcome, now: datetime) -> Document:
    """The document of an outcome.

    Args:
        outcome: what is to be kept.
        now: the time, in UTC and without a time zone, in whole milliseconds.
    """
    document: Document = {
        "_id": outcome.task_id,
        "status": outcome.state,
        "result": None,
        "traceback": None,
        "children": None,
        "date_done": now,
    }
    parts = json_parts(outcome)
    if parts is not None:
        result = bytes(parts.pop("result")).decode()
        more = {name: msgspec.json.decode(raw) for name, raw in parts.items()}
        for name in ("status", "task_id", "date_done"):
            more.pop(name, None)
        if _allowed(more) and not more.keys() & _OWN:
            return {**document, "result": result, **more}
    return {**document, OWN_FIELD: outcome.payload}


def _allowed(value: Any) -> bool:
    """Can BSON hold it, and every version of the server?"""
    if isinstance(value, dict):
        return all(
            key
            and "\0" not in key
            and "." not in key
            and not key.startswith("$")
            and _allowed(item)
            for key, item in value.items()
        )
    if isinstance(value, list):
        return all(map(_allowed, value))
    return not isinstance(value, int) or -_LARGEST <= value < _LARGEST


def from_document(document: Mapping[str, Any]) -> Outcome:
    """The outcome in a document that taskq or Celery has written.

    Raises:
        DecodeError: Celery has written it with a serializer other than JSON.
    """
    task_id, state = document["_id"], document.get("status") or states.PENDING
    if OWN_FIELD in document:
        return Outcome(task_id, state, bytes(document[OWN_FIELD]))
    value = document.get("result")
    if isinstance(value, bytes):
        raise DecodeError(
            f"the result of {task_id} was stored by Celery with a serializer other than json: "
            "set its result_serializer to json"
        )
    # Celery's serializer "bson" leaves the value as it is.
    text = value.encode() if isinstance(value, str) else _encode(value)
    done = document.get("date_done") if state in states.READY_STATES else None
    more = {name: item for name, item in document.items() if name not in _OWN}
    rest = {
        **more,
        "children": more.get("children") or [],
        "date_done": done and done.replace(tzinfo=UTC).isoformat(),
        "task_id": task_id,
    }
    head = b'{"status":%b,"result":%b,' % (_encode(state), text)
    return Outcome(task_id, state, head + _encode(rest)[1:])


def _encode(value: Any) -> bytes:
    return msgspec.json.encode(value, enc_hook=str)
