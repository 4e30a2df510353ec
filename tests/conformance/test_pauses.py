"""Every broker: queues that are paused keep what they hold, also across restarts."""

from __future__ import annotations

import asyncio
import time

import pytest

from taskq.brokers.base import Broker, QueueDepth
from tests.conformance.brokers import (
    SHORT,
    Consumers,
    Site,
    done,
    having,
    message,
    number,
    numbers,
    requeue,
    take,
    take_one,
)

pytestmark = pytest.mark.needs("pauses")


def test_what_is_paused(broker: Broker) -> None:
    assert broker.paused() == []
    broker.publish([message(1, "a")])
    for name in ("b", "a", "b"):
        broker.pause(name)
    assert broker.paused() == ["a", "b"]
    broker.resume("a")
    broker.resume("a")
    broker.resume("never paused")
    assert broker.paused() == ["b"]
    assert "b" in broker.queues()  # one that was paused before it was there


async def test_nothing_is_taken_from_a_paused_queue(site: Site, consumer: Consumers) -> None:
    site.publish_numbers(range(3))
    site.publish_numbers(range(10, 13), "other", priority=0)
    site.broker.pause("q")
    receiver = await consumer("q", "other")
    assert numbers(await take(receiver, 3, 10)) == [10, 11, 12]
    assert site.broker.depth("q") == QueueDepth(ready=3)
    assert numbers(site.broker.browse("q", 10)) == [0, 1, 2]


async def test_whoever_waits_obeys_and_goes_on(site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q", "other")
    waiting = asyncio.create_task(take_one(receiver))
    await asyncio.to_thread(site.broker.pause, "q")
    await asyncio.to_thread(site.publish, message(1), message(2, "other"))
    assert number(await waiting) == 2
    again = await consumer("q")  # paused for those who come later, too
    later = asyncio.create_task(take_one(again))
    await asyncio.to_thread(site.broker.resume, "q")
    assert number(await later) == 1


async def test_all_queues_are_paused(site: Site, consumer: Consumers) -> None:
    site.broker.pause("q")
    waiting = asyncio.create_task(take_one(await consumer("q")))
    await asyncio.to_thread(site.publish, message(1))
    await asyncio.to_thread(site.broker.resume, "q")
    assert number(await waiting) == 1


async def test_what_has_been_taken_goes_on(site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q", lease=SHORT)
    site.publish_numbers(range(3))
    first, second, third = await take(receiver, 3)
    site.broker.pause("q")
    assert await receiver.extend([first, second, third]) == []
    await receiver.settle([done(first), requeue(second), requeue(third, delay=0.01)])
    assert site.broker.depth("q").leased == 0
    site.broker.resume("q")
    assert sorted(numbers(await take(receiver, 2))) == [1, 2]


async def test_what_becomes_due_waits(site: Site, consumer: Consumers) -> None:
    site.publish(message(1, due=time.time() + 0.05))
    site.broker.pause("q")
    receiver = await consumer("q", "other")
    await asyncio.sleep(0.1)  # the time itself, which must pass
    site.publish(message(2, "other"))
    assert number(await take_one(receiver)) == 2
    site.broker.resume("q")
    assert number(await take_one(receiver)) == 1


async def test_a_purge_leaves_it_paused(site: Site, consumer: Consumers) -> None:
    site.publish_numbers(range(3))
    site.broker.pause("q")
    assert site.broker.purge("q") == 3
    assert site.broker.paused() == ["q"]


@having("survives_restart")
async def test_it_stays_paused_across_restarts(site: Site) -> None:
    site.publish(message(1))
    site.broker.pause("q")
    site.close()
    again = Site(site.url)
    assert again.broker.paused() == ["q"]
    consumers = Consumers(again)
    receiver = await consumers("q", "other")
    again.publish(message(2, "other"))
    assert numbers(await take(receiver, 1, 10)) == [2]
    await consumers.close_all()
    again.close()
