"""Brokers that several processes can use, and that outlive those processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from taskq.brokers.base import QueueDepth
from taskq.exceptions import QueueNotFound
from tests.conformance.brokers import (
    LONG,
    PATIENCE,
    SHORT,
    BrokerKind,
    Consumers,
    Site,
    bound,
    dead,
    done,
    having,
    message,
    number,
    numbers,
    take,
    take_one,
)
from tests.conformance.processes import forked
from tests.waiting import wait_until

PUBLISH = """
import sys
from tests.conformance.brokers import Site, message
site = Site(sys.argv[1])
site.publish(*(message(n) for n in range(int(sys.argv[2]))))
site.close()
"""

CHECK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(connection.execute("PRAGMA integrity_check").fetchone()[0])
connection.close()
"""


def receive_all(site: Site, count: int, lease: float = LONG) -> list[int]:
    """What a consumer in a process of its own gets, from start to end."""

    async def main() -> list[int]:
        consumers = Consumers(site)
        found = await take(await consumers("q", lease=lease), count)
        await consumers.close_all()
        return [number(delivery) for delivery in found]

    return asyncio.run(main())


# After a restart


@pytest.mark.needs("counts")
@having("survives_restart")
async def test_everything_outlives_the_processes(
    kind: BrokerKind, site: Site, consumer: Consumers, request: pytest.FixtureRequest
) -> None:
    receiver = await consumer("q")
    site.broker.declare([bound("bound", "things", "topic", "a.*")])
    site.publish(message(0), message(1), message(2, priority=5, once="step"))
    site.publish(message(3, due=time.time() + 0.3))
    first, second = await take(receiver, 2)
    await receiver.settle([dead(first, "why")])
    await consumer.close(receiver)
    assert number(second) == 0
    site.close()

    again = Site(kind.url(request), kind.options)
    assert {"q", "bound"} <= set(again.broker.queues())
    assert again.broker.depth("q") == QueueDepth(ready=2, delayed=1, dead=1)
    (letter,) = again.broker.dead_letters()
    assert (letter.reason, letter.message) == ("why", first.message)
    again.publish(message(4, once="step"), message(5, "a.b", exchange="things"))
    consumers = Consumers(again)
    found = await take(await consumers("q", "bound"), 4, limit=1)
    assert sorted(numbers(found)) == [0, 1, 3, 5]
    await consumers.close_all()
    again.close()


@pytest.mark.needs("leases")
@having("survives_restart")
async def test_a_lease_outlives_its_holder_for_as_long_as_it_lasts(
    kind: BrokerKind, site: Site, consumer: Consumers, request: pytest.FixtureRequest
) -> None:
    site.publish(message(1))
    await take_one(await consumer("q", lease=2 * SHORT))
    leased = time.time()
    again = Site(kind.url(request), kind.options)
    assert again.broker.depth("q") == QueueDepth(leased=1)
    consumers = Consumers(again)
    delivery = await take_one(await consumers("q"))
    assert time.time() >= leased + SHORT
    assert delivery.deliveries == 2
    await consumers.close_all()
    again.close()


# Several processes


@having("many_processes")
def test_a_connection_is_not_shared_with_a_forked_child(kind: BrokerKind, site: Site) -> None:
    site.publish(message(0))  # the connection is open, and in the child as well

    def child() -> None:
        for n in range(1, 101):
            site.publish(message(n))
        assert site.broker.depth("q").ready >= 101
        site.close()

    with forked(child):
        for n in range(101, 201):
            site.publish(message(n))
    assert site.broker.depth("q") == QueueDepth(ready=201)
    assert sorted(receive_all(site, 201)) == list(range(201))


@having("many_processes")
def test_processes_share_a_queue(
    kind: BrokerKind, site: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    results = tmp_path_factory.mktemp("shared")
    site.publish_numbers(range(600))

    async def work(name: str) -> None:
        consumers = Consumers(site)
        receiver = await consumers("q")
        found: list[int] = []
        while -1 not in found:
            async with asyncio.timeout(PATIENCE):
                deliveries = await receiver.receive(7)
            found += numbers(deliveries)
            await receiver.settle([done(delivery) for delivery in deliveries])
        await consumers.close_all()
        (results / f"{name}.new").write_text(json.dumps(found))
        (results / f"{name}.new").rename(results / name)

    def both_have_ended() -> bool:
        site.publish(message(-1))  # the end for one of them, which may take several in one lot
        return all((results / name).exists() for name in ("one", "two"))

    with forked(lambda: asyncio.run(work("one"))), forked(lambda: asyncio.run(work("two"))):
        site.publish_numbers(range(600, 1200))
        wait_until(both_have_ended, PATIENCE, "both processes to end")
    found = [n for name in ("one", "two") for n in json.loads((results / name).read_text())]
    assert sorted(n for n in found if n >= 0) == list(range(1200))


@pytest.mark.needs("quick leases")
@having("many_processes")
def test_what_a_killed_process_held_comes_again(kind: BrokerKind, site: Site) -> None:
    site.publish_numbers(range(5))

    def child() -> None:
        async def main() -> None:
            await take(await Consumers(site)("q", lease=SHORT), 3)
            os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(main())

    with forked(child):
        pass
    site.publish(message(5))
    assert sorted(receive_all(site, 6)) == [0, 1, 2, 3, 4, 5]


@pytest.mark.needs("order of publishing")
@having("many_processes")
async def test_another_process_wakes_a_consumer(
    kind: BrokerKind, site: Site, consumer: Consumers, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind.stop_polling(monkeypatch)
    waiting = asyncio.create_task(take(await consumer("q"), 3))
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", PUBLISH, site.url, "3")
    assert numbers(await waiting) == [0, 1, 2]
    assert await other.wait() == 0


@pytest.mark.needs("shared bindings")
@having("many_processes")
def test_bindings_are_known_to_all_processes(kind: BrokerKind, site: Site) -> None:
    with pytest.raises(QueueNotFound):
        site.publish(message(1, "a.b", exchange="things"))
    with forked(lambda: site.broker.declare([bound("q", "things", "topic", "a.*")])):
        pass
    site.publish(message(2, "a.b", exchange="things"))
    assert numbers(site.broker.browse("q", 10)) == [2]


def test_sqlite_stays_whole_when_processes_fork_and_die(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/taskq.db"
    site = Site(url)
    site.publish(message(0))

    def publish_until_killed() -> None:
        while True:
            site.publish_numbers(range(20))

    for _ in range(5):
        with forked(publish_until_killed) as pid:
            before = site.broker.depth("q").ready
            site.publish_numbers(range(50))
            while site.broker.depth("q").ready < before + 100:
                time.sleep(0.001)
            os.kill(pid, signal.SIGKILL)
    # A program that knows nothing of taskq looks at it.
    checked = subprocess.run(
        [sys.executable, "-c", CHECK, f"{tmp_path}/taskq.db"], capture_output=True, text=True
    )
    assert (checked.stdout, checked.stderr) == ("ok\n", "")
    assert site.broker.depth("q").ready % 10 == 1  # no half of a batch
    site.close()
