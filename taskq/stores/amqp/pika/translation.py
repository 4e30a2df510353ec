"""Between pika's messages and ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pika

from taskq.exceptions import EncodeError
from taskq.stores.amqp.links import Bind, DeclareExchange, DeclareQueue, Step
from taskq.stores.amqp.parcels import Arrival, Parcel
from taskq.stores.amqp.tables import encode_table


class _Properties(pika.BasicProperties):  # type: ignore[misc]  # pika has no types
    """Writes headers as RabbitMQ has them, floating-point numbers included."""

    def encode(self) -> list[bytes]:
        flags, pieces = 0, []
        for flag, text in (
            (self.FLAG_CONTENT_TYPE, self.content_type),
            (self.FLAG_CONTENT_ENCODING, self.content_encoding),
        ):
            if text is not None:
                flags |= flag
                pieces.append(_short(text))
        if self.headers is not None:
            flags |= self.FLAG_HEADERS
            pieces.append(encode_table(self.headers))
        for flag, number in (
            (self.FLAG_DELIVERY_MODE, self.delivery_mode),
            (self.FLAG_PRIORITY, self.priority),
        ):
            if number is not None:
                flags |= flag
                pieces.append(bytes((number,)))
        for flag, text in (
            (self.FLAG_CORRELATION_ID, self.correlation_id),
            (self.FLAG_REPLY_TO, self.reply_to),
            (self.FLAG_EXPIRATION, self.expiration),
            (self.FLAG_MESSAGE_ID, self.message_id),
        ):
            if text is not None:
                flags |= flag
                pieces.append(_short(text))
        return [flags.to_bytes(2), *pieces]


def _short(text: str) -> bytes:
    """AMQP's short string."""
    data = text.encode()
    if len(data) > 255:
        raise EncodeError(f"{text[:40]!r}… is longer than the 255 bytes that AMQP has for it")
    return bytes((len(data),)) + data


def to_properties(parcel: Parcel) -> _Properties:
    """The properties of a message that is sent."""
    return _Properties(
        content_type=parcel.content_type,
        content_encoding=parcel.content_encoding,
        headers=parcel.headers,
        delivery_mode=parcel.delivery_mode,  # pyright: ignore[reportArgumentType]
        priority=parcel.priority,
        correlation_id=parcel.correlation_id,
        reply_to=parcel.reply_to,
        expiration=parcel.expiration,
        message_id=parcel.message_id,
    )


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
