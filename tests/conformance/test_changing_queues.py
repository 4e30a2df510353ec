"""Every broker: a consumer takes up queues and leaves others while it works."""

from __future__ import annotations

import asyncio

import pytest

from taskq.brokers.base import QueueDepth
from taskq.routing import Broadcast, Queue
from tests.conformance.brokers import (
    SHORT,
    Consumers,
    Site,
    done,
    message,
    number,
    numbers,
    requeue,
    take,
    take_one,
)

pytestmark = pytest.mark.needs("changes")


def declared(site: Site, *names: str) -> list[Queue]:
    queues = [Queue(name) for name in names]
    site.broker.declare(queues)
    return queues


async def test_one_more(site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q")
    site.publish(message(1, "more"))
    waiting = asyncio.create_task(take(receiver, 1))
    await asyncio.sleep(0)
    await receiver.change_queues(declared(site, "q", "more"))
    assert numbers(await waiting) == [1]
    site.publish(message(2), message(3, "more"))
    assert sorted(numbers(await take(receiver, 2))) == [2, 3]


@pytest.mark.needs("counts")
async def test_one_less(site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q", "more", lease=SHORT)
    site.publish(message(1, "more"), message(2, "more"), message(3, "more"))
    first, second, third = await take(receiver, 3)
    waiting = asyncio.create_task(take(receiver, 1))
    await asyncio.sleep(0)
    await receiver.change_queues(declared(site, "q"))
    # What it has of the other is its own as before.
    assert await receiver.extend([first, second, third]) == []
    await receiver.settle([done(first), requeue(second)])
    site.publish(message(4, "more"), message(5))
    assert numbers(await waiting) == [5]
    assert await receiver.extend([third]) == []
    assert site.broker.depth("more") == QueueDepth(ready=2, leased=1)
    await consumer.close(receiver)
    assert site.broker.depth("more") == QueueDepth(ready=3)


async def test_none_and_one_again(site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q")
    waiting = asyncio.create_task(take_one(receiver))
    await asyncio.sleep(0)
    await receiver.change_queues([])
    site.publish(message(1))
    await asyncio.sleep(0.05)  # time for what must not happen
    assert not waiting.done()
    await receiver.change_queues(declared(site, "q"))
    assert number(await waiting) == 1


async def test_several_changes_at_once(site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q")
    waiting = asyncio.create_task(take(receiver, 1))
    for names in (["a"], ["b"], [], ["b", "c"]):
        await receiver.change_queues(declared(site, *names))
    site.publish(message(1), message(2, "a"), message(3, "c"))
    assert numbers(await waiting) == [3]
    assert site.broker.depth("q").ready == site.broker.depth("a").ready == 1


async def test_a_queue_of_its_own_goes_with_it(site: Site, consumer: Consumers) -> None:
    mine = Broadcast("news").for_consumer("me")
    receiver = await consumer("q", mine)
    waiting = asyncio.create_task(take_one(receiver))
    await asyncio.sleep(0)
    await receiver.change_queues(declared(site, "q"))
    site.publish(message(1))
    assert number(await waiting) == 1
    assert mine.name not in site.broker.queues()
