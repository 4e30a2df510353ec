"""Queues, exchanges and bindings, under the names that kombu's users know.

A message goes to an exchange with a routing key, and from there to the queues whose
bindings fit. The nameless exchange leads to the queue that the routing key names; a
``Queue`` without an exchange uses that one.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Self

import msgspec
from msgspec.structs import fields, force_setattr, replace

from taskq.exceptions import ImproperlyConfigured

EXCHANGE_TYPES = frozenset({"direct", "topic", "fanout", "headers"})

# The type checker's view of the arguments must not change where a mapping is left out.
_Arguments = Mapping[str, Any] | None


class Exchange(msgspec.Struct, frozen=True):
    """An exchange.

    Attributes:
        name: empty for the nameless one.
        type: direct, topic, fanout, or (AMQP alone) headers or a plugin's own.
        durable: it outlives a restart of the broker.
        auto_delete: it goes when its last queue does.
        delivery_mode: of messages sent to it: 1 in memory, 2 on disk; None is the setting
            ``task_default_delivery_mode``.
        arguments: what else the broker is told when it is declared.
        bindings: exchanges that it gets messages from (AMQP alone).
        no_declare: it is there already.
    """

    name: str = ""
    type: str = "direct"
    durable: bool = True
    auto_delete: bool = False
    delivery_mode: int | None = None
    arguments: _Arguments = None
    bindings: tuple["binding", ...] = ()
    no_declare: bool = False

    def __post_init__(self) -> None:
        if self.type not in EXCHANGE_TYPES and not self.type.startswith("x-"):
            raise ImproperlyConfigured(
                f"exchange {self.name!r} has type {self.type!r}: "
                f"it must be one of {', '.join(sorted(EXCHANGE_TYPES))} or begin with x-"
            )
        force_setattr(self, "bindings", tuple(self.bindings))

    def __hash__(self) -> int:
        return hash((self.name, self.type))


class binding(msgspec.Struct, frozen=True):  # noqa: N801 - the name that kombu's users know
    """An exchange and the routing key with which something is bound to it.

    Attributes:
        exchange: where messages come from.
        routing_key: which of them; a pattern if the exchange is of type topic.
        arguments: for exchanges of type headers: the headers to match.
    """

    exchange: Exchange
    routing_key: str = ""
    arguments: _Arguments = None

    def __hash__(self) -> int:
        return hash((self.exchange, self.routing_key))


class Queue(msgspec.Struct, frozen=True):
    """A queue.

    Attributes:
        name: the queue's name.
        exchange: the exchange that it is bound to, or its name; the nameless one if not given.
        routing_key: of that binding; the queue's name if not given.
        bindings: more exchanges that it gets messages from.
        durable: it outlives a restart of the broker.
        exclusive: for one connection, and gone with it.
        auto_delete: it goes when its last consumer does.
        max_priority: the highest priority, for brokers that must know it beforehand.
        queue_arguments: what else the broker is told when it is declared.
        binding_arguments: for an exchange of type headers: the headers to match.
        consumer_arguments: what the broker is told by those who consume it.
        expires: seconds after which an unused queue goes.
        message_ttl: seconds after which a waiting message goes.
        max_length: messages that it holds.
        max_length_bytes: bytes that it holds.
        no_declare: it is there already.
    """

    name: str
    exchange: Exchange = Exchange()
    routing_key: str = ""
    bindings: tuple[binding, ...] = ()
    durable: bool = True
    exclusive: bool = False
    auto_delete: bool = False
    max_priority: int | None = None
    queue_arguments: _Arguments = None
    binding_arguments: _Arguments = None
    consumer_arguments: _Arguments = None
    expires: float | None = None
    message_ttl: float | None = None
    max_length: int | None = None
    max_length_bytes: int | None = None
    no_declare: bool = False

    def __post_init__(self) -> None:
        if not self.name or not isinstance(self.name, str):
            raise ImproperlyConfigured(f"a queue's name must be text, not {self.name!r}")
        # kombu takes names and None here, and so do the settings of those who come from it.
        given: object = self.exchange
        if not isinstance(given, Exchange):
            force_setattr(self, "exchange", Exchange(str(given or "")))
        force_setattr(self, "routing_key", self.routing_key or self.name)
        force_setattr(self, "bindings", tuple(self.bindings))

    def __hash__(self) -> int:
        return hash((self.name, self.exchange, self.routing_key))

    def all_bindings(self) -> Iterator[binding]:
        """Yield all bindings but that to the nameless exchange, which needs no declaring."""
        if self.exchange.name:
            yield binding(self.exchange, self.routing_key, self.binding_arguments)
        yield from self.bindings

    def address(self) -> tuple[str, str]:
        """Return exchange and routing key of a message that is meant for this queue."""
        # A queue of a direct exchange is reached without it, declared or not, as in Celery.
        if not self.exchange.name or self.exchange.type == "direct":
            return "", self.name
        return self.exchange.name, self.routing_key

    def for_consumer(self, unique: str) -> Self:
        """Return the queue that one consumer declares: this one.

        Args:
            unique: a name that no other consumer has.
        """
        return self

    @classmethod
    def from_options(cls, name: str, options: Mapping[str, Any]) -> Self:
        """Make a queue from a mapping, as in ``task_queues = {name: options}``.

        Args:
            name: the queue's name.
            options: attributes by name, and ``exchange_type``; ``exchange`` may be a name,
                and ``binding_key`` stands for ``routing_key``.

        Raises:
            ImproperlyConfigured: an option is not known.
        """
        known = {item.name for item in fields(cls)} - {"name"}
        rest = dict(options)
        kind = rest.pop("exchange_type", None)
        key = rest.pop("binding_key", None)
        if unknown := rest.keys() - known:
            raise ImproperlyConfigured(
                f"queue {name!r} has unknown options {', '.join(sorted(unknown))}: "
                f"the known ones are exchange_type, {', '.join(sorted(known))}"
            )
        exchange = rest.pop("exchange", None)
        if not isinstance(exchange, Exchange):
            exchange = Exchange(exchange or "", kind or "direct")
        return cls(name, exchange, key or rest.pop("routing_key", None) or "", **rest)


class Broadcast(Queue, frozen=True):
    """A queue whose messages go to every worker: each declares a queue of its own.

    Those are bound to a fanout exchange of this name, and go when their worker does.
    """

    def __post_init__(self) -> None:
        if self.exchange in (Exchange(), None):
            force_setattr(self, "exchange", Exchange(self.name, "fanout"))
        super().__post_init__()

    def for_consumer(self, unique: str) -> Self:
        """Return the queue that one worker declares and consumes.

        Args:
            unique: a name that no other consumer has.
        """
        return replace(self, name=f"{self.name}.{unique}", auto_delete=True)
