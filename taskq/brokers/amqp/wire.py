"""A task's message on AMQP: Celery's task protocol 2 in headers, properties and body.

What taskq must remember with a message beyond that protocol stands in headers of its own,
which other programs pass on and ignore.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from taskq.brokers.base import DeadLetter
from taskq.exceptions import DecodeError
from taskq.message import MAX_PRIORITY, TaskMessage, new_id, pack, to_timestamp
from taskq.protocol_one import to_protocol_two
from taskq.stores.amqp.parcels import Arrival, Parcel

ONCE = "taskq-once"
"""The key under which the message is to count a single time."""
DELIVERIES = "taskq-deliveries"
"""How often it had been delivered before this copy of it was published."""
CRASHES = "taskq-crashes"
"""How many processes have died with it."""
DUE = "taskq-due"
"""When a message that was given back may run again, as Unix time in text."""
EXACT = "taskq-exact"
"""Headers with floating-point numbers in them, once more as JSON: pika cuts such numbers."""
DEAD = "taskq-dead"
"""Why, when and from where it went to the dead letters."""
COUNT = "x-delivery-count"
"""Written by quorum queues: how often it was delivered before."""
_OWN = frozenset({ONCE, DELIVERIES, CRASHES, DUE, EXACT, DEAD, COUNT})
_PASSING = ("x-death", "x-first-death-", "x-last-death-")
"""What RabbitMQ writes into a message that went through the queues of delayed ones."""
_MARKS = _OWN | {"x-death", "x-first-death-queue", "x-last-death-queue"}
"""One of these at least is there if any of all these is."""


def to_parcel(message: TaskMessage, delivery_mode: int) -> Parcel:
    """The parcel of a message."""
    headers = message.headers
    if message.once is not None:
        headers = {**headers, ONCE: message.once}
    if message.due is not None and not headers.get("eta"):
        headers = {**headers, DUE: repr(message.due)}
    if exact := {
        key: value
        for key, value in headers.items()
        if type(value) not in _WITHOUT and _has_float(value)
    }:
        headers = {**headers, EXACT: msgspec.json.encode(exact).decode()}
    task_id = headers.get("id")
    known = task_id if type(task_id) is str else None
    return Parcel(
        message.body,
        headers,
        message.exchange,
        message.routing_key,
        message.content_type,
        message.content_encoding,
        message.priority,
        known,
        message.reply_to,
        new_id(),
        message.delivery_mode or delivery_mode,
    )


_WITHOUT = frozenset({str, int, bool, type(None)})
"""Types that hold no floating-point number."""


def _has_float(value: Any) -> bool:
    if isinstance(value, float):
        return True
    if isinstance(value, dict):
        return any(map(_has_float, value.values()))
    return isinstance(value, list | tuple) and any(map(_has_float, value))


def upgraded(parcel: Parcel) -> Parcel:
    """The same parcel in task protocol 2.

    Raises:
        DecodeError: it is no task call.
    """
    if "task" in parcel.headers:
        return parcel
    headers, body = to_protocol_two(parcel.body, parcel.content_type or "application/data")
    return msgspec.structs.replace(parcel, headers={**parcel.headers, **headers}, body=body)


def to_message(parcel: Parcel) -> TaskMessage:
    """The message in a parcel.

    Raises:
        DecodeError: it is no task call.
    """
    parcel = upgraded(parcel)
    headers = parcel.headers
    if type(headers.get("id")) is not str or type(headers.get("task")) is not str:
        raise DecodeError(
            "a message without the headers 'id' and 'task', both text, is no task call; "
            f"it has {sorted(headers)}"
        )
    once = headers.get(ONCE)
    own = dict(headers) if _MARKS.isdisjoint(headers) else _without_marks(headers)
    if EXACT in headers:
        own |= _exact(headers[EXACT])
    return TaskMessage(
        own,
        parcel.body,
        parcel.content_type or "application/data",
        parcel.content_encoding or "utf-8",
        parcel.exchange,
        parcel.routing_key,
        min(max(parcel.priority or 0, 0), MAX_PRIORITY),
        parcel.reply_to,
        due(parcel),
        once if isinstance(once, str) else None,
        1 if parcel.delivery_mode == 1 else None,  # the other is the default
    )


def _without_marks(headers: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in headers.items()
        if key not in _OWN and not key.startswith(_PASSING)
    }


def _exact(text: Any) -> dict[str, Any]:
    try:
        exact: dict[str, Any] = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, TypeError):
        return {}
    return exact


def due(parcel: Parcel) -> float | None:
    """When it may run, as Unix time, if it is not to run at once."""
    headers = parcel.headers
    try:
        if DUE in headers:
            return float(headers[DUE])
        return to_timestamp(headers["eta"]) if headers.get("eta") else None
    except (AttributeError, TypeError, ValueError):
        return None  # it runs: who sent it did not say when


def waits(parcel: Parcel, now: float) -> float:
    """Seconds that it must still wait."""
    moment = due(parcel) if DUE in parcel.headers or parcel.headers.get("eta") else None
    return max(0.0, moment - now) if moment is not None else 0.0


def deliveries(arrival: Arrival) -> int:
    """How often it has been delivered, this time included."""
    headers = arrival.parcel.headers
    before = headers.get(DELIVERIES, 0)
    again = headers.get(COUNT, int(arrival.redelivered))
    return _count(before) + _count(again) + 1


def crashes(arrival: Arrival) -> int:
    """How many processes have died with it."""
    return _count(arrival.parcel.headers.get(CRASHES, 0))


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def again(parcel: Parcel, queue: str, marks: dict[str, Any]) -> Parcel:
    """A copy that goes straight to a queue, with marks of ours among its headers."""
    headers = {
        key: value
        for key, value in parcel.headers.items()
        if key not in (COUNT, DUE, DELIVERIES, CRASHES) and not key.startswith(_PASSING)
    }
    return msgspec.structs.replace(
        parcel,
        headers={**headers, **{key: value for key, value in marks.items() if value}},
        exchange="",
        routing_key=queue,
    )


def dead_mark(queue: str, reason: str, letter: str, count: int, died: int) -> dict[str, Any]:
    """What is noted with a dead letter."""
    return {
        "id": letter,
        "queue": queue,
        "reason": reason,
        "died": repr(time.time()),
        "deliveries": count,
        "crashes": died,
    }


def mark_of(arrival: Arrival) -> dict[str, Any]:
    """What `dead_mark` has noted; nothing, if something else has put it among the dead letters."""
    mark = arrival.parcel.headers.get(DEAD)
    return mark if isinstance(mark, dict) else {}


def to_letter(arrival: Arrival, queue: str) -> DeadLetter:
    """The dead letter in a parcel that lies among those of a queue."""
    mark = mark_of(arrival)
    # It was published straight to its queue, as far as anybody can tell by now.
    plain = msgspec.structs.replace(arrival.parcel, exchange="", routing_key=queue)
    try:
        message = to_message(plain)
    except DecodeError:
        message = None
    return DeadLetter(
        str(mark.get("id", "")),
        str(mark.get("queue", queue)),
        str(mark.get("reason", "dead-lettered by the broker")),
        float(mark.get("died", 0.0)),
        int(mark.get("deliveries", 1)),
        int(mark.get("crashes", 0)),
        message,
        pack(message) if message is not None else plain.body,
    )
