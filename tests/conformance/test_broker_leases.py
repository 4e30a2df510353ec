"""Every broker: a delivery is leased, and whoever settles it first wins."""

from __future__ import annotations

import asyncio
import time

import pytest

from taskq.brokers.base import Consumer, Delivery, QueueDepth, Settlement
from taskq.routing import Broadcast
from tests.conformance.brokers import (
    LONG,
    PATIENCE,
    SHORT,
    Consumers,
    Site,
    dead,
    done,
    lose_lease,
    message,
    nothing_but,
    number,
    numbers,
    outcome,
    requeue,
    take,
    take_one,
)

# The lease


@pytest.mark.needs("leases")
async def test_a_lease_that_ends_means_another_delivery(site: Site, consumer: Consumers) -> None:
    first, second = await consumer("q", lease=SHORT), await consumer("q")
    site.publish(message(7))
    mine = await take_one(first)
    leased = time.time()
    theirs = await take_one(second)
    assert time.time() >= leased + SHORT * 0.9
    assert (mine.deliveries, theirs.deliveries) == (1, 2)
    assert theirs.message == mine.message
    assert theirs.crashes == 0
    assert site.broker.depth("q") == QueueDepth(leased=1)


@pytest.mark.needs("leases")
async def test_a_consumer_gets_back_what_it_has_lost_itself(
    site: Site, consumer: Consumers
) -> None:
    receiver = await consumer("q", lease=SHORT)
    site.publish(message(7))
    assert [(await take_one(receiver)).deliveries for _ in range(3)] == [1, 2, 3]


@pytest.mark.needs("leases")
async def test_a_message_whose_lease_has_ended_is_before_later_ones(
    site: Site, consumer: Consumers
) -> None:
    site.publish(message(0))
    await take_one(await consumer("q", lease=SHORT))
    site.publish_numbers(range(1, 4))
    await asyncio.sleep(1.2 * SHORT)  # the lease itself, which the broker's clock must see end
    assert numbers(await take(await consumer("q"), 4)) == [0, 1, 2, 3]


@pytest.mark.needs("leases")
async def test_extending_keeps_a_lease(site: Site, consumer: Consumers) -> None:
    first, second = await consumer("q", lease=3 * SHORT), await consumer("q")
    site.publish_numbers(range(3))
    mine = await take(first, 3)
    waiting = asyncio.create_task(take(second))
    end = time.monotonic() + 7 * SHORT
    while time.monotonic() < end:
        await asyncio.sleep(SHORT / 5)
        assert await first.extend(mine[:2]) == []
    (other,) = await waiting  # the one that was not extended
    assert (number(other), other.deliveries) == (2, 2)
    await first.settle([done(delivery) for delivery in mine[:2]])
    await second.settle([done(other)])
    await nothing_but(second, site)


@pytest.mark.needs("leases")
async def test_extending_tells_what_is_lost(site: Site, consumer: Consumers) -> None:
    first, second = await consumer("q", lease=SHORT), await consumer("q")
    mine, theirs = await lose_lease(site, first, second)
    site.publish(message(1), message(2), message(3))
    kept, finished, returned = await take(first, 3)
    await first.settle([done(finished), requeue(returned, delay=LONG)])
    assert set(await first.extend([kept, finished, mine, returned])) == {finished, mine, returned}
    assert await second.extend([theirs]) == []
    assert await first.extend([]) == []


@pytest.mark.needs("leases")
async def test_extending_thousands(site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q")
    site.publish_numbers(range(2500))
    deliveries = await take(receiver, 2500)
    await receiver.settle([done(delivery) for delivery in deliveries[::2]])
    assert await receiver.extend(deliveries) == deliveries[::2]


# The gate


@pytest.mark.needs("leases")
async def test_the_first_settlement_wins_even_if_its_lease_is_lost(
    site: Site, consumer: Consumers
) -> None:
    first, second = await consumer("q", lease=SHORT), await consumer("q")
    mine, theirs = await lose_lease(site, first, second)
    await first.settle([_whole(mine, b"first")])
    await second.settle([_whole(theirs, b"second")])
    await _counted_once(site, second, mine, b"first")


@pytest.mark.needs("leases")
async def test_a_late_settlement_writes_nothing(site: Site, consumer: Consumers) -> None:
    first, second = await consumer("q", lease=SHORT), await consumer("q")
    mine, theirs = await lose_lease(site, first, second)
    await second.settle([_whole(theirs, b"second")])
    await first.settle([_whole(mine, b"first")])
    await _counted_once(site, second, mine, b"second")


def _whole(delivery: Delivery, payload: bytes) -> Settlement:
    follow_up = message(100 + delivery.deliveries)
    return done(delivery, outcome=outcome(delivery, payload=payload), follow_ups=[follow_up])


async def _counted_once(site: Site, receiver: Consumer, delivery: Delivery, payload: bytes) -> None:
    if site.broker.settles_into(site.backend):
        (stored,) = site.backend.fetch([delivery.message.id]).values()
        assert stored.payload == payload
    follow_up = await take_one(receiver)
    assert number(follow_up) == (101 if payload == b"first" else 102)
    await receiver.settle([done(follow_up)])
    await nothing_but(receiver, site)


@pytest.mark.needs("leases")
async def test_settling_what_waits_again(site: Site, consumer: Consumers) -> None:
    first, second = await consumer("q", lease=SHORT), await consumer("q")
    mine, _ = await lose_lease(site, first, second)
    await consumer.close(second)  # gives it back, so that nobody has it
    assert site.broker.depth("q").ready == 1
    await first.settle([_whole(mine, b"first")])
    await _counted_once(site, await consumer("q"), mine, b"first")


@pytest.mark.needs("leases")
async def test_a_late_requeue_does_not_disturb(site: Site, consumer: Consumers) -> None:
    first, second = await consumer("q", lease=SHORT), await consumer("q")
    mine, theirs = await lose_lease(site, first, second)
    await first.settle([requeue(mine, crashed=True)])
    assert site.broker.depth("q") == QueueDepth(leased=1)
    assert await second.extend([theirs]) == []
    await second.settle([requeue(theirs)])
    again = await take_one(second)
    assert (again.deliveries, again.crashes) == (3, 0)


@pytest.mark.needs("leases")
@pytest.mark.parametrize("first_wins", [True, False])
async def test_only_one_dead_letter(site: Site, consumer: Consumers, first_wins: bool) -> None:
    first, second = await consumer("q", lease=SHORT), await consumer("q")
    mine, theirs = await lose_lease(site, first, second)
    late = [(second, dead(theirs, "second")), (first, dead(mine, "first"))]
    for who, settlement in late[::-1] if first_wins else late:
        await who.settle([settlement])
    (letter,) = site.broker.dead_letters()
    assert letter.reason == ("first" if first_wins else "second")
    await nothing_but(second, site)


async def test_the_first_of_one_batch_wins(site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q")
    site.publish(message(7))
    delivery = await take_one(receiver)
    settlement = _whole(delivery, b"first")
    twice = [settlement, _whole(delivery, b"second"), dead(delivery), dead(delivery)]
    await receiver.settle(twice)
    assert site.broker.dead_letters() == []
    await _counted_once(site, receiver, delivery, b"first")


# Closing


@pytest.mark.needs("unused")
async def test_closing_gives_back_what_is_unsettled(site: Site, consumer: Consumers) -> None:
    first, second = await consumer("q"), await consumer("q")
    site.publish_numbers(range(5))
    mine = await take(first, 4)
    await first.settle([done(mine[1])])
    waiting = asyncio.create_task(take(second, 4, limit=1))
    await consumer.close(first)
    found = await waiting
    assert sorted(numbers(found)) == [0, 2, 3, 4]
    assert [delivery.deliveries for delivery in found] == [1, 1, 1, 1]


@pytest.mark.needs("order")
async def test_what_is_given_back_is_first_again(site: Site, consumer: Consumers) -> None:
    first = await consumer("q")
    site.publish(message(0), message(1), message(2, priority=9))
    assert numbers(await take(first, 2)) == [2, 0]
    site.publish(message(3, priority=9), message(4))
    await consumer.close(first)
    found = await take(await consumer("q"), 5)
    assert numbers(found) == [2, 3, 0, 1, 4]


@pytest.mark.needs("leases")
async def test_closing_does_not_take_from_others(site: Site, consumer: Consumers) -> None:
    first, second = await consumer("q", lease=SHORT), await consumer("q")
    _, theirs = await lose_lease(site, first, second)
    await consumer.close(first)
    assert site.broker.depth("q") == QueueDepth(leased=1)
    assert await second.extend([theirs]) == []


# Queues of one consumer


async def test_a_broadcast_reaches_every_consumer(site: Site, consumer: Consumers) -> None:
    news = Broadcast("news")
    receivers = [await consumer(news.for_consumer(f"w{n}"), "q") for n in range(3)]
    site.publish(message(1, "any key", exchange="news"))
    for receiver in receivers:
        delivery = await take_one(receiver)
        assert number(delivery) == 1
        await receiver.settle([done(delivery)])


async def test_a_broadcast_queue_goes_with_its_consumer(site: Site, consumer: Consumers) -> None:
    news = Broadcast("news")
    mine, theirs = news.for_consumer("w1"), news.for_consumer("w2")
    first, second = await consumer(mine), await consumer(theirs)
    site.publish(message(1, "", exchange="news"))
    await take_one(first)
    await consumer.close(first)
    assert mine.name not in site.broker.queues()
    assert theirs.name in site.broker.queues()
    site.publish(message(2, "", exchange="news"))
    assert site.broker.depth(mine.name) == QueueDepth()
    assert numbers(await take(second, 2)) == [1, 2]


async def test_a_busy_consumer_keeps_its_queue(site: Site, consumer: Consumers) -> None:
    """It may be too busy to receive for long; renewing its leases is sign of life enough."""
    mine = Broadcast("news").for_consumer("busy")
    busy, idle = await consumer(mine, lease=2 * SHORT), await consumer("q", lease=SHORT)
    site.publish(message(1, "", exchange="news"))
    work = await take_one(busy)
    waiting = asyncio.create_task(take_one(idle))
    end = time.monotonic() + 6 * SHORT
    while time.monotonic() < end:
        await asyncio.sleep(SHORT / 5)
        assert await busy.extend([work]) == []
    site.publish(message(2, "", exchange="news"), message(3))
    async with asyncio.timeout(PATIENCE):
        assert number(await waiting) == 3
    assert number(await take_one(busy)) == 2
