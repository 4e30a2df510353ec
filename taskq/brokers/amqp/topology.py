"""What must be declared for a queue, its dead letters, and messages that wait."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from taskq.exceptions import ImproperlyConfigured
from taskq.message import MAX_PRIORITY
from taskq.routing import Broadcast, Exchange, Queue
from taskq.stores.amqp.address import Address
from taskq.stores.amqp.links import Bind, DeclareExchange, DeclareQueue, Step

DEAD_EXCHANGE = "taskq.dead"
"""Dead letters are published here with the name of their queue."""
REVOKED = "taskq.revoked"
"""A stream of revoked tasks."""
PAUSED = "taskq.paused"
"""A stream of queues that were paused and resumed."""

_BROADCAST_LIFE = 90_000
"""Milliseconds that a worker's own queue outlives its connection, so that a reconnecting worker
misses nothing; one that stops deletes it."""

# Delayed messages wait in Celery's queues, so that both serve each other's
# (kombu 5.7, kombu/transport/native_delayed_delivery.py): one for each bit of the delay in
# seconds. A message begins at the highest, waits there or passes by as its bit says, and goes on
# to the next; behind the lowest stands the exchange that delivers.
_BITS = 28
LONGEST_DELAY = 2**_BITS - 1
"""Seconds, about eight and a half years; what waits longer begins anew after that."""
DELAYED = "celery_delayed_"
"""What the names of all these begin with."""
DELIVERY_EXCHANGE = f"{DELAYED}delivery"
DELAY_EXCHANGE = f"{DELAYED}{_BITS - 1}"


def dead_queue(queue: str) -> str:
    """The queue that holds the dead letters of a queue."""
    return f"{queue}.dead"


def priority_queues(queue: Queue, address: Address) -> list[str]:
    """The queues of a quorum queue's priorities above 0, the most urgent first.

    RabbitMQ before 4.0 refuses ``x-max-priority`` on quorum queues.
    """
    if queue_type(queue, address) != "quorum":
        return []
    highest = _highest(queue, address, 0)
    return [priority_queue(queue.name, n) for n in range(min(highest, MAX_PRIORITY), 0, -1)]


def priority_queue(queue: str, priority: int) -> str:
    """The queue that holds messages of one priority, where these are parallel queues."""
    return f"{queue}.priority.{priority}" if priority else queue


def queue_type(queue: Queue, address: Address) -> str:
    """Classic or quorum.

    Raises:
        ImproperlyConfigured: it is another.
    """
    if _passing(queue):
        return "classic"  # only those can be exclusive, transient or of one worker
    kind = (queue.queue_arguments or {}).get("x-queue-type", address.queue_type)
    if kind not in ("classic", "quorum"):
        raise ImproperlyConfigured(
            f"queue {queue.name!r} has the type {kind!r}: tasks need a classic or quorum queue, "
            "since a stream keeps what has been done"
        )
    return str(kind)


def _highest(queue: Queue, address: Address, default: int) -> int:
    """The highest priority of a queue."""
    for highest in (queue.max_priority, address.max_priority):
        if highest is not None:
            return highest
    return default


def _passing(queue: Queue) -> bool:
    return queue.auto_delete or queue.exclusive or not queue.durable


def queue_arguments(queue: Queue, address: Address) -> dict[str, Any] | None:
    """What the broker is told of a queue."""
    kind = queue_type(queue, address)
    arguments: dict[str, Any] = {}
    if kind == "quorum":
        arguments["x-queue-type"] = "quorum"
    else:
        # Celery declares queues with priorities only where that is asked for.
        highest = _highest(queue, address, 0 if address.interop else MAX_PRIORITY)
        if highest:
            arguments["x-max-priority"] = highest
        if not _passing(queue) and not address.interop:
            # Before RabbitMQ 3.12 a classic queue holds all of its messages in the memory of one
            # Erlang process, which collects garbage more the more of them wait.  Since then every
            # classic queue is lazy, and this says nothing.
            arguments["x-queue-mode"] = "lazy"
    for name, value, scale in [
        ("x-expires", queue.expires, 1000),
        ("x-message-ttl", queue.message_ttl, 1000),
        ("x-max-length", queue.max_length, 1),
        ("x-max-length-bytes", queue.max_length_bytes, 1),
    ]:
        if value is not None:
            arguments[name] = math.ceil(value * scale)
    if isinstance(queue, Broadcast):
        arguments.setdefault("x-expires", _BROADCAST_LIFE)
    if queue.max_length is not None or queue.max_length_bytes is not None:
        # The default of RabbitMQ is to drop the oldest message in silence.
        arguments["x-overflow"] = "reject-publish"
    return {**arguments, **(queue.queue_arguments or {})} or None


def declaring(queue: Queue, address: Address) -> Iterator[Step]:
    """The steps that declare a queue, with its exchanges and bindings."""
    if not queue.no_declare:
        arguments = queue_arguments(queue, address)
        yield DeclareQueue(
            queue.name,
            queue.durable,
            queue.exclusive,
            queue.auto_delete and not isinstance(queue, Broadcast),
            arguments,
        )
        for name in priority_queues(queue, address):
            yield DeclareQueue(name, True, False, False, arguments)
    for bound in queue.all_bindings():
        yield from _exchange(bound.exchange)
        yield Bind(queue.name, bound.exchange.name, bound.routing_key, _plain(bound.arguments))


def _exchange(exchange: Exchange) -> Iterator[Step]:
    """The steps that declare an exchange, and those that it gets messages from."""
    if not exchange.no_declare and exchange.name and not exchange.name.startswith("amq."):
        yield DeclareExchange(
            exchange.name,
            exchange.type,
            exchange.durable,
            exchange.auto_delete,
            _plain(exchange.arguments),
        )
    for bound in exchange.bindings:
        yield from _exchange(bound.exchange)
        yield Bind(
            exchange.name, bound.exchange.name, bound.routing_key, _plain(bound.arguments), True
        )


def _plain(arguments: Any) -> dict[str, Any] | None:
    return dict(arguments) if arguments else None


def declaring_dead(queue: str, address: Address) -> Iterator[Step]:
    """The steps that declare where a queue's dead letters go."""
    kind = {"x-queue-type": "quorum"} if address.queue_type == "quorum" else None
    yield DeclareExchange(DEAD_EXCHANGE, "direct")
    yield DeclareQueue(dead_queue(queue), arguments=kind)
    yield Bind(dead_queue(queue), DEAD_EXCHANGE, queue)


# Delayed messages


def declaring_delays(kind: str) -> Iterator[Step]:
    """The steps that declare the queues in which delayed messages wait.

    Args:
        kind: of the queues: quorum or classic.
    """
    yield DeclareExchange(DELIVERY_EXCHANGE, "topic")
    for level in range(_BITS):
        name = f"{DELAYED}{level}"
        onward = f"{DELAYED}{level - 1}" if level else DELIVERY_EXCHANGE
        arguments = {
            "x-queue-type": kind,
            "x-overflow": "reject-publish",
            "x-message-ttl": 2**level * 1000,
            "x-dead-letter-exchange": onward,
        }
        if kind == "quorum":
            arguments["x-dead-letter-strategy"] = "at-least-once"
        above = "*." * (_BITS - 1 - level)
        yield DeclareExchange(name, "topic")
        yield DeclareQueue(name, arguments=arguments)
        yield Bind(name, name, f"{above}1.#")
        yield Bind(onward, name, f"{above}0.#", exchange=True)


def delay_target(exchange: str, routing_key: str) -> Bind:
    """The binding by which a delayed message comes to where it is meant for.

    It must be there before the message is published, since the broker confirms, and in the
    end drops, what is bound nowhere when it is due.
    """
    key = "*." * _BITS + routing_key
    return Bind(exchange or routing_key, DELIVERY_EXCHANGE, key, exchange=bool(exchange))


def delayed_key(seconds: int, routing_key: str) -> str:
    """The routing key of a message that waits for so many whole seconds."""
    bits = f"{min(seconds, LONGEST_DELAY):0{_BITS}b}"
    return ".".join(bits) + "." + routing_key


def undelayed_key(routing_key: str) -> str:
    """The key with which it would have been published without a delay."""
    head = routing_key[: 2 * _BITS]
    if len(head) == 2 * _BITS and set(head[::2]) <= {"0", "1"} and set(head[1::2]) == {"."}:
        return routing_key[2 * _BITS :]
    return routing_key
