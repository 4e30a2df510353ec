"""dramatiq, on Redis or RabbitMQ by the broker's URL; results, where kept, are in Redis."""

from __future__ import annotations

import time
from typing import Any

import dramatiq
from dramatiq.broker import Broker
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import ResultMissing, Results
from dramatiq.results.backends import RedisBackend

from benchmarks.adapters.base import Adapter, Setup
from benchmarks.marks import Marks

setup = Setup.from_environ()
marks = Marks(setup.marks)
broker: Broker = (
    RabbitmqBroker(url=setup.broker)
    if setup.broker.startswith("amqp")
    else RedisBroker(url=setup.broker)
)
if setup.keep_results:
    broker.add_middleware(Results(backend=RedisBackend(url=setup.results)))
dramatiq.set_broker(broker)
options: dict[str, Any] = {"store_results": True} if setup.keep_results else {}


@dramatiq.actor(queue_name=setup.queue, **options)
def mark(slot: int) -> int:
    """Does nothing but leave the clock."""
    return marks.put(slot)


@dramatiq.actor(queue_name=setup.queue, **options)
def hold(slot: int, seconds: float) -> int:
    """Keeps a worker process busy."""
    time.sleep(seconds)
    return marks.put(slot)


class Peer(Adapter):
    """Blocking producer."""

    async def enqueue(self, slot: int) -> Any:
        return mark.send(slot)

    async def enqueue_hold(self, slot: int, seconds: float) -> Any:
        return hold.send(slot, seconds)

    async def wait(self, handle: Any, timeout: float) -> Any:
        return handle.get_result(block=True, timeout=int(timeout * 1000))

    async def ready(self, handle: Any) -> bool:
        try:
            handle.get_result()
        except ResultMissing:
            return False
        return True
