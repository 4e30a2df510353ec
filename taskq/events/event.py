"""What an event is, and how it is told: Celery's form, which Flower reads.

An event is a dictionary with a type such as ``task-started``, and who has told it when.
Events go to a topic channel whose key is the type with dots; several at once go as one
notice with the key ``task.multi``, and its body is a list.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from taskq.brokers.notices import Channel, Notice
from taskq.exceptions import DecodeError

if TYPE_CHECKING:
    from taskq.settings import Settings

Event = dict[str, Any]

_KEPT = 5.0
"""Seconds that an event waits for a listener who does not read."""
_LEFT = 60.0
"""Seconds that what waits for a listener outlives it, where brokers have such things."""

_encode = msgspec.json.Encoder(enc_hook=repr).encode
_decode = msgspec.json.Decoder().decode


def events_channel(conf: Settings) -> Channel:
    """Where events are told."""
    return Channel(conf.event_exchange, "topic", _KEPT, _LEFT, durable=True)


def make_event(
    type: str, hostname: str, clock: int, fields: dict[str, Any], timestamp: float | None = None
) -> Event:
    """An event that has just happened, or happened at a given Unix time.

    Args:
        type: such as ``task-started``.
        hostname: who tells it.
        clock: the logical clock of whoever does.
        fields: what else is to be told; changed, and returned.
        timestamp: Unix time, in seconds.
    """
    fields["type"] = type
    fields["hostname"] = hostname
    fields["utcoffset"] = utc_offset()
    fields["pid"] = os.getpid()
    fields["clock"] = clock
    fields["timestamp"] = time.time() if timestamp is None else timestamp
    return fields


def utc_offset() -> int:
    """Whole hours that local time is behind UTC, as events name it."""
    away = time.altzone if time.localtime().tm_isdst > 0 else time.timezone
    return away // 3600


def event_notice(channel: Channel, hostname: str, events: Sequence[Event]) -> Notice:
    """Events as they are told: one by itself, several together."""
    if len(events) == 1:
        key, body = events[0]["type"].replace("-", "."), _encode(events[0])
    else:
        key, body = "task.multi", _encode(events)
    return Notice(channel, key, body, {"hostname": hostname}, expires=channel.ttl)


def read_events(notice: Notice) -> list[Event]:
    """The events that were told.

    Raises:
        DecodeError: it is something else.
    """
    if notice.content_type != "application/json":
        raise DecodeError(f"content type {notice.content_type!r}: events are application/json")
    try:
        body = _decode(notice.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise DecodeError(f"no event: {exc}: {notice.body[:200]!r}") from exc
    events = body if isinstance(body, list) else [body]
    for event in events:
        if not isinstance(event, dict) or not isinstance(event.get("type"), str):
            raise DecodeError(f"no event, since it has no type: {str(event)[:200]}")
    return events
