"""The message: one task call as it travels from the caller to a worker.

Headers and body follow Celery's task protocol, version 2
(https://docs.celeryq.dev/en/stable/internals/protocol.html), so that brokers which
speak AMQP or kombu carry it to Celery's own workers as it is.  Brokers that are ours
store the whole message as one block of bytes, made by `pack` and read by `unpack`.
The same block travels to the worker's children: it is packed once by the producer,
and the body is decoded once, where the task runs.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, tzinfo
from functools import cache
from typing import Annotated, Any

import msgspec

from taskq.exceptions import DecodeError

MAX_PRIORITY = 9
TICK = "beat:"
"""How the keys (`TaskMessage.once`) of beat's messages begin."""
AGAIN = "again:"
"""How the key of a message begins that was sent before, and is perhaps there twice."""


class TaskMessage(msgspec.Struct, array_like=True, gc=False):
    """One task call.

    Attributes:
        headers: Celery's protocol 2 headers, with the user's own among them.
        body: the encoded ``[args, kwargs, embed]``.
        content_type: MIME type of the body.
        content_encoding: character set of the body, or "binary".
        exchange: where it is published; "" routes by queue name alone.
        routing_key: the queue's name, or what the exchange's bindings are matched against.
        priority: 0 to 9, 9 is served first.
        reply_to: address for results, where the result store uses one.
        due: Unix time in seconds before which it must not run, or None.
        once: a key under which the broker accepts the message a single time; follow-up
            messages carry one, so that a step sent twice runs once.
        delivery_mode: 1 in the broker's memory, 2 on disk; None leaves it to the broker's
            settings.
    """

    headers: dict[str, Any]
    body: bytes
    content_type: str = "application/json"
    content_encoding: str = "utf-8"
    exchange: str = ""
    routing_key: str = ""
    priority: Annotated[int, msgspec.Meta(ge=0, le=MAX_PRIORITY)] = 0
    reply_to: str | None = None
    due: float | None = None
    once: str | None = None
    delivery_mode: int | None = None

    @property
    def id(self) -> str:
        """The task's id, shared by all its retries."""
        return str(self.headers["id"])

    @property
    def task(self) -> str:
        """The task's name."""
        return str(self.headers["task"])


pack = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(TaskMessage)


def unpack(data: bytes | memoryview) -> TaskMessage:
    """Read what `pack` made.

    Raises:
        DecodeError: these bytes are no message, or one whose task name, id or priority
            cannot be such.
    """
    try:
        message = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise DecodeError(f"cannot read a message of {len(data)} bytes: {exc}") from exc
    headers = message.headers
    if type(headers.get("id")) is not str or type(headers.get("task")) is not str:
        raise DecodeError(
            "a message without the headers 'id' and 'task', both text, is no task call; "
            f"it has {sorted(headers)}"
        )
    return message


def new_id() -> str:
    """A new UUID as text, of version 7 (RFC 9562): it begins with the time.

    Ids that were made one after the other are neighbours in an index, so that storing
    their results touches a few pages of it, where random ones touch one page each.
    """
    try:
        number = _random.pop()
    except IndexError:
        data = os.urandom(10 * 64)  # asking the system takes longer than all the rest
        number, *more = [int.from_bytes(data[at : at + 10]) for at in range(0, 640, 10)]
        _random.extend(more)
    number |= time.time_ns() // 1_000_000 << 80
    text = f"{number & _NOT_FIXED | _FIXED:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


_random: list[int] = []
"""Random numbers of 80 bits that are still to be used."""
# A copy of this process must not make the same ids.
os.register_at_fork(after_in_child=_random.clear)
# The version (7) and the variant (binary 10) have their places among the random bits.
_NOT_FIXED = ~(0xF << 76 | 0x3 << 62)
_FIXED = 0x7 << 76 | 0x2 << 62


def step_id(task_id: str, step: str) -> str:
    """The id of the message that follows a task: the same for every execution of it.

    A task that runs twice sends its follow-ups under the same ids, and whoever keeps
    them recognises the second one.

    Args:
        task_id: the task that is followed.
        step: what follows, unique within the task ("chain", "callback-0", …).
    """
    # uuid is imported here since only workflows need it.
    from uuid import NAMESPACE_OID, uuid5

    return str(uuid5(NAMESPACE_OID, f"{task_id}/{step}"))


@cache
def origin() -> str:
    """Who sent a message, in Celery's form: ``gen<pid>@<host>``."""
    return f"gen{os.getpid()}@{os.uname().nodename}"


os.register_at_fork(after_in_child=origin.cache_clear)


def to_timestamp(moment: datetime | str, zone: tzinfo | None = UTC) -> float:
    """Unix time of a datetime or of an ISO 8601 text.

    Args:
        moment: the moment.
        zone: the time zone of one that names none; None is the machine's own.
    """
    when = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return (when if when.tzinfo else when.replace(tzinfo=zone)).timestamp()


def to_isoformat(timestamp: float) -> str:
    """The ISO 8601 form (UTC) that Celery's headers carry."""
    return datetime.fromtimestamp(timestamp, UTC).isoformat()
