"""Every broker: a settlement and all that belongs to it is written in one step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from taskq import states
from taskq.backends.base import Outcome
from taskq.backends.memory import MemoryBackend
from taskq.backends.sqlite import SqliteBackend
from taskq.brokers.base import QueueDepth, Settlement
from taskq.exceptions import QueueNotFound
from tests.conformance.backends import part
from tests.conformance.brokers import (
    SHORT,
    BrokerKind,
    Consumers,
    Site,
    bound,
    dead,
    done,
    having,
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

# Done


async def test_what_is_done_is_gone(site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q")
    site.publish_numbers(range(400))
    deliveries = await take(receiver, 400)
    await receiver.settle([done(delivery) for delivery in deliveries[::2]])
    await receiver.settle([done(delivery) for delivery in deliveries[1::2]])
    assert site.broker.depth("q") == QueueDepth()
    await nothing_but(receiver, site)


async def test_settling_nothing(site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q")
    site.publish(message(1))
    delivery = await take_one(receiver)
    await receiver.settle([])
    assert await receiver.extend([delivery]) == []


async def test_follow_ups_are_published(site: Site, consumer: Consumers) -> None:
    site.broker.declare([bound("topical", "things", "topic", "a.*")])
    receiver = await consumer("q", "next")
    site.publish(message(1))
    due = time.time() + 0.2
    follow_ups = [
        message(2, "next", priority=4),
        message(3, "a.b", exchange="things"),
        message(4, "next", due=due),
    ]
    await receiver.settle([done(await take_one(receiver), follow_ups=follow_ups)])
    assert numbers(await take(receiver, 2)) == [2, 4]
    assert time.time() >= due
    assert numbers(site.broker.browse("topical", 10)) == [3]


@pytest.mark.needs("keys")
async def test_a_step_sent_by_two_executions_counts_once(site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q", "next")
    site.publish(message(1), message(2))
    for delivery in await take(receiver, 2):
        await receiver.settle([done(delivery, follow_ups=[message(3, "next", once="1:chain")])])
    assert number(await take_one(receiver)) == 3
    await nothing_but(receiver, site, "next")


async def test_an_idle_consumer_is_woken_by_follow_ups(
    kind: BrokerKind, site: Site, consumer: Consumers, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind.stop_polling(monkeypatch)
    first, second = await consumer("q"), await consumer("next")
    site.publish(message(1))
    delivery = await take_one(first)
    waiting = asyncio.create_task(take_one(second))
    await asyncio.sleep(0)
    await first.settle([done(delivery, follow_ups=[message(2, "next")])])
    assert number(await waiting) == 2


@pytest.mark.needs("counts")
async def test_nothing_is_written_if_a_part_cannot_be(site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q", "next")
    site.publish_numbers(range(4))
    a, b, c, d = await take(receiver, 4)
    lost = message(9, "key", exchange="nowhere")
    with pytest.raises(QueueNotFound):
        await receiver.settle(
            [
                done(a, outcome=outcome(a), follow_ups=[message(5, "next", once="step")]),
                requeue(b),
                dead(c),
                done(d, outcome=outcome(d), follow_ups=[lost]),
            ]
        )
    assert site.broker.depth("q") == QueueDepth(leased=4)
    assert site.broker.dead_letters() == []
    assert site.backend.fetch([a.message.id, d.message.id]) == {}
    assert await receiver.extend([a, b, c, d]) == []
    await receiver.settle([done(a, follow_ups=[message(6, "next", once="step")]), dead(d)])
    assert number(await take_one(receiver)) == 6
    assert site.broker.depth("q") == QueueDepth(leased=2, dead=1)


# Given back


async def test_requeued_comes_again(site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q")
    site.publish(message(1, priority=5))
    delivery = await take_one(receiver)
    await receiver.settle([requeue(delivery)])
    again = await take_one(receiver)
    assert again.message == delivery.message
    assert (again.deliveries, again.crashes) == (2, 0)


async def test_crashes_are_counted(site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q")
    site.publish(message(1))
    counts = []
    for _ in range(3):
        delivery = await take_one(receiver)
        counts.append((delivery.deliveries, delivery.crashes))
        await receiver.settle([requeue(delivery, crashed=True)])
    assert counts == [(1, 0), (2, 1), (3, 2)]


@pytest.mark.needs("unused")
async def test_unused_deliveries_are_not_counted(site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q")
    site.publish(message(1))
    for _ in range(3):
        delivery = await take_one(receiver)
        assert (delivery.deliveries, delivery.crashes) == (1, 0)
        await receiver.settle([requeue(delivery, unused=True)])


@pytest.mark.needs("counts")
async def test_requeued_with_a_delay(site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q")
    site.publish(message(1))
    delivery = await take_one(receiver)
    due = time.time() + 0.2
    await receiver.settle([requeue(delivery, delay=0.2)])
    assert site.broker.depth("q") == QueueDepth(delayed=1)
    assert (await take_one(receiver)).deliveries == 2
    assert time.time() >= due


@pytest.mark.needs("order")
async def test_requeued_goes_before_what_came_later(site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q")
    site.publish_numbers(range(2))
    delivery = await take_one(receiver)
    site.publish(message(2))
    await receiver.settle([requeue(delivery)])
    assert numbers(site.broker.browse("q", 10)) == [0, 1, 2]
    assert numbers(await take(receiver, 3)) == [0, 1, 2]


async def test_giving_back_writes_no_outcome(site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q")
    site.publish(message(1))
    delivery = await take_one(receiver)
    stale = Outcome(delivery.message.id, states.FAILURE, b"no")
    await receiver.settle([requeue(delivery, outcome=stale, follow_ups=[message(2)])])
    assert site.backend.fetch([delivery.message.id]) == {}
    assert numbers(await take(receiver, 1, 10)) == [1]


# Acknowledged before


async def test_what_was_acknowledged_early(site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q", "next")
    site.publish(message(1))
    delivery = await take_one(receiver)
    await receiver.settle([done(delivery)])
    assert site.broker.depth("q") == QueueDepth()
    await receiver.settle(
        [
            done(
                delivery,
                outcome=outcome(delivery),
                follow_ups=[message(2, "next")],
                acknowledged=True,
            )
        ]
    )
    assert number(await take_one(receiver)) == 2
    if site.broker.settles_into(site.backend):
        assert site.backend.fetch([delivery.message.id])


@pytest.mark.parametrize("settle", [dead, requeue])
async def test_acknowledged_is_not_given_back_or_buried(
    site: Site, consumer: Consumers, settle: Callable[..., Settlement]
) -> None:
    receiver = await consumer("q")
    site.publish(message(1))
    delivery = await take_one(receiver)
    await receiver.settle([done(delivery)])
    await receiver.settle([settle(delivery, acknowledged=True)])
    assert site.broker.dead_letters() == []
    await nothing_but(receiver, site)


async def test_a_state_on_the_way_does_not_end_the_delivery(
    site: Site, consumer: Consumers
) -> None:
    receiver = await consumer("q")
    site.publish(message(1))
    delivery = await take_one(receiver)
    started = outcome(delivery, states.STARTED)
    await receiver.settle([done(delivery, outcome=started, acknowledged=True)])
    assert await receiver.extend([delivery]) == []
    await receiver.settle([done(delivery, outcome=outcome(delivery))])
    if site.broker.settles_into(site.backend):
        assert site.backend.fetch([delivery.message.id])[delivery.message.id].state == "SUCCESS"
    await nothing_but(receiver, site)


# Outcomes in the same step


@having("one_step")
async def test_outcomes_of_the_same_store_are_written(
    kind: BrokerKind, site: Site, consumer: Consumers
) -> None:
    assert site.broker.settles_into(site.backend)
    receiver = await consumer("q")
    site.publish_numbers(range(250))
    deliveries = await take(receiver, 250)
    ids = [delivery.message.id for delivery in deliveries]
    await receiver.settle(
        [
            done(delivery, outcome=Outcome(key, states.SUCCESS, b"%d" % number(delivery)))
            for key, delivery in zip(ids, deliveries, strict=True)
        ]
    )
    found = site.backend.fetch(ids)
    assert [found[key].payload for key in ids] == [b"%d" % n for n in range(250)]


@having("one_step")
async def test_whoever_waits_is_told(kind: BrokerKind, site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q")
    site.publish(message(1))
    delivery = await take_one(receiver)
    waiting = asyncio.create_task(site.backend.await_([delivery.message.id], 20))
    blocked = asyncio.create_task(asyncio.to_thread(site.backend.wait, [delivery.message.id], 20))
    await asyncio.sleep(0)
    await receiver.settle([done(delivery, outcome=outcome(delivery))])
    assert list(await waiting) == [delivery.message.id]
    assert list(await blocked) == [delivery.message.id]


async def test_a_success_stays(site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q")
    sent = message(1)
    site.backend.store([Outcome(sent.id, states.SUCCESS, b"before")])
    site.publish(sent)
    delivery = await take_one(receiver)
    await receiver.settle([done(delivery, outcome=outcome(delivery, states.FAILURE))])
    assert site.backend.fetch([sent.id])[sent.id].payload == b"before"
    await nothing_but(receiver, site)


@having("one_step")
async def test_a_dead_letter_has_an_outcome_as_well(
    kind: BrokerKind, site: Site, consumer: Consumers
) -> None:
    receiver = await consumer("q")
    site.publish(message(1))
    delivery = await take_one(receiver)
    await receiver.settle([dead(delivery, outcome=outcome(delivery, states.FAILURE))])
    assert site.backend.fetch([delivery.message.id])[delivery.message.id].state == "FAILURE"
    assert len(site.broker.dead_letters()) == 1


# Members of chords, in the same step


@having("one_step")
async def test_members_are_counted_when_they_are_settled(
    kind: BrokerKind, site: Site, consumer: Consumers
) -> None:
    receiver = await consumer("q")
    site.publish_numbers(range(1, 4))
    a, b, c = await take(receiver, 3)
    await receiver.settle([done(a, outcome=outcome(a), part=part(0))])
    await receiver.settle([dead(b, outcome=outcome(b, states.FAILURE), part=part(1))])
    assert site.broker.depth("q") == QueueDepth(leased=1, dead=1)
    assert site.backend.chord_parts("g") == {0: b"0", 1: b"1"}
    await receiver.settle([done(c, part=part(2), follow_ups=[message(5)])])
    deliveries = await take(receiver, 2)
    assert sorted(numbers(deliveries)) == [0, 5]
    (end,) = [each.message for each in deliveries if number(each) == 0]
    assert (end.id, end.body) == (part(0).done.id, part(0).done.body)
    assert site.backend.chord_parts("g") == {0: b"0", 1: b"1", 2: b"2"}
    await receiver.settle([done(each) for each in deliveries])
    await nothing_but(receiver, site)


@having("one_step")
async def test_members_in_one_batch(kind: BrokerKind, site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q")
    site.publish_numbers(range(1, 6))
    deliveries = await take(receiver, 5)
    parts = [part(0), part(0, 1, "h"), part(1), part(0, 2, "i"), part(2)]
    await receiver.settle(
        [done(each, part=its) for each, its in zip(deliveries, parts, strict=True)]
    )
    ends = await take(receiver, 2)
    assert {each.message.id for each in ends} == {"g-done", "h-done"}
    await receiver.settle([done(each) for each in ends])
    await nothing_but(receiver, site)
    assert site.backend.chord_parts("i") == {0: b"0"}


@having("one_step")
async def test_many_members_of_one_chord(kind: BrokerKind, site: Site, consumer: Consumers) -> None:
    receiver = await consumer("q")
    site.publish_numbers(range(1, 501))
    deliveries = await take(receiver, 500)
    for start in range(0, 500, 125):
        batch = deliveries[start : start + 125]
        await receiver.settle([done(each, part=part(number(each) - 1, 500)) for each in batch])
    end = await take_one(receiver)
    assert end.message.id == "g-done"
    await receiver.settle([done(end)])
    await nothing_but(receiver, site)
    assert sorted(site.backend.chord_parts("g")) == list(range(500))


@having("one_step")
async def test_a_member_that_comes_again_after_the_end(
    kind: BrokerKind, site: Site, consumer: Consumers
) -> None:
    receiver = await consumer("q")
    site.publish_numbers([1, 2])
    first, second = await take(receiver, 2)
    await receiver.settle([done(first, part=part(0, 1))])
    end = await take_one(receiver)
    site.backend.forget_parts("g")
    await receiver.settle([done(end), done(second, part=part(0, 1))])
    await nothing_but(receiver, site)


@having("one_step")
async def test_an_idle_consumer_is_woken_by_the_end_of_a_chord(
    kind: BrokerKind, site: Site, consumer: Consumers, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind.stop_polling(monkeypatch)
    first, second = await consumer("members"), await consumer("q")
    site.publish(message(1, "members"))
    delivery = await take_one(first)
    waiting = asyncio.create_task(take_one(second))
    await asyncio.sleep(0)
    await first.settle([done(delivery, part=part(0, 1))])
    assert (await waiting).message.id == "g-done"


@having("one_step")
async def test_a_member_that_was_acknowledged_early(
    kind: BrokerKind, site: Site, consumer: Consumers
) -> None:
    receiver = await consumer("q")
    site.publish(message(1))
    delivery = await take_one(receiver)
    await receiver.settle([done(delivery)])
    await receiver.settle([done(delivery, part=part(0, 1), acknowledged=True)])
    end = await take_one(receiver)
    assert end.message.id == "g-done"
    await receiver.settle([done(end)])
    await nothing_but(receiver, site)


@having("one_step")
async def test_what_is_given_back_contributes_nothing(
    kind: BrokerKind, site: Site, consumer: Consumers
) -> None:
    receiver = await consumer("q")
    site.publish(message(1))
    delivery = await take_one(receiver)
    await receiver.settle([requeue(delivery, part=part(0, 1))])
    again = await take_one(receiver)
    assert number(again) == 1
    assert site.backend.chord_parts("g") == {}
    await receiver.settle([requeue(again, part=part(0, 1), delay=0.01)])
    assert number(await take_one(receiver)) == 1
    assert site.backend.chord_parts("g") == {}


@having("one_step")
@pytest.mark.parametrize("settle", [done, dead])
async def test_a_late_member_contributes_nothing(
    kind: BrokerKind, site: Site, consumer: Consumers, settle: Callable[..., Settlement]
) -> None:
    first, second = await consumer("q", lease=SHORT), await consumer("q")
    late, current = await lose_lease(site, first, second)
    await second.settle([done(current, part=part(0, 2, payload=b"current"))])
    await first.settle([settle(late, part=part(0, 2, payload=b"late"))])
    assert site.backend.chord_parts("g") == {0: b"current"}
    await first.settle([settle(late, part=part(1, 2))])
    assert site.backend.chord_parts("g") == {0: b"current"}
    await nothing_but(second, site)


@having("one_step")
async def test_a_chord_counts_nothing_if_another_part_cannot_be_written(
    kind: BrokerKind, site: Site, consumer: Consumers
) -> None:
    receiver = await consumer("q")
    site.publish_numbers([1, 2])
    a, b = await take(receiver, 2)
    lost = message(9, "key", exchange="nowhere")
    with pytest.raises(QueueNotFound):
        await receiver.settle([done(a, part=part(0, 1)), done(b, follow_ups=[lost])])
    assert site.backend.chord_parts("g") == {}
    await receiver.settle([done(a, part=part(0, 1)), done(b)])
    assert (await take_one(receiver)).message.id == "g-done"


# Other stores


async def test_other_stores_are_left_alone(
    site: Site, consumer: Consumers, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = SqliteBackend(f"sqlite:///{tmp_path_factory.mktemp('other')}/results.db")
    assert not site.broker.settles_into(elsewhere)
    receiver = await consumer("q", backend=elsewhere)
    site.publish(message(1))
    delivery = await take_one(receiver)
    await receiver.settle([done(delivery, follow_ups=[message(2)])])
    assert number(await take_one(receiver)) == 2
    elsewhere.close()


def test_a_store_of_another_kind_is_not_the_same(site: Site) -> None:
    if not isinstance(site.backend, MemoryBackend):
        assert not site.broker.settles_into(MemoryBackend())
