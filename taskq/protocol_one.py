"""Celery's task protocol 1, which clients before version 4 send: all of it is in the body.

It becomes protocol 2, headers and a body of three parts.  Only the frame of the body is read:
arguments and signatures stay the bytes that they are, for the process that runs the task.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from taskq.exceptions import DecodeError
from taskq.message import to_isoformat, to_timestamp

_JSON = "application/json"
_NULL = msgspec.Raw(b"null")


class _Body(msgspec.Struct):
    """The body, as Celery's ``as_task_v1`` makes it."""

    task: str
    id: str
    args: msgspec.Raw = msgspec.Raw(b"[]")
    kwargs: msgspec.Raw = msgspec.Raw(b"{}")
    group: str | None = None
    group_index: int | None = None
    retries: int | None = 0
    eta: str | None = None
    expires: str | None = None
    utc: bool = True
    callbacks: msgspec.Raw = _NULL
    errbacks: msgspec.Raw = _NULL
    chord: msgspec.Raw = _NULL
    timelimit: list[float | None] | None = None
    taskset: str | None = None


_decoder = msgspec.json.Decoder(_Body)


def to_protocol_two(body: bytes, content_type: str) -> tuple[dict[str, Any], bytes]:
    """Headers and body of protocol 2, from a body of protocol 1.

    Args:
        body: the message's.
        content_type: the message's.

    Raises:
        DecodeError: it is no task call, or its content type is not JSON, without which it
            cannot be known what task it calls.
    """
    if content_type != _JSON:
        raise DecodeError(
            f"a message without the header 'task' is of protocol 1, which is read in {_JSON} "
            f"only, not in {content_type}: set task_protocol=2 where it is sent"
        )
    try:
        old = _decoder.decode(body)
        eta, expires = _moment(old.eta, old.utc), _moment(old.expires, old.utc)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as exc:
        raise DecodeError(
            f"a message without the headers 'id' and 'task' whose body is no call of protocol 1 "
            f"either: {exc}"
        ) from exc
    headers = {
        "lang": "py",
        "task": old.task,
        "id": old.id,
        "shadow": None,
        "eta": eta,
        "expires": expires,
        "group": old.group or old.taskset,
        "group_index": old.group_index,
        "retries": old.retries or 0,
        "timelimit": old.timelimit or [None, None],
        "root_id": old.id,
        "parent_id": None,
    }
    parts = (old.callbacks, old.errbacks, old.chord)
    embed = b'{"callbacks":%b,"errbacks":%b,"chain":null,"chord":%b}' % tuple(map(bytes, parts))
    return headers, b"[%b,%b,%b]" % (bytes(old.args), bytes(old.kwargs), embed)


def _moment(text: str | None, utc: bool) -> str | None:
    """A moment with its time zone, which protocol 1 tells apart from it."""
    if not text:
        return None
    if datetime.fromisoformat(text).tzinfo is not None:
        return text
    return to_isoformat(to_timestamp(text) if utc else to_timestamp(text, None))
