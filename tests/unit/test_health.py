"""Probes: the server, and what a worker and a beat say."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from taskq.beat.health import BeatHealth
from taskq.exceptions import ImproperlyConfigured, OperationalError
from taskq.health import Health, HealthServer
from taskq.worker.health import WorkerHealth

FINE = Health(details={"worker": "w1@here"})


@pytest.fixture
def server() -> Iterator[HealthServer]:
    server = HealthServer("127.0.0.1:0", lambda: FINE)
    server.open()
    yield server
    server.close()


def ask(server: HealthServer, path: str, method: str = "GET") -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, json.loads(body) if body else None
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/live", "/ready", "/ready?verbose"])
def test_fine(server: HealthServer, path: str) -> None:
    assert ask(server, path) == (200, {"status": "ok", "worker": "w1@here"})


def test_other_paths_and_methods(server: HealthServer) -> None:
    assert ask(server, "/")[0] == 404
    assert ask(server, "/live", "HEAD") == (200, None)


def test_not_ready() -> None:
    health = Health(live=True, ready=False, reason="the worker is starting")
    assert health.answer("/live")[0] == 200
    assert health.answer("/ready") == (
        503,
        {"status": "unavailable", "reason": "the worker is starting"},
    )


def test_nobody_keeps_others_from_asking(server: HealthServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as silent:
        silent.sendall(b"GET /li")
        assert ask(server, "/live")[0] == 200


def test_an_address_in_use(server: HealthServer) -> None:
    other = HealthServer(f"127.0.0.1:{server.port}", lambda: FINE)
    with pytest.raises(OperationalError, match=r"cannot listen on 127\.0\.0\.1:\d+: Address alr"):
        other.open()
    other.close()


@pytest.mark.parametrize("address", ["8080", "host:", "host:port", "unix:", "host:70000"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"'{address}' is no address"):
        HealthServer(address, lambda: FINE)


def test_a_host_that_is_not_there() -> None:
    with pytest.raises(OperationalError, match="cannot listen on"):
        HealthServer("256.1.1.1:0", lambda: FINE).open()


def test_a_socket_in_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # such paths are short
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind("health.sock")  # somebody was killed and has left it
    server = HealthServer("unix:health.sock", lambda: FINE)
    server.open()
    try:
        with pytest.raises(OperationalError, match="already in use"):
            HealthServer("unix:health.sock", lambda: FINE).open()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect("health.sock")
            client.sendall(b"GET /live HTTP/1.0\r\n\r\n")
            assert client.recv(1000).startswith(b"HTTP/1.0 200")
    finally:
        server.close()
    assert not Path("health.sock").exists()


# Worker


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    return clock


def test_the_life_of_a_worker(clock: SimpleNamespace) -> None:
    health = WorkerHealth("127.0.0.1:0")
    health._worker = SimpleNamespace(hostname="w1@here")  # type: ignore[assignment]
    dispatcher: Any = SimpleNamespace(failed_at=0.0, running=2, waiting=3)
    assert health.look() == Health(
        True, False, "the worker is starting", {"worker": "w1@here", "broker_seen": 0.0}
    )
    health.works(dispatcher)
    found = health.look()
    assert (found.live, found.ready, found.reason) == (True, True, "")
    assert found.details == {"worker": "w1@here", "broker_seen": 0.0, "running": 2, "waiting": 3}
    dispatcher.failed_at = clock.now
    assert health.look().reason == "the worker cannot consume"
    health._seen = clock.now + 3  # the broker answers again, and nothing has failed since
    assert health.look().ready
    dispatcher.failed_at = clock.now + 2  # it answers, and cannot be consumed
    assert not health.look().ready
    dispatcher.failed_at = 0.0
    clock.now += 19
    health._ticked = health._seen
    assert health.look() == Health(
        True, False, "the broker has not answered for 16 s", health.look().details
    )
    health.stops()
    assert (health.look().live, health.look().ready) == (True, False)
    clock.now += 16
    found = health.look()
    assert (found.live, found.ready) == (False, False)
    assert found.reason == "the event loop has stood still for 32 s"


# beat


def test_the_life_of_a_beat(clock: SimpleNamespace) -> None:
    health = BeatHealth()
    assert health.look({}) == Health(True, False, "beat is starting")
    health.looks_again(0.5)
    assert health.look({"lateness": 0.1}) == Health(details={"lateness": 0.1})
    health.looks_again(1.0, "nothing can be sent: gone")
    assert health.look({}) == Health(True, False, "nothing can be sent: gone")
    clock.now += 32
    found = health.look({})
    assert (found.live, found.reason) == (False, "one look at the schedule has taken 31 s")
    health.looks_again(0.5)
    health.stopping = True
    assert health.look({}).reason == "beat is shutting down"
