"""Every broker: queues, bindings, dead letters, and looking at all of them."""

from __future__ import annotations

import time

import pytest

from taskq.brokers.base import Broker, DeadLetter, QueueDepth
from taskq.exceptions import ImproperlyConfigured, QueueNotFound
from taskq.message import pack
from taskq.routing import Exchange, Queue, binding
from tests.conformance.brokers import (
    Consumers,
    Site,
    bound,
    dead,
    done,
    message,
    number,
    numbers,
    requeue,
    take,
    take_one,
    unreadable,
)

# Looking


def test_queues_that_are_declared_or_hold_messages(broker: Broker) -> None:
    assert broker.queues() == []
    broker.declare([Queue("b"), Queue("a")])
    broker.publish([message(1, "c")])
    assert sorted(broker.queues()) == ["a", "b", "c"]


def test_a_queue_that_is_not_there(broker: Broker) -> None:
    assert broker.depth("nope") == QueueDepth()
    assert broker.browse("nope", 10) == []
    assert broker.purge("nope") == 0
    assert broker.dead_letters("nope") == []
    assert broker.queues() == []


@pytest.mark.needs("counts")
async def test_depth(site: Site, consumer: Consumers) -> None:
    later = time.time() + 100
    receiver = await consumer("q")
    site.publish(unreadable(), message(7))
    site.publish_numbers(range(3))
    site.publish_numbers(range(2), due=later)
    site.publish_numbers(range(5), "other")
    deliveries = await take(receiver, 2)
    assert site.broker.depth("q") == QueueDepth(ready=2, leased=2, delayed=2, dead=1)
    await receiver.settle([done(deliveries[0]), requeue(deliveries[1], delay=100)])
    assert site.broker.depth("q") == QueueDepth(ready=2, leased=0, delayed=3, dead=1)


@pytest.mark.needs("counts")
def test_browsing_shows_the_next_first(broker: Broker) -> None:
    now = time.time()
    broker.publish(
        [
            message(4, due=now + 300, priority=9),
            message(1),
            message(3, due=now + 100),
            message(0, priority=5),
            message(2),
            message(9, "other"),
            unreadable(),
        ]
    )
    assert numbers(broker.browse("q", 100)) == [0, 1, 2, 3, 4]
    assert numbers(broker.browse("q", 2)) == [0, 1]


@pytest.mark.needs("counts")
async def test_browsing_takes_nothing(site: Site, consumer: Consumers) -> None:
    sent = message(1)
    site.publish(sent, message(2))
    assert site.broker.browse("q", 10)[0] == sent
    receiver = await consumer("q")
    delivery = await take_one(receiver)
    assert (number(delivery), delivery.deliveries) == (1, 1)
    assert numbers(site.broker.browse("q", 10)) == [2]  # what is leased does not wait


@pytest.mark.needs("counts")
async def test_purging_deletes_what_waits(site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q")
    site.publish_numbers(range(3))
    running = await take_one(receiver)
    site.publish(message(9, due=time.time() + 100), message(1, "other"))
    assert site.broker.purge("q") == 3
    assert site.broker.depth("q") == QueueDepth(leased=1)
    assert site.broker.depth("other") == QueueDepth(ready=1)
    assert await receiver.extend([running]) == []
    await receiver.settle([requeue(running)])
    assert number(await take_one(receiver)) == 0
    assert "q" in site.broker.queues()


async def test_declaring_again_changes_nothing(site: Site, consumer: Consumers) -> None:
    queue = bound("q", "things", "topic", "a.*")
    site.broker.declare([queue])
    site.publish(message(1, "a.b", exchange="things"))
    site.broker.declare([queue, queue])
    site.publish(message(2, "a.c", exchange="things"))
    assert numbers(await take(await consumer(queue), 2)) == [1, 2]


# Exchanges


def routes(broker: Broker, exchange: str, keys: list[str]) -> dict[str, list[str]]:
    """The queues that a message with each routing key gets into."""
    found: dict[str, list[str]] = {}
    for n, key in enumerate(keys):
        broker.publish([message(n, key, exchange=exchange)])
        found[key] = [q for q in broker.queues() if n in numbers(broker.browse(q, 100))]
    return found


def test_direct(broker: Broker) -> None:
    for name, key in [("a", "red"), ("b", "red"), ("c", "blue")]:
        broker.declare([bound(name, "colours", "direct", key)])
    assert routes(broker, "colours", ["red", "blue"]) == {"red": ["a", "b"], "blue": ["c"]}


def test_topic(broker: Broker) -> None:
    patterns = {"a": "*.error", "b": "#", "c": "db.#", "d": "db.*.slow", "e": "db.error"}
    broker.declare([bound(name, "logs", "topic", key) for name, key in patterns.items()])
    assert routes(broker, "logs", ["db.error", "web.error", "db", "db.read.slow", ""]) == {
        "db.error": ["a", "b", "c", "e"],
        "web.error": ["a", "b"],
        "db": ["b", "c"],
        "db.read.slow": ["b", "c", "d"],
        "": ["b"],
    }


def test_fanout(broker: Broker) -> None:
    broker.declare([bound(name, "news", "fanout", name) for name in "abc"])
    assert routes(broker, "news", ["x"]) == {"x": ["a", "b", "c"]}


@pytest.mark.needs("order of publishing")
def test_several_bindings_deliver_once(broker: Broker) -> None:
    colours, logs = Exchange("colours", "direct"), Exchange("logs", "topic")
    more = (binding(colours, "blue"), binding(logs, "#"), binding(logs, "db.*"))
    broker.declare([Queue("q", colours, "red", bindings=more)])
    broker.publish([message(1, "red", exchange="colours"), message(2, "blue", exchange="colours")])
    broker.publish([message(3, "db.x", exchange="logs"), message(4, "q")])
    assert numbers(broker.browse("q", 10)) == [1, 2, 3, 4]


@pytest.mark.needs("keys")
def test_a_key_counts_once_for_all_queues_of_an_exchange(broker: Broker) -> None:
    broker.declare([bound(name, "news", "fanout", name) for name in "ab"])
    for n in range(2):
        broker.publish([message(n, "x", exchange="news", once="step")])
    assert [numbers(broker.browse(name, 10)) for name in "ab"] == [[0], [0]]


def test_the_nameless_exchange_needs_no_declaring(broker: Broker) -> None:
    broker.publish([message(1, "never.declared")])
    assert numbers(broker.browse("never.declared", 10)) == [1]


@pytest.mark.parametrize("key", ["green", "", "red.light"])
def test_unroutable(broker: Broker, key: str) -> None:
    broker.declare([bound("q", "colours", "direct", "red")])
    with pytest.raises(QueueNotFound, match=f"'colours'.*{key!r}"):
        broker.publish([message(1, key, exchange="colours")])
    assert broker.browse("q", 10) == []


@pytest.mark.needs("no headers exchanges")
def test_headers_exchanges_are_refused_where_there_are_none(broker: Broker) -> None:
    broker.declare([bound("q", "matching", "headers", "")])
    with pytest.raises(ImproperlyConfigured, match="'headers'"):
        broker.publish([message(1, "x", exchange="matching")])


# Dead letters


async def bury(site: Site, consumer: Consumers, count: int, queue: str = "q") -> list[DeadLetter]:
    """Have so many dead letters, the oldest first."""
    receiver = await consumer(queue)
    site.publish_numbers(range(count), queue)
    for delivery in await take(receiver, count):
        await receiver.settle([dead(delivery, f"reason {number(delivery)}")])
    return site.broker.dead_letters(queue)[::-1]


async def test_what_a_dead_letter_tells(site: Site, consumer: Consumers) -> None:
    before = time.time()
    receiver = await consumer("q")
    sent = message(1, priority=4)
    site.publish(sent)
    await receiver.settle([requeue(await take_one(receiver), crashed=True)])
    await receiver.settle([dead(await take_one(receiver), "it kills", crashed=True)])
    (letter,) = site.broker.dead_letters()
    assert (letter.queue, letter.reason) == ("q", "it kills")
    assert (letter.deliveries, letter.crashes) == (2, 2)
    assert letter.message == sent
    assert letter.packed == pack(sent)
    assert before <= letter.died <= time.time()
    assert letter.id != sent.id
    assert site.broker.depth("q") == QueueDepth(dead=1)


@pytest.mark.needs("order of publishing")
async def test_dead_letters_newest_first(site: Site, consumer: Consumers) -> None:
    await bury(site, consumer, 5)
    await bury(site, consumer, 2, "other")
    reasons = [letter.reason for letter in site.broker.dead_letters("q")]
    assert reasons == [f"reason {n}" for n in (4, 3, 2, 1, 0)]
    assert [letter.queue for letter in site.broker.dead_letters(limit=3)] == ["other", "other", "q"]
    assert len({letter.id for letter in site.broker.dead_letters()}) == 7


async def test_sending_dead_letters_back(site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q")
    site.publish(message(1, priority=4), message(2, priority=1, once="step"))
    for delivery in await take(receiver, 2):
        await receiver.settle([dead(delivery, crashed=True)])
    ids = [letter.id for letter in site.broker.dead_letters()]
    assert site.broker.retry_dead([*ids, ids[0], "1234567", "no number"]) == 2
    assert site.broker.dead_letters() == []
    found = await take(receiver, 2)
    assert [(number(d), d.deliveries, d.crashes) for d in found] == [(1, 1, 0), (2, 1, 0)]
    await receiver.settle([dead(found[0], "again")])
    (letter,) = site.broker.dead_letters()
    assert (letter.reason, letter.deliveries, letter.crashes) == ("again", 1, 0)


@pytest.mark.needs("pull")
async def test_sending_back_wakes_consumers(site: Site, consumer: Consumers) -> None:
    (letter,) = await bury(site, consumer, 1)
    assert site.broker.retry_dead([letter.id]) == 1
    assert number(await take_one(await consumer("q"))) == 0


async def test_an_unreadable_message_can_be_sent_back(site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q")
    site.publish(unreadable(), message(1))
    await take_one(receiver)
    (letter,) = site.broker.dead_letters()
    assert site.broker.retry_dead([letter.id]) == 1
    site.publish(message(2))
    await take_one(receiver)
    (again,) = site.broker.dead_letters()
    assert (again.packed, again.message) == (letter.packed, None)


async def test_deleting_dead_letters(site: Site, consumer: Consumers) -> None:
    letters = await bury(site, consumer, 4)
    await bury(site, consumer, 2, "other")
    ids = [letter.id for letter in letters]
    assert site.broker.purge_dead([ids[1], ids[2], ids[1], "1234567", "no number"]) == 2
    left = [letter.reason for letter in site.broker.dead_letters("q")]
    assert left == ["reason 3", "reason 0"]
    assert site.broker.purge_dead([]) == 0
    assert site.broker.purge_dead() == 4
    assert site.broker.dead_letters() == []
