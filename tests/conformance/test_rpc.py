"""Results that are sent by RabbitMQ: to whom, as what, and what is left behind."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from taskq import TaskQ, chain, chord, group, states
from taskq.backends.base import Backend, Outcome
from taskq.backends.registry import make_backend
from taskq.backends.rpc import RpcBackend
from taskq.exceptions import ImproperlyConfigured
from taskq.serialization import compress_result
from taskq.settings import Settings
from taskq.stores.amqp.address import address
from taskq.stores.amqp.drivers import drivers
from taskq.stores.amqp.links import ChannelError, DeclareQueue, Link
from tests.conformance.places import amqp_url
from tests.conformance.processes import forked
from tests.faults.proxy import proxy
from tests.servers import RedisServer, VirtualHost
from tests.waiting import wait_until

PATIENCE = 20.0

STORE = """
import sys
from taskq.backends.base import Outcome
from taskq.backends.registry import make_backend
from taskq.settings import Settings
broker, address, *ids = sys.argv[1:]
backend = make_backend("rpc", Settings({"broker_url": broker, "result_backend": "rpc"}))
backend.store([Outcome(task_id, "SUCCESS", b"{}", address) for task_id in ids])
backend.close()
"""
LEAVE = """
import sys
from taskq import TaskQ
app = TaskQ(broker=sys.argv[1], backend="rpc://", set_as_current=False)
print(app.backend.reply_to)
app.backend.expect()
print(app.backend.fetch(["a"]) if "read" in sys.argv else {})
"""


def open_rpc(url: str, **settings: Any) -> RpcBackend:
    settings = {"broker_url": url, "result_backend": "rpc://", **settings}
    backend = make_backend(settings["result_backend"], Settings(settings))
    assert isinstance(backend, RpcBackend)
    return backend


@pytest.fixture(params=["amqp", "pika"])
def url(request: pytest.FixtureRequest) -> str:
    return amqp_url(request).replace("amqp://", f"{request.param}://", 1)


@pytest.fixture
def backend(url: str) -> Iterator[RpcBackend]:
    backend = open_rpc(url)
    yield backend
    backend.close()


@pytest.fixture
def link(rabbitmq: VirtualHost) -> Iterator[Link]:
    """A connection to look at queues."""
    where = address(rabbitmq.url, Settings())
    link = drivers(where)[0](where)
    link.open()
    yield link
    link.close()


def exists(link: Link, queue: str) -> bool:
    try:
        link.size(queue)
    except ChannelError:
        return False
    return True


def outcome(task_id: str, reply_to: str | None, payload: bytes = b"{}") -> Outcome:
    return Outcome(task_id, states.SUCCESS, payload, reply_to)


def document(task_id: str, state: str = states.SUCCESS) -> bytes:
    return msgspec.json.encode({"status": state, "result": 1, "task_id": task_id})


# What is sent


@pytest.mark.parametrize(("persistent", "mode"), [(False, 1), (True, 2)])
def test_a_result_is_a_message_as_celery_sends_it(
    rabbitmq: VirtualHost, link: Link, persistent: bool, mode: int
) -> None:
    backend = open_rpc(rabbitmq.url, result_persistent=persistent)
    link.run(DeclareQueue("celerys-own"))
    body = document("a")
    backend.store([Outcome("a", states.SUCCESS, body, "celerys-own")])
    arrival = link.get("celerys-own")
    assert arrival is not None
    parcel = arrival.parcel
    assert (parcel.body, parcel.exchange, parcel.routing_key) == (body, "", "celerys-own")
    assert (parcel.content_type, parcel.content_encoding) == ("application/json", "utf-8")
    assert (parcel.correlation_id, parcel.delivery_mode) == ("a", mode)
    backend.close()


def test_compressed_results_are_sent_plain(rabbitmq: VirtualHost, link: Link) -> None:
    """Celery's rpc:// knows no compression."""
    backend = open_rpc(rabbitmq.url)
    link.run(DeclareQueue("plain"))
    body = document("a") + b" " * 1000
    packed = compress_result(body, "gzip")
    assert len(packed) < len(body)
    backend.store([Outcome("a", states.SUCCESS, packed, "plain")])
    arrival = link.get("plain")
    assert arrival is not None
    assert arrival.parcel.body == body
    backend.close()


@pytest.mark.parametrize(
    ("serializer", "content"),
    [("msgpack", ("application/x-msgpack", "binary")), ("mine", ("application/x-mine", "binary"))],
)
def test_other_serializers(
    rabbitmq: VirtualHost, link: Link, serializer: str, content: tuple[str, str]
) -> None:
    backend = open_rpc(rabbitmq.url, result_serializer=serializer)
    link.run(DeclareQueue("q"))
    backend.store([outcome("a", "q")])
    arrival = link.get("q")
    assert arrival is not None
    assert (arrival.parcel.content_type, arrival.parcel.content_encoding) == content
    backend.close()


def test_who_has_gone_gets_nothing_and_the_others_theirs(backend: RpcBackend) -> None:
    backend.expect()
    mine = backend.reply_to
    places = {"a": mine, "b": "gone", "c": None, "d": mine}
    backend.store([outcome(task_id, place) for task_id, place in places.items()])
    assert set(backend.fetch(list(places))) == {"a", "d"}


# What is read


def test_results_of_another_process_while_threads_and_a_loop_wait(
    url: str, backend: RpcBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RpcBackend, "polls", (3600.0, 3600.0))
    backend.expect()
    ids = [f"t{n}" for n in range(20)]

    async def on_loop() -> set[str]:
        found = await asyncio.gather(*(backend.await_([key], PATIENCE) for key in ids))
        return {key for each in found for key in each}

    with ThreadPoolExecutor(9) as threads:
        waiting = [threads.submit(backend.wait, [key], PATIENCE) for key in ids[:8]]
        loop = threads.submit(asyncio.run, on_loop())
        subprocess.run([sys.executable, "-c", STORE, url, backend.reply_to, *ids], check=True)
        assert [set(waiter.result()) for waiter in waiting] == [{key} for key in ids[:8]]
        assert loop.result() == set(ids)


def test_a_forked_child_has_an_address_of_its_own(rabbitmq: VirtualHost) -> None:
    backend = open_rpc(rabbitmq.url)
    backend.expect()
    parent = backend.reply_to
    backend.store([outcome("before", parent)])

    def child() -> None:
        assert backend.reply_to != parent
        backend.expect()
        backend.store([outcome("mine", backend.reply_to), outcome("theirs", parent)])
        assert set(backend.wait(["mine"], PATIENCE)) == {"mine"}
        assert set(backend.fetch(["mine", "before", "theirs"])) == {"mine"}
        backend.close()

    with forked(child):
        pass
    assert backend.reply_to == parent
    assert set(backend.wait(["theirs"], PATIENCE)) == {"theirs"}
    assert set(backend.fetch(["before", "theirs", "mine"])) == {"before", "theirs"}
    backend.close()


def test_what_is_sent_while_the_connection_is_lost_is_not(
    rabbitmq: VirtualHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = next(iter(address(rabbitmq.url, Settings()).nodes))
    other = open_rpc(rabbitmq.url)
    with proxy(where.port) as network:
        url = rabbitmq.url.replace(f":{where.port}/", f":{network.port}/")
        backend = open_rpc(url)
        backend.expect()
        other.store([outcome("a", backend.reply_to)])
        assert set(backend.wait(["a"], PATIENCE)) == {"a"}
        network.stall()
        network.hang_up()
        other.store([outcome("b", backend.reply_to)])
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(backend.wait, ["b"], PATIENCE)
            network.heal()
            network.hang_up()
            assert set(waiting.result()) == {"b"}
        backend.close()
    other.close()


def test_a_queue_that_was_deleted_is_made_again(backend: RpcBackend, link: Link) -> None:
    assert backend.fetch(["a"]) == {}
    link.delete(backend.reply_to)
    wait_until(lambda: exists(link, backend.reply_to), PATIENCE, "the queue to be there again")
    backend.store([outcome("a", backend.reply_to)])
    assert set(backend.wait(["a"], PATIENCE)) == {"a"}


def test_a_queue_that_nobody_reads_is_declared_anew(
    backend: RpcBackend, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.expect()
    backend.expect()  # declares nothing
    link.delete(backend.reply_to)
    backend.store([outcome("a", backend.reply_to)])
    assert backend.fetch(["a"]) == {}
    assert exists(link, backend.reply_to)


def test_results_that_nobody_reads_make_room(
    rabbitmq: VirtualHost, caplog: pytest.LogCaptureFixture
) -> None:
    backend = open_rpc(rabbitmq.url, result_cache_max=3)
    backend.expect()
    with caplog.at_level(logging.WARNING, "taskq.results"):
        backend.store([outcome(f"t{n}", backend.reply_to) for n in range(3)])
        assert set(backend.fetch(["t1"])) == {"t1"}
        backend.store([outcome("t3", backend.reply_to)])
        # What has been read goes first, and nobody is told.
        assert set(backend.fetch(["t0", "t1", "t2", "t3"])) == {"t0", "t2", "t3"}
        assert not caplog.records
        backend.forget(["t0", "t2", "t3"])
        backend.store([outcome(f"u{n}", backend.reply_to) for n in range(5)])
        backend.fetch(["none"])  # all are here now
        assert set(backend.fetch([f"u{n}" for n in range(5)])) == {"u2", "u3", "u4"}
    (record,) = caplog.records
    assert "result_cache_max" in record.getMessage()
    backend.close()


# What is left behind


def test_closing_deletes_the_queue(backend: RpcBackend, link: Link) -> None:
    backend.expect()
    first = backend.reply_to
    assert exists(link, first)
    backend.close()
    assert not exists(link, first)
    backend.expect()
    assert backend.reply_to != first
    assert backend.fetch(["a"]) == {}
    backend.close()
    assert not exists(link, backend.reply_to)


@pytest.mark.parametrize("how", [[], ["read"]])
def test_a_process_that_ends_leaves_no_queue(url: str, link: Link, how: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LEAVE, url, *how],
        capture_output=True,
        text=True,
        check=True,
    )
    name, found = ended.stdout.split()
    assert name.startswith("taskq.replies.")
    assert (found, ended.stderr) == ("{}", "")
    assert not exists(link, name)


# What it cannot do


@pytest.fixture
def app(rabbitmq: VirtualHost) -> Iterator[TaskQ]:
    app = TaskQ(broker=rabbitmq.url, backend="rpc://", set_as_current=False)

    @app.task(name="add")
    def add(*numbers: int) -> int:
        return sum(numbers)

    yield app
    app.close()


@pytest.mark.parametrize(
    "make",
    [
        lambda add: chord([add.s(1), add.s(2)], add.s()),
        lambda add: chain(group(add.s(1), add.s(2)), add.s()),
    ],
)
def test_chords_are_refused_when_they_are_sent(app: TaskQ, make: Callable[[Any], Any]) -> None:
    with pytest.raises(ImproperlyConfigured, match="chord"):
        make(app.tasks["add"]).apply_async()
    assert app.broker.depth("default").ready == 0


def test_groups_are_not_saved(app: TaskQ) -> None:
    with pytest.raises(ImproperlyConfigured, match="groups"):
        group(app.tasks["add"].s(1), app=app)().save()


def test_only_those_that_want_a_result_bear_an_address(app: TaskQ) -> None:
    add = app.tasks["add"]
    messages = [
        app.producer.build("add", (1,), {}, options, add)  # type: ignore[arg-type]
        for options in ({}, {"ignore_result": True}, {"reply_to": "elsewhere"})
    ]
    backend: Backend = app.backend
    assert [m.reply_to for m in messages] == [backend.reply_to, None, "elsewhere"]


def test_it_needs_a_rabbitmq() -> None:
    app = TaskQ(broker="redis://localhost", backend="rpc://", set_as_current=False)
    with pytest.raises(ImproperlyConfigured, match="amqp://"):
        app.send_task("add", (1,))


@pytest.mark.parametrize("broker", ["the same", "amqp", "pika", "redis"])
def test_by_another_rabbitmq_than_the_broker(
    rabbitmq: VirtualHost, redis: RedisServer, broker: str
) -> None:
    with rabbitmq.server.virtual_host() as other:
        driver = "pika" if broker == "pika" else "amqp"
        place = rabbitmq if broker == "the same" else other
        url = redis.url if broker == "redis" else place.url.replace("amqp:", f"{driver}:")
        results = rabbitmq.url.replace("amqp:", "rpc:")
        backend = open_rpc(url, result_backend=results)
        try:
            address = backend.reply_to
            assert address is not None
            backend.expect()
            assert address in rabbitmq.queues()
            assert other.queues() == []
            there = open_rpc(url, result_backend=results)
            there.store([Outcome("a", states.SUCCESS, b"{}", address)])
            there.close()
            assert backend.wait(["a"], PATIENCE)["a"].state == states.SUCCESS
        finally:
            backend.close()
