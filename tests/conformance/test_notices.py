"""Every broker: what is told to everybody reaches those who listen, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from pathlib import Path

import pytest

from taskq.brokers.base import Broker
from taskq.brokers.notices import Channel, Notice, Subscription
from taskq.brokers.sqlite import SqliteBroker, subscriptions
from taskq.exceptions import OperationalError
from tests.conformance.brokers import PATIENCE, BrokerKind, Site, having
from tests.conformance.places import redis_url
from tests.conformance.processes import forked
from tests.servers import RedisServer

pytestmark = pytest.mark.needs("notices")

FANOUT = Channel("commands", "fanout")
DIRECT = Channel("replies", "direct")
TOPIC = Channel("events", "topic")


def notice(n: int, channel: Channel = FANOUT, key: str = "", **more: object) -> Notice:
    return Notice(channel, key, b"%d" % n, **more)  # type: ignore[arg-type]


def bodies(notices: list[Notice]) -> list[int]:
    return [int(each.body) for each in notices]


def hear(subscription: Subscription, count: int) -> list[int]:
    found: list[int] = []
    deadline = time.monotonic() + PATIENCE
    while len(found) < count and time.monotonic() < deadline:
        found += bodies(subscription.receive(1.0))
    return found


def nothing_but(broker: Broker, subscription: Subscription, last: Notice) -> list[int]:
    """What has come before a notice that is told now."""
    broker.broadcast([last])
    return hear(subscription, 1)


def test_all_who_listen_are_told(broker: Broker) -> None:
    with broker.subscribe(FANOUT) as first, broker.subscribe(FANOUT, name="second") as second:
        broker.broadcast([notice(1), notice(2)])
        broker.broadcast([notice(3)])
        assert hear(first, 3) == hear(second, 3) == [1, 2, 3]


def test_a_notice_comes_as_it_was_told(broker: Broker) -> None:
    sent = Notice(
        TOPIC, "task.multi", b"\x00\xff", {"hostname": "w@h", "clock": 7}, "text/plain", 60.0
    )
    with broker.subscribe(TOPIC) as subscription:
        broker.broadcast([sent])
        assert subscription.receive(PATIENCE) == [sent]


def test_nobody_is_told_what_was_told_before(broker: Broker) -> None:
    broker.broadcast([notice(1)])
    with broker.subscribe(FANOUT) as subscription:
        assert nothing_but(broker, subscription, notice(2)) == [2]


def test_nothing_is_told_to_nobody(broker: Broker) -> None:
    broker.broadcast([])
    broker.broadcast([notice(1)])
    assert broker.queues() == []


def test_the_time_is_over(broker: Broker) -> None:
    with broker.subscribe(FANOUT) as subscription:
        assert subscription.receive(0.01) == []
        assert subscription.receive(0) == []


def test_channels_do_not_mix(broker: Broker) -> None:
    with broker.subscribe(FANOUT) as subscription:
        broker.broadcast([notice(1, Channel("others", "fanout"))])
        assert nothing_but(broker, subscription, notice(2)) == [2]


def test_a_direct_channel_tells_by_the_very_key(broker: Broker) -> None:
    with broker.subscribe(DIRECT, ["me", "a*?[b"]) as mine:
        told = ["you", "me", "mee", "a*?[b", "aXY[b", "me"]
        broker.broadcast([notice(n, DIRECT, key) for n, key in enumerate(told)])
        assert hear(mine, 3) == [1, 3, 5]
        assert nothing_but(broker, mine, notice(9, DIRECT, "me")) == [9]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["#"], [0, 1, 2, 3]),
        (["task.#"], [0, 1, 2]),
        (["task.*"], [0, 1]),
        (["*.sent", "worker.#", "task.sent"], [0, 3]),
        (["task.?ent"], []),
    ],
)
def test_a_topic_tells_by_patterns(broker: Broker, keys: list[str], expected: list[int]) -> None:
    told = ["task.sent", "task.failed", "task.failed.badly", "worker.online"]
    with broker.subscribe(TOPIC, [*keys, "end"] if not expected else keys) as subscription:
        broker.broadcast([notice(n, TOPIC, key) for n, key in enumerate(told)])
        if expected:
            assert hear(subscription, len(expected)) == expected
        else:
            assert nothing_but(broker, subscription, notice(9, TOPIC, "end")) == [9]


def test_a_thread_that_waits_is_told(broker: Broker) -> None:
    with broker.subscribe(FANOUT) as subscription:
        heard: list[int] = []
        waiting = threading.Thread(target=lambda: heard.extend(hear(subscription, 1)))
        waiting.start()
        broker.broadcast([notice(1)])
        waiting.join(PATIENCE)
        assert heard == [1]


def test_threads_tell_together(broker: Broker) -> None:
    def tell(start: int) -> None:
        for n in range(start, start + 50):
            broker.broadcast([notice(n)])

    with broker.subscribe(FANOUT) as subscription:
        threads = [threading.Thread(target=tell, args=(start,)) for start in (0, 1000, 2000)]
        for thread in threads:
            thread.start()
        heard = hear(subscription, 150)
        for thread in threads:
            thread.join()
    for start in (0, 1000, 2000):  # each in its order
        assert [n for n in heard if start <= n < start + 50] == [*range(start, start + 50)]


def test_a_closed_subscription_leaves_the_others(broker: Broker) -> None:
    first, second = broker.subscribe(FANOUT), broker.subscribe(FANOUT)
    first.close()
    first.close()
    broker.broadcast([notice(1)])
    assert hear(second, 1) == [1]
    second.close()


def test_many_notices_at_once(broker: Broker) -> None:
    with broker.subscribe(FANOUT) as subscription:
        broker.broadcast([notice(n) for n in range(2000)])
        assert hear(subscription, 2000) == [*range(2000)]


# On an event loop


async def test_coroutines_that_wait_are_told(site: Site) -> None:
    both = [await site.broker.asubscribe(FANOUT) for _ in range(2)]
    async with both[0], both[1], asyncio.timeout(PATIENCE):
        for n in range(3):
            waiting = [asyncio.create_task(each.receive()) for each in both]
            await asyncio.sleep(0)
            await site.broker.abroadcast([notice(n)])
            assert [bodies(found) for found in await asyncio.gather(*waiting)] == [[n], [n]]


async def test_what_came_before_the_question(site: Site) -> None:
    async with await site.broker.asubscribe(TOPIC, ["task.#"]) as subscription:
        await asyncio.to_thread(
            site.broker.broadcast,
            [notice(1, TOPIC, "task.sent"), notice(2, TOPIC, "worker.online")],
        )
        await site.broker.abroadcast([notice(3, TOPIC, "task.failed")])
        found: list[int] = []
        async with asyncio.timeout(PATIENCE):
            while len(found) < 2:
                found += bodies(await subscription.receive())
    assert found == [1, 3]


async def test_a_cancelled_wait_loses_nothing(site: Site) -> None:
    async with await site.broker.asubscribe(FANOUT) as subscription:
        found: list[int] = []
        for n in range(30):
            waiting = asyncio.create_task(subscription.receive())
            await asyncio.sleep(0.001 * (n % 3))
            telling = asyncio.create_task(site.broker.abroadcast([notice(n)]))
            await asyncio.sleep(0.001 * (n % 5))
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                found += bodies(await waiting)
            await telling
        async with asyncio.timeout(PATIENCE):
            while len(found) < 30:
                found += bodies(await subscription.receive())
    assert found == [*range(30)]


async def test_closing_twice(site: Site) -> None:
    subscription = await site.broker.asubscribe(FANOUT)
    await subscription.close()
    await subscription.close()


# Between processes


@having("many_processes")
def test_another_process_tells(site: Site) -> None:
    with site.broker.subscribe(FANOUT) as subscription:

        def tell() -> None:
            site.broker.broadcast([notice(1)])

        with forked(tell):
            assert hear(subscription, 1) == [1]


@having("many_processes")
def test_it_is_told_at_once(kind: BrokerKind, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    kind.stop_polling(monkeypatch)
    with site.broker.subscribe(FANOUT) as subscription:
        waiting = threading.Timer(0.05, lambda: site.broker.broadcast([notice(1)]))
        waiting.start()
        began = time.monotonic()
        assert bodies(subscription.receive(PATIENCE)) == [1]
        assert time.monotonic() - began < PATIENCE
        waiting.join()


# Bounds, of what each broker keeps


def test_what_is_old_is_forgotten_in_the_file(tmp_path: Path) -> None:
    broker = SqliteBroker(f"sqlite:///{tmp_path}/taskq.db")
    broker.broadcast([notice(n) for n in range(10)])
    with broker.database.write() as connection:
        connection.execute("UPDATE notices SET told = told - 3600")
    broker.broadcast([notice(10)])
    with broker.database.read() as connection:
        assert connection.execute("SELECT count(*) FROM notices").fetchall() == [(1,)]
    broker.close()


def test_what_is_too_much_is_forgotten_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "MAX_UNREAD", 5)
    broker = SqliteBroker(f"sqlite:///{tmp_path}/taskq.db")
    with broker.subscribe(FANOUT) as subscription:
        broker.broadcast([notice(n) for n in range(10)])
        broker.broadcast([notice(10)])
        assert hear(subscription, 5) == [6, 7, 8, 9, 10]
    broker.close()


def test_a_subscriber_of_a_file_that_was_replaced_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "taskq.db"
    broker = SqliteBroker(f"sqlite:///{path}")
    with broker.subscribe(FANOUT) as subscription:
        broker.broadcast([notice(n) for n in range(10)])
        assert hear(subscription, 10) == [*range(10)]
        for file in path.parent.glob("taskq.db*"):
            file.unlink()
        assert subscription.receive(0.01) == []
        broker.broadcast([notice(11)])
        assert hear(subscription, 1) == [11]
    broker.close()


@pytest.mark.redis
async def test_redis_keeps_nothing(redis: RedisServer, request: pytest.FixtureRequest) -> None:
    site = Site(redis_url(request))
    async with await site.broker.asubscribe(TOPIC):
        site.broker.broadcast([notice(1, TOPIC, "task.sent"), notice(2)])
    assert redis.ask("DBSIZE") == 0
    site.close()


@pytest.mark.redis
async def test_redis_goes_away_and_comes_back(
    redis: RedisServer, request: pytest.FixtureRequest
) -> None:
    site = Site(redis_url(request))
    blocking = site.broker.subscribe(FANOUT)
    async with await site.broker.asubscribe(FANOUT) as subscription:
        redis.ask("CLIENT", "KILL", "TYPE", "pubsub")
        with pytest.raises(OperationalError):
            await subscription.receive()
        with pytest.raises(OperationalError):
            blocking.receive(PATIENCE)
        # The next call connects again; what is told once it has is heard.
        waiting = asyncio.create_task(subscription.receive())
        assert blocking.receive(0.01) == []
        found: list[Notice] = []
        async with asyncio.timeout(PATIENCE):
            while not waiting.done():
                await site.broker.abroadcast([notice(1)])
                await asyncio.wait([waiting], timeout=0.05)
            found += await waiting
        assert bodies(found)[0] == 1
        assert hear(blocking, 1)[0] == 1
    blocking.close()
    site.close()
