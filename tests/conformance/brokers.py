"""The brokers that must keep the contract.  Adding one is one entry in `BROKERS`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from taskq.backends.base import Backend, Outcome
from taskq.backends.registry import make_backend
from taskq.brokers.base import Broker, Consumer, Delivery, Fate, Settlement
from taskq.brokers.registry import make_broker
from taskq.message import TaskMessage, new_id
from taskq.routing import Exchange, Queue
from taskq.settings import Settings
from tests.conformance.places import (
    amqp_url,
    cluster_url,
    oldest_redis_url,
    one_slot_url,
    pika_url,
    redis_url,
    sentinel_url,
    sqs_url,
    tls_url,
    valkey_url,
)

LONG = 60.0
"""Seconds of a lease that does not end during a test."""
SHORT = 0.2
"""Seconds of a lease whose end a test waits for."""
PATIENCE = 20.0
"""Seconds after which a message that does not come is taken to be lost."""


@dataclass(frozen=True)
class BrokerKind:
    """One broker, and what it can do.

    Attributes:
        name: shown in the names of tests.
        url: where it is; a URL asked for twice in a test names the same place.
        stop_polling: makes it look for news only when it is woken, if it polls.
        survives_restart: what it holds is there for whoever opens it next.
        slow: another way to run a server that is tested already; tested with the slow tests.
        many_processes: several processes can use it at a time.
        one_step: it settles into the result store of the same URL.
        options: transport options.
        lacks: what of the contract it cannot keep, in words of the marker ``needs``; the
            broker's page in the documentation says so as well.
    """

    name: str
    url: Callable[[pytest.FixtureRequest], str]
    stop_polling: Callable[[pytest.MonkeyPatch], None] = lambda monkeypatch: None
    survives_restart: bool = True
    many_processes: bool = True
    slow: bool = False
    one_step: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    lacks: frozenset[str] = frozenset()

    def marks(self) -> list[pytest.MarkDecorator]:
        """How tests of it are marked."""
        return [pytest.mark.slow] * self.slow


def _sqlite_url(request: pytest.FixtureRequest) -> str:
    return f"sqlite:///{request.getfixturevalue('tmp_path')}/taskq.db"


def _stop_polling_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_POLL", "LAST_POLL"):
        monkeypatch.setattr(f"taskq.brokers.sqlite.subscriptions.{name}", 3600.0)
        monkeypatch.setattr(f"taskq.brokers.sqlite.consumer.{name}", 3600.0)


def _stop_polling_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskq.brokers.redis.consumer._IDLE", 3600.0)


_RABBITMQ: Any = {
    "one_step": False,
    "lacks": frozenset(
        (
            *("leases", "counts", "keys", "order", "pull", "unused", "no headers exchanges"),
            "hastening",
        )
    ),
}


def _kombu_memory_url(request: pytest.FixtureRequest) -> str:
    from kombu.transport.memory import Channel

    if "kombu_memory" not in request.fixturenames:
        Channel.queues.clear()
        request.fixturenames.append("kombu_memory")
    return "kombu+memory://"


def _kombu_redis_url(request: pytest.FixtureRequest) -> str:
    return f"kombu+{redis_url(request)}"


def _kombu_filesystem_url(request: pytest.FixtureRequest) -> str:
    folder: Path = request.getfixturevalue("tmp_path") / "messages"
    folder.mkdir(exist_ok=True)
    return f"kombu+filesystem://{folder}"


_KOMBU: Any = {
    "one_step": False,
    "lacks": (_RABBITMQ["lacks"] - {"no headers exchanges"})
    | {
        "priorities",
        "to know what was unused",
        "shared bindings",
        "quick leases",
        "revoking",
        "pauses",
        "notices",
    },
}


def _lacking(*more: str) -> Any:
    """A transport of kombu's that lacks more than the others."""
    return {**_KOMBU, "lacks": _KOMBU["lacks"].union(more)}


BROKERS = (
    BrokerKind(
        "kombu-memory", _kombu_memory_url, survives_restart=False, many_processes=False, **_KOMBU
    ),
    BrokerKind("kombu-redis", _kombu_redis_url, **_KOMBU),
    BrokerKind("kombu-filesystem", _kombu_filesystem_url, **_KOMBU),
    BrokerKind(
        "kombu-sqs",
        sqs_url,
        # Otherwise each look into an empty queue takes a second.
        options={"wait_time_seconds": 0},
        many_processes=False,  # moto answers all of them one after the other
        slow=True,
        **_lacking("order of publishing", "large bodies"),
    ),
    BrokerKind("sqlite", _sqlite_url, _stop_polling_sqlite),
    BrokerKind("redis", redis_url, _stop_polling_redis),
    BrokerKind("redis-6.2", oldest_redis_url, _stop_polling_redis, slow=True),
    BrokerKind("valkey", valkey_url, _stop_polling_redis, slow=True),
    BrokerKind("redis-tls", tls_url, _stop_polling_redis, slow=True),
    BrokerKind("redis-sentinel", sentinel_url, _stop_polling_redis, slow=True),
    BrokerKind("redis-cluster", cluster_url, _stop_polling_redis, one_step=False, slow=True),
    BrokerKind("redis-cluster-slot", one_slot_url, _stop_polling_redis, slow=True),
    BrokerKind("amqp", amqp_url, **_RABBITMQ),
    BrokerKind("pika", pika_url, **_RABBITMQ),
    BrokerKind("memory", lambda request: "memory://", survives_restart=False, many_processes=False),
)


def params(feature: str = "name") -> list[Any]:
    """The parameters of a fixture or a test that wants each of them that has a feature."""
    return [
        pytest.param(kind, id=kind.name, marks=kind.marks())
        for kind in BROKERS
        if getattr(kind, feature)
    ]


def having(feature: str) -> pytest.MarkDecorator:
    """Run a test with those brokers alone that have a feature."""
    return pytest.mark.parametrize("kind", params(feature), indirect=True)


class Site:
    """A broker and its result store, and consumers of it that are closed after the test."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self.url = url
        conf = Settings(broker_transport_options=dict(options or {}))
        self.broker: Broker = make_broker(url, conf)
        # RabbitMQ stores no results.
        results = "memory://" if url.startswith(("amqp", "pika", "kombu")) else url
        self.backend: Backend = make_backend(results, Settings())

    def close(self) -> None:
        self.broker.close()
        self.backend.close()

    def publish(self, *messages: TaskMessage) -> None:
        self.broker.publish(messages)

    def publish_numbers(self, numbers: Sequence[int], queue: str = "q", **more: Any) -> None:
        self.broker.publish([message(n, queue, **more) for n in numbers])


class Consumers:
    """Makes consumers of a site, and closes them."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._open: list[Consumer] = []

    async def __call__(
        self, *queues: str | Queue, lease: float = LONG, backend: Backend | None = None
    ) -> Consumer:
        declared = [q if isinstance(q, Queue) else Queue(q) for q in queues or ("q",)]
        self._site.broker.declare(declared)
        consumer = self._site.broker.consumer(
            declared, lease=lease, backend=backend or self._site.backend
        )
        self._open.append(consumer)
        return consumer

    async def close(self, consumer: Consumer) -> None:
        self._open.remove(consumer)
        await consumer.close()

    async def close_all(self) -> None:
        while self._open:
            await self.close(self._open[-1])


def message(
    n: int = 0,
    queue: str = "q",
    *,
    priority: int = 0,
    due: float | None = None,
    once: str | None = None,
    exchange: str = "",
    task_id: str | None = None,
) -> TaskMessage:
    """A message that bears a number."""
    return TaskMessage(
        {"id": task_id or new_id(), "task": "proj.add", "n": n},
        b"[[1, 2], {}, {}]",
        exchange=exchange,
        routing_key=queue,
        priority=priority,
        due=due,
        once=once,
    )


def unreadable(queue: str = "q") -> TaskMessage:
    """A message that can be published, and not be read by whoever receives it."""
    return TaskMessage({"neither id": "nor task"}, b"?", routing_key=queue)


def bound(name: str, exchange: str, kind: str, key: str) -> Queue:
    return Queue(name, Exchange(exchange, kind), key)


def number(item: Delivery | TaskMessage) -> int:
    headers = item.message.headers if isinstance(item, Delivery) else item.headers
    return int(headers["n"])


def numbers(items: Sequence[Delivery | TaskMessage]) -> list[int]:
    return [number(item) for item in items]


async def take(consumer: Consumer, count: int = 1, limit: int | None = None) -> list[Delivery]:
    """Receive exactly so many deliveries, in as many calls as that takes."""
    deliveries: list[Delivery] = []
    async with asyncio.timeout(PATIENCE):
        while len(deliveries) < count:
            deliveries += await consumer.receive(limit or count - len(deliveries))
    assert len(deliveries) == count, "more than it was asked for"
    return deliveries


async def take_one(consumer: Consumer) -> Delivery:
    return (await take(consumer))[0]


async def nothing_but(consumer: Consumer, site: Site, queue: str = "q") -> None:
    """Nothing waits in the queue: what is published last, and is least urgent, comes first."""
    site.publish(message(-1, queue))
    delivery = (await take(consumer, 1, 100))[0]
    assert number(delivery) == -1
    await consumer.settle([done(delivery)])


async def lose_lease(site: Site, first: Consumer, second: Consumer) -> tuple[Delivery, Delivery]:
    """Publish one message, which the first consumer takes, and loses to the second.

    The first must have a short lease, the second a long one.
    """
    site.publish(message(7))
    return await take_one(first), await take_one(second)


def outcome(delivery: Delivery, state: str = "SUCCESS", payload: bytes = b"first") -> Outcome:
    return Outcome(delivery.message.id, state, payload)


def done(delivery: Delivery, **more: Any) -> Settlement:
    return Settlement(delivery, Fate.DONE, **more)


def requeue(delivery: Delivery, **more: Any) -> Settlement:
    return Settlement(delivery, Fate.REQUEUE, **more)


def dead(delivery: Delivery, reason: str = "no good", **more: Any) -> Settlement:
    return Settlement(delivery, Fate.DEAD, reason=reason, **more)
