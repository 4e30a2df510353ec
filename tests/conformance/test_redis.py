"""What is special to the Redis broker and result store."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from taskq import TaskQ, states
from taskq.exceptions import OperationalError, TaskRevokedError
from tests.conformance.brokers import (
    PATIENCE,
    Consumers,
    Site,
    done,
    message,
    numbers,
    outcome,
    requeue,
    take,
    take_one,
)
from tests.servers import RedisServer, redis_server
from tests.waiting import wait_until

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "redis.md"


async def everything(site: Site) -> None:
    """Whatever a worker and a producer do."""
    consumers = Consumers(site)
    receiver = await consumers("q")
    site.publish(message(1), message(2, priority=9), message(3, due=time.time() + 0.2))
    await site.broker.apublish([message(4, once="key")])
    second, first, fourth, third = await take(receiver, 4, limit=10)
    assert numbers([second, first, fourth, third]) == [2, 1, 4, 3]
    waiting = asyncio.create_task(site.backend.await_([first.message.id], PATIENCE))
    assert await receiver.extend([first]) == []
    await receiver.settle([done(first, outcome=outcome(first)), requeue(second)])
    assert list(await waiting) == [first.message.id]
    assert list(site.backend.wait([first.message.id], PATIENCE)) == [first.message.id]
    assert site.broker.depth("q").ready == 1
    idle = asyncio.create_task(take(receiver, 2, limit=1))
    site.broker.purge("nothing")
    site.broker.revoke(["x"], 10)
    assert await receiver.revocations() == {"x": ""}
    await asyncio.to_thread(site.publish, message(5))
    assert numbers(await idle) == [2, 5]
    site.backend.forget([first.message.id])
    await consumers.close_all()


def access_rules() -> list[str]:
    """The words of the ACL command in the guide."""
    (block,) = re.findall(r"^redis-cli (ACL SETUSER .*?)^```", GUIDE.read_text(), re.S | re.M)
    return shlex.split(block.replace("\\\n", " "))


async def test_the_documented_permissions_are_enough() -> None:
    with redis_server() as server:
        server.ask(*access_rules())
        site = Site(f"redis://proj:secret@127.0.0.1:{server.port}/0")
        await everything(site)
        site.close()


async def test_a_unix_socket() -> None:
    with redis_server(transport="unix") as server:
        site = Site(server.url)
        await everything(site)
        site.close()


def test_a_certificate_is_checked(tls_redis: RedisServer) -> None:
    site = Site(tls_redis.url)  # our authority is nobody whom this machine trusts
    with pytest.raises(OperationalError, match="certificate verify failed"):
        site.publish(message(1))
    with pytest.raises(OperationalError, match="certificate verify failed"):
        asyncio.run(site.broker.apublish([message(1)]))
    site.close()


def test_a_wrong_password(tls_redis: RedisServer) -> None:
    url = tls_redis.url.replace(quote("s3:cr/et", safe=""), "guess")
    assert url != tls_redis.url
    site = Site(f"{url}?ssl_ca_certs={quote(str(tls_redis.ca_file))}")
    with pytest.raises(OperationalError, match=r"refuses.*password"):
        site.publish(message(1))
    site.close()


async def test_urgent_first_while_both_are_full(redis: RedisServer) -> None:
    site = Site(redis.url)
    consumers = Consumers(site)
    receiver = await consumers("a", "b")
    for n in range(200):
        for priority in (0, 9):
            site.publish(message(n, "ab"[n % 2], priority=priority))
    priorities = []
    for _ in range(40):
        deliveries = await receiver.receive(10)
        priorities += [delivery.message.priority for delivery in deliveries]
        await receiver.settle([done(delivery) for delivery in deliveries])
    assert priorities == [9] * 200 + [0] * 200
    await consumers.close_all()
    site.close()


async def test_an_urgent_message_that_comes_while_it_waits(redis: RedisServer) -> None:
    """The read of an idle worker gives one message of each priority: only one may be kept."""
    site = Site(redis.url)
    consumers = Consumers(site)
    receiver = await consumers("q")
    for n in range(20):
        waiting = asyncio.create_task(take_one(receiver))
        await asyncio.sleep(0.005)  # long enough to block, most of the time
        pair = [message(2 * n, priority=0), message(2 * n + 1, priority=9)]
        await asyncio.to_thread(site.publish, *pair)
        found = [await waiting, await take_one(receiver)]
        assert sorted(numbers(found)) == [2 * n, 2 * n + 1]
        assert {delivery.deliveries for delivery in found} == {1}
        await receiver.settle([done(delivery) for delivery in found])
    await consumers.close_all()
    site.close()


# Celery's layout of results


def test_a_result_is_celerys_document(redis: RedisServer) -> None:
    app = TaskQ("proj", broker=redis.url, set_as_current=False, result_expires=100)
    app.backend.store([app.result_codec.encode("1", states.SUCCESS, [1, "ä"])])
    document = json.loads(redis.ask("GET", "celery-task-meta-1"))
    assert document.pop("date_done").endswith("+00:00")
    assert document == {
        "status": "SUCCESS",
        "result": [1, "ä"],
        "traceback": None,
        "children": [],
        "task_id": "1",
    }
    assert 95 <= redis.ask("TTL", "celery-task-meta-1") <= 100
    app.close()


def test_celerys_results_are_read(redis: RedisServer) -> None:
    app = TaskQ("proj", broker=redis.url, set_as_current=False)
    common = {"traceback": None, "children": [], "date_done": "2026-01-01T00:00:00+00:00"}
    error = {"exc_type": "ValueError", "exc_message": ["no"], "exc_module": "builtins"}
    for key, state, result in (
        ("1", "SUCCESS", 3),
        ("2", "FAILURE", error),
        ("3", "REVOKED", None),
    ):
        document = {"status": state, "result": result, **common, "task_id": key}
        redis.ask("SETEX", f"celery-task-meta-{key}", "60", json.dumps(document))
    assert app.AsyncResult("1").get(timeout=5) == 3
    with pytest.raises(ValueError, match="no"):
        app.AsyncResult("2").get(timeout=5)
    with pytest.raises(TaskRevokedError):
        app.AsyncResult("3").get(timeout=5)
    # A success of Celery's is not overwritten either.
    app.backend.store([app.result_codec.encode("1", states.FAILURE, ValueError("late"))])
    assert app.AsyncResult("1").state == "SUCCESS"
    app.close()


def test_whoever_waits_hears_of_celerys_results(redis: RedisServer) -> None:
    app = TaskQ("proj", broker=redis.url, set_as_current=False)

    async def main() -> int:
        waiting = asyncio.create_task(app.AsyncResult("1").aget(timeout=PATIENCE))
        document = json.dumps({"status": "SUCCESS", "result": 4, "task_id": "1"})
        # As Celery's worker does it, once there is somebody to hear it.
        await asyncio.to_thread(
            wait_until,
            lambda: redis.ask("PUBLISH", "celery-task-meta-1", document),
            PATIENCE,
            "somebody to listen",
        )
        value: int = await waiting
        return value

    assert asyncio.run(main()) == 4
    app.close()
