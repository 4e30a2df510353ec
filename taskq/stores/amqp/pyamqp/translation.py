"""Between py-amqp's messages and ours."""

from __future__ import annotations

from typing import Any

import amqp

from taskq.stores.amqp.links import Bind, DeclareExchange, DeclareQueue, Step
from taskq.stores.amqp.parcels import Arrival, Parcel


def to_amqp(parcel: Parcel) -> amqp.Message:
    """The message that is sent for a parcel."""
    properties = {
        "application_headers": parcel.headers,
        "content_type": parcel.content_type,
        "content_encoding": parcel.content_encoding,
        "priority": parcel.priority,
        "correlation_id": parcel.correlation_id,
        "reply_to": parcel.reply_to,
        "message_id": parcel.message_id,
        "delivery_mode": parcel.delivery_mode,
        "expiration": parcel.expiration,
    }
    given: dict[str, Any] = {k: v for k, v in properties.items() if v is not None}
    return amqp.Message(parcel.body, **given)  # pyright: ignore[reportArgumentType]


def to_arrival(message: Any, queue: str) -> Arrival:
    """What py-amqp hands over with a message."""
    info, get = message.delivery_info, message.properties.get
    body = message.body
    parcel = Parcel(
        body if isinstance(body, bytes) else bytes(body or b""),
        get("application_headers") or {},
        info["exchange"],
        info["routing_key"],
        get("content_type"),
        get("content_encoding"),
        get("priority"),
        get("correlation_id"),
        get("reply_to"),
        get("message_id"),
        get("delivery_mode"),
        get("expiration"),
    )
    return Arrival(parcel, queue, info["delivery_tag"], bool(info["redelivered"]))


def run_step(channel: Any, step: Step) -> None:
    """Declare or bind something."""
    match step:
        case DeclareExchange(name, kind, durable, auto_delete, arguments, passive):
            channel.exchange_declare(
                name,
                kind,
                passive=passive,
                durable=durable,
                auto_delete=auto_delete,
                arguments=arguments,
            )
        case DeclareQueue(name, durable, exclusive, auto_delete, arguments, passive):
            channel.queue_declare(
                name,
                passive=passive,
                durable=durable,
                exclusive=exclusive,
                auto_delete=auto_delete,
                arguments=arguments,
            )
        case Bind(target, source, key, arguments, exchange):
            bind = channel.exchange_bind if exchange else channel.queue_bind
            bind(target, source, routing_key=key, arguments=arguments)
