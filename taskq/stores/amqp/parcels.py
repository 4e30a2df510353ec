"""A message as AMQP has it, on its way out and in."""

from __future__ import annotations

from typing import Any

import msgspec


class Parcel(msgspec.Struct, gc=False):
    """A message as AMQP has it, whichever driver carries it.

    Attributes:
        body: as bytes.
        headers: the property of that name.
        exchange: where it is published, or was.
        routing_key: with which key.
        content_type: MIME type of the body.
        content_encoding: its character set.
        priority: 0 to 9.
        correlation_id: the task's id.
        reply_to: the address for an answer.
        message_id: names it in what the broker tells of it.
        delivery_mode: 1 in memory, 2 on disk.
        expiration: milliseconds after which the broker drops it, as text.
    """

    body: bytes
    headers: dict[str, Any]
    exchange: str = ""
    routing_key: str = ""
    content_type: str | None = None
    content_encoding: str | None = None
    priority: int | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    message_id: str | None = None
    delivery_mode: int | None = 2
    expiration: str | None = None


def consumer_tag(queue: str, number: int) -> str:
    """What a consumer is called among those of its channel."""
    return f"{number}.{queue}"


def queue_of(tag: str) -> str:
    """The queue of a consumer that is called so."""
    return tag.partition(".")[2]


class Arrival(msgspec.Struct, gc=False):
    """A parcel that the broker has handed over.

    Attributes:
        parcel: what came.
        queue: from where.
        tag: what it is acknowledged by, on the channel that it came on.
        redelivered: it has been delivered before.
    """

    parcel: Parcel
    queue: str
    tag: int
    redelivered: bool
