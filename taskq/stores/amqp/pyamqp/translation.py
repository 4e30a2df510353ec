"""Between py-amqp's messages and ours."""

from __future__ import annotations

from typing import Any

from taskq.stores.amqp.links import Bind, DeclareExchange, DeclareQueue, Step
from taskq.stores.amqp.parcels import Arrival, Parcel


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
