"""Every broker: what is published is delivered, once, in order, and on time."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from taskq.brokers.base import Broker, QueueDepth
from taskq.exceptions import QueueNotFound
from taskq.message import TaskMessage, unpack
from tests.conformance.brokers import (
    PATIENCE,
    BrokerKind,
    Consumers,
    Site,
    done,
    message,
    nothing_but,
    number,
    numbers,
    take,
    take_one,
    unreadable,
)


async def test_a_message_arrives_as_it_was_sent(site: Site, consumer: Consumers) -> None:
    sent = TaskMessage(
        {"id": "1b3", "task": "proj.add", "n": 1, "stamps": {"a": [1, None, 2.5]}, "ä": "ö"},
        b"\x00\xff not text",
        content_type="application/x-python-serialize",
        content_encoding="binary",
        routing_key="q",
        priority=3,
        reply_to="somewhere",
        once="a key",
    )
    site.publish(sent)
    delivery = await take_one(await consumer("q"))
    assert delivery.message == sent
    assert unpack(delivery.packed) == sent
    assert (delivery.queue, delivery.deliveries, delivery.crashes) == ("q", 1, 0)


@pytest.mark.needs("large bodies")
async def test_large_bodies(site: Site, consumer: Consumers) -> None:
    sent = message(1)
    sent.body = bytes(range(256)) * 20_000
    site.publish(sent)
    assert (await take_one(await consumer("q"))).message.body == sent.body


@pytest.mark.needs("order of publishing")
async def test_many_arrive_in_the_order_of_publishing(site: Site, consumer: Consumers) -> None:
    site.publish_numbers(range(300))
    site.publish_numbers(range(300, 310))
    assert numbers(await take(await consumer("q"), 310, limit=128)) == list(range(310))


async def test_publishing_nothing(site: Site, consumer: Consumers) -> None:
    site.publish()
    await nothing_but(await consumer("q"), site)


async def test_all_or_none(site: Site, consumer: Consumers) -> None:
    messages = [message(1), message(2, "key", exchange="nowhere"), message(3)]
    with pytest.raises(QueueNotFound, match="'nowhere'"):
        site.publish(*messages)
    await nothing_but(await consumer("q"), site)


@pytest.mark.needs("order of publishing")
async def test_publishing_from_a_loop(site: Site, consumer: Consumers) -> None:
    await site.broker.apublish([message(n) for n in range(5)])
    assert numbers(await take(await consumer("q"), 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(QueueNotFound):
        await site.broker.apublish([message(1, "key", exchange="nowhere")])


@pytest.mark.needs("order of publishing")
async def test_publishing_from_many_threads(site: Site, consumer: Consumers) -> None:
    start = threading.Barrier(8)

    def publish(thread: int) -> None:
        start.wait()
        for n in range(200):
            site.publish(message(1000 * thread + n))

    receiving = asyncio.create_task(take(await consumer("q"), 1600, limit=100))
    with ThreadPoolExecutor(8) as threads:
        for future in [threads.submit(publish, thread) for thread in range(8)]:
            await asyncio.wrap_future(future)
    found = numbers(await receiving)
    for thread in range(8):
        mine = [n for n in found if n // 1000 == thread]
        assert mine == [1000 * thread + n for n in range(200)]


# Priorities


@pytest.mark.needs("priorities")
async def test_urgent_first_and_in_order_within(site: Site, consumer: Consumers) -> None:
    priorities = [0, 9, 3, 9, 0, 5, 8, 3, 1]
    site.publish(*(message(n, priority=priority) for n, priority in enumerate(priorities)))
    assert numbers(await take(await consumer("q"), 9, limit=2)) == [1, 3, 6, 5, 2, 7, 8, 0, 4]


@pytest.mark.needs("priorities")
async def test_every_priority_is_one_of_its_own(site: Site, consumer: Consumers) -> None:
    site.publish(*(message(priority, priority=priority) for priority in range(10)))
    assert numbers(await take(await consumer("q"), 10)) == list(range(9, -1, -1))


@pytest.mark.needs("order")
async def test_urgent_first_over_several_queues(site: Site, consumer: Consumers) -> None:
    site.publish(
        message(1, "a", priority=1),
        message(2, "b", priority=9),
        message(3, "a", priority=5),
        message(4, "b", priority=2),
    )
    deliveries = await take(await consumer("a", "b"), 4, limit=1)
    assert numbers(deliveries) == [2, 3, 4, 1]
    assert [delivery.queue for delivery in deliveries] == ["b", "a", "b", "a"]


# Receiving


@pytest.mark.needs("order of publishing")
async def test_never_more_than_it_was_asked_for(site: Site, consumer: Consumers) -> None:
    site.publish_numbers(range(10))
    receiver = await consumer("q")
    assert numbers(await receiver.receive(3)) == [0, 1, 2]
    assert numbers(await take(receiver, 7, limit=100)) == list(range(3, 10))


async def test_only_its_own_queues(site: Site, consumer: Consumers) -> None:
    site.publish(message(1, "other", priority=9), message(2, "q"))
    receiver = await consumer("q")
    assert numbers(await take(receiver, 1, 10)) == [2]
    assert site.broker.depth("other") == QueueDepth(ready=1)


async def test_receive_waits_until_it_is_woken(
    kind: BrokerKind, site: Site, consumer: Consumers, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind.stop_polling(monkeypatch)
    receiver = await consumer("q")
    for n in range(20):
        receiving = asyncio.create_task(take_one(receiver))
        await asyncio.sleep(0)
        assert not receiving.done()
        await asyncio.to_thread(site.publish, message(n))
        delivery = await receiving
        assert number(delivery) == n
        await receiver.settle([done(delivery)])


async def test_all_waiting_consumers_are_woken(
    kind: BrokerKind, site: Site, consumer: Consumers, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind.stop_polling(monkeypatch)
    receiving = [asyncio.create_task(take_one(await consumer("q"))) for _ in range(3)]
    for n in range(3):
        site.publish(message(n))
    async with asyncio.timeout(PATIENCE):
        assert sorted(numbers(await asyncio.gather(*receiving))) == [0, 1, 2]


@pytest.mark.needs("pull")
async def test_two_consumers_share_a_queue(site: Site, consumer: Consumers) -> None:
    found: list[int] = []

    async def work(limit: int) -> None:
        receiver = await consumer("q")
        async with asyncio.timeout(PATIENCE):
            while len(found) < 1000:
                deliveries = await receiver.receive(limit)
                await receiver.settle([done(delivery) for delivery in deliveries])
                found.extend(n for n in numbers(deliveries) if n >= 0)
                if len(found) >= 1000:  # whoever still waits must see that it is over
                    site.publish(message(-1))

    site.publish_numbers(range(500))
    publishing = asyncio.to_thread(site.publish_numbers, range(500, 1000))
    await asyncio.gather(work(7), work(20), publishing)
    assert sorted(found) == list(range(1000))


@pytest.mark.needs("to know what was unused")
async def test_receiving_can_be_cancelled(site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q")
    for _ in range(20):
        receiving = asyncio.create_task(receiver.receive(5))
        await asyncio.sleep(0)
        site.publish_numbers(range(5))
        receiving.cancel()
        await asyncio.wait([receiving])
    await consumer.close(receiver)  # gives back what it was just receiving
    found = await take(await consumer("q"), 100)
    assert sorted(numbers(found)) == sorted(20 * list(range(5)))
    assert {delivery.deliveries for delivery in found} == {1}


# Delays


@pytest.mark.needs("counts")
async def test_a_delayed_message_comes_when_it_is_due(site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q")
    due = time.time() + 0.3
    site.publish(message(1, due=due), message(2))
    assert numbers(await take(receiver, 1, 10)) == [2]
    assert site.broker.depth("q").delayed == 1
    delivery = await take_one(receiver)
    assert time.time() >= due
    assert (number(delivery), delivery.deliveries) == (1, 1)


@pytest.mark.needs("order")
async def test_delayed_messages_come_in_the_order_of_being_due(
    site: Site, consumer: Consumers
) -> None:
    now = time.time()
    site.publish(message(3, due=now + 0.5), message(1, due=now + 0.1), message(2, due=now + 0.3))
    receiver = await consumer("q")
    for n in (1, 2, 3):
        delivery = await take_one(receiver)
        assert number(delivery) == n
        assert time.time() >= now + 0.2 * n - 0.1


async def test_an_idle_consumer_wakes_up_for_a_delayed_message(
    kind: BrokerKind, site: Site, consumer: Consumers, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind.stop_polling(monkeypatch)
    receiving = asyncio.create_task(take_one(await consumer("q")))
    await asyncio.sleep(0)
    due = time.time() + 0.2
    await asyncio.to_thread(site.publish, message(1, due=due))
    assert number(await receiving) == 1
    assert time.time() >= due


async def test_what_is_due_in_the_past_is_ready(site: Site, consumer: Consumers) -> None:
    site.publish(message(1, due=time.time() - 100))
    assert site.broker.depth("q").ready == 1
    assert number(await take_one(await consumer("q"))) == 1


# A single time


@pytest.mark.needs("keys")
async def test_a_key_is_accepted_a_single_time(site: Site, consumer: Consumers) -> None:
    site.publish(message(1, once="step"), message(2, once="step"))
    site.publish(message(3, once="step"), message(4, once="other"), message(5))
    receiver = await consumer("q")
    deliveries = await take(receiver, 3)
    assert numbers(deliveries) == [1, 4, 5]
    await receiver.settle([done(delivery) for delivery in deliveries])
    site.publish(message(6, once="step"))  # even when the first one is done
    await nothing_but(receiver, site)


async def test_a_refused_message_does_not_use_up_its_key(site: Site, consumer: Consumers) -> None:
    with pytest.raises(QueueNotFound):
        site.publish(message(1, once="step"), message(2, "key", exchange="nowhere"))
    site.publish(message(3, once="step"))
    assert number(await take_one(await consumer("q"))) == 3


# What cannot be read


@pytest.mark.needs("counts")
async def test_an_unreadable_message_does_not_stop_the_others(
    site: Site, consumer: Consumers
) -> None:
    bad = unreadable()
    site.publish(bad, message(1), bad, message(2))
    receiver = await consumer("q")
    assert numbers(await take(receiver, 2, limit=1)) == [1, 2]
    first, second = site.broker.dead_letters("q")
    assert "'id'" in first.reason
    assert (first.queue, first.message, second.message) == ("q", None, None)
    assert first.deliveries == 1
    assert first.packed
    assert site.broker.depth("q") == QueueDepth(leased=2, dead=2)


@pytest.mark.needs("order of publishing")
def test_a_closed_broker_can_be_used_again(broker: Broker) -> None:
    broker.publish([message(1)])
    broker.close()
    broker.publish([message(2)])
    assert numbers(broker.browse("q", 10)) == [1, 2]


@pytest.mark.needs("hastening")
async def test_delayed_messages_can_be_due_at_once(site: Site, consumer: Consumers) -> None:
    now = time.time()
    receiver = await consumer("q")
    for n, delay in enumerate((3000, 1000, 2000)):
        site.publish(message(n, due=now + delay))
    site.publish(message(9, "other", due=now + 1000))
    waiting = asyncio.create_task(take(receiver, 3))
    await asyncio.to_thread(site.broker.hasten, "q")
    assert sorted(numbers(await waiting)) == [0, 1, 2]
    assert site.broker.depth("other").delayed == 1
    site.broker.hasten("nothing there")
