"""Between pika's messages and ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taskq.stores.amqp.links import Bind, DeclareExchange, DeclareQueue, Step
from taskq.stores.amqp.parcels import Arrival, Parcel


def to_arrival(queue: str, method: Any, properties: Any, body: bytes) -> Arrival:
    """What pika hands over with a message."""
    parcel = Parcel(
        body,
        properties.headers or {},
        method.exchange,
        method.routing_key,
        properties.content_type,
        properties.content_encoding,
        properties.priority,
        properties.correlation_id,
        properties.reply_to,
        properties.message_id,
        properties.delivery_mode,
        properties.expiration,
    )
    return Arrival(parcel, queue, method.delivery_tag, bool(method.redelivered))


def run_step(channel: Any, step: Step, done: Callable[[Any], None]) -> None:
    """Declare or bind something; `done` is called with the broker's answer."""
    match step:
        case DeclareExchange(name, kind, durable, auto_delete, arguments, passive):
            channel.exchange_declare(
                name,
                kind,
                passive=passive,
                durable=durable,
                auto_delete=auto_delete,
                arguments=arguments,
                callback=done,
            )
        case DeclareQueue(name, durable, exclusive, auto_delete, arguments, passive):
            channel.queue_declare(
                name,
                passive=passive,
                durable=durable,
                exclusive=exclusive,
                auto_delete=auto_delete,
                arguments=arguments,
                callback=done,
            )
        case Bind(target, source, key, arguments, exchange):
            bind = channel.exchange_bind if exchange else channel.queue_bind
            bind(target, source, routing_key=key, arguments=arguments, callback=done)
