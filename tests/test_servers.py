"""The servers that other tests rely on: they start, answer, come back, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kombu import Connection, Consumer, Exchange, Producer, Queue

from tests.conftest import _started
from tests.servers import (
    HOST,
    MissingServerError,
    RabbitMQServer,
    RedisServer,
    Server,
    ServerError,
    free_ports,
    redis_server,
)
from tests.servers.base import find_binary
from tests.waiting import wait_until

ROOT = Path(__file__).parent.parent


def exists(pid: int) -> bool:
    """Whether the process runs; one that ended and that nobody has waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def exchange_one_message(url: str, body: str) -> str:
    """Publish a message to a queue of its own and return what comes out of it."""
    received: list[str] = []
    queue = Queue(f"servers-{body}", Exchange(""), durable=False, auto_delete=True)
    with Connection(url) as connection, connection.channel() as channel:
        bound = queue(channel)
        bound.declare()
        Producer(channel).publish(body, routing_key=queue.name, retry=False)
        with Consumer(channel, [bound], callbacks=[lambda text, _: received.append(text)]) as one:
            one.no_ack = True
            connection.drain_events(timeout=10)
    return received[0]


@pytest.mark.redis
class TestRedis:
    def test_answers_on_its_own_port(self, redis: RedisServer) -> None:
        assert redis.call("PING") == b"+PONG\r\n"
        assert b"tcp_port:%d" % redis.port in redis.call("INFO", "server")
        assert b"process_id:%d" % redis.pid in redis.call("INFO", "server")

    def test_is_gone_after_the_block(self) -> None:
        with redis_server() as server:
            pid, directory = server.pid, server.directory
            assert exists(pid)
        assert not exists(pid)
        assert not directory.exists()
        assert not server.answers()

    @pytest.mark.parametrize(("persist", "kept"), [(True, b"$1\r\n1\r\n"), (False, b"$-1\r\n")])
    def test_restart_keeps_data_only_when_asked(self, persist: bool, kept: bytes) -> None:
        with redis_server(persist=persist) as server:
            before = server.pid
            server.call("SET", "key", "1")
            server.restart()
            assert server.pid != before
            assert server.call("GET", "key") == kept

    def test_persisted_data_survives_a_crash(self) -> None:
        with redis_server(persist=True) as server:
            server.call("SET", "key", "1")
            server.kill()
            assert not server.running()
            server.start()
            assert server.call("GET", "key") == b"$1\r\n1\r\n"

    def test_starts_again_after_it_was_killed_by_others(self) -> None:
        with redis_server() as server:
            os.kill(server.pid, signal.SIGKILL)
            wait_until(lambda: not server.running(), 10, "the guard to notice")
            server.start()
            assert server.answers()

    def test_paused_server_is_running_but_silent(self) -> None:
        with redis_server() as server:
            server.pause()
            with pytest.raises(TimeoutError):
                server.call("PING", timeout=0.2)
            assert server.running()
            server.resume()
            assert server.answers()

    def test_a_bad_argument_is_told_with_the_servers_own_words(self) -> None:
        with (
            pytest.raises(ServerError, match=r"(?s)ended while it started.*no-such-option"),
            redis_server(arguments=["--no-such-option", "1"]),
        ):
            pass

    def test_dies_with_its_owner(self) -> None:
        owner = textwrap.dedent("""
            from tests.servers import redis_server
            with redis_server() as server:
                print(server.pid, flush=True)
                input()
        """)
        with subprocess.Popen(
            [sys.executable, "-c", owner],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            pid = int(process.stdout.readline())
            assert exists(pid)
            process.kill()
        wait_until(lambda: not exists(pid), 10, f"process {pid} to die with its owner")


@pytest.mark.rabbitmq
class TestRabbitMQ:
    def test_carries_a_message(self, rabbitmq: RabbitMQServer) -> None:
        assert exists(rabbitmq.pid)
        assert exchange_one_message(rabbitmq.url, "first") == "first"

    def test_comes_back_after_a_crash_and_leaves_nothing(self, tmp_path: Path) -> None:
        server = RabbitMQServer(tmp_path, *free_ports(3))
        try:
            server.start()
            server.kill()
            assert not server.answers()
            server.start()
            assert exchange_one_message(server.url, "second") == "second"
            session = os.getsid(server.pid)
        finally:
            server.close()
        assert not server.running()
        assert members_of_session(session) == []
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, server.epmd_port), timeout=1)


def members_of_session(session: int) -> list[int]:
    """The live processes of a session (Linux; elsewhere none is found)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        try:
            if os.getsid(pid) == session and exists(pid):
                found.append(pid)
        except OSError:
            continue  # ended while we looked
    return found


def test_ports_are_different_and_free() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20


def test_a_missing_binary_names_the_way_out() -> None:
    with pytest.raises(MissingServerError, match=r"no-such-a or no-such-b is not on PATH.*install"):
        find_binary("no-such-a", "no-such-b")


@contextmanager
def missing_server(tmp_path: Path, name: str = "no-such-server") -> Iterator[Server]:
    find_binary(name)
    yield RedisServer(tmp_path, 1)


def test_a_missing_server_skips_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-server is not on PATH"):
        next(_started(missing_server(tmp_path)))


def test_a_missing_server_fails_in_ci(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-server is not on PATH"):
        next(_started(missing_server(tmp_path)))


def test_a_server_that_was_never_started_says_so(tmp_path: Path) -> None:
    server: Server = RedisServer(tmp_path, 1)
    with pytest.raises(ServerError, match=r"call start\(\) first"):
        _ = server.pid
    with pytest.raises(ServerError, match="not running"):
        server.pause()
    server.kill()
