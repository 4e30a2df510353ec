"""The servers that other tests rely on: they start, answer, come back, and leave nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from kombu import Connection, Consumer, Exchange, Producer, Queue
from redis import Redis
from redis import RedisCluster as ClusterClient
from redis import exceptions as redis_errors

from tests.conftest import _started
from tests.servers import (
    HOST,
    MissingServerError,
    RabbitMQAddress,
    RabbitMQServer,
    RedisCluster,
    RedisSentinel,
    RedisServer,
    ReplyError,
    Server,
    ServerError,
    VirtualHost,
    free_ports,
    redis_cluster,
    redis_sentinel,
    redis_server,
)
from tests.servers.base import find_binary
from tests.servers.shared import shared
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

    @pytest.mark.parametrize(
        ("start", "servers"),
        [
            ("redis_server", "[started]"),
            ("redis_sentinel", "started.servers"),
            ("redis_cluster", "started.servers"),
        ],
    )
    def test_dies_with_its_owner(self, tmp_path: Path, start: str, servers: str) -> None:
        owner = textwrap.dedent(f"""
            from tests.servers import {start}
            with {start}() as started:
                print(*(server.pid for server in {servers}), flush=True)
                input()
        """)
        with subprocess.Popen(
            [sys.executable, "-c", owner],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(tmp_path)},  # what it leaves there is pytest's
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            pids = [int(pid) for pid in process.stdout.readline().split()]
            assert pids
            assert all(map(exists, pids))
            process.kill()
        wait_until(lambda: not any(map(exists, pids)), 10, f"{pids} to die with their owner")

    def test_a_question_gets_its_answer(self, redis: RedisServer) -> None:
        assert redis.ask("SET", "key", "one\r\ntwo") == b"OK"
        assert redis.ask("GET", "key") == b"one\r\ntwo"
        assert redis.ask("GET", "missing") is None
        assert redis.ask("RPUSH", "list", "a", "", "c") == 3
        assert redis.ask("LRANGE", "list", "0", "-1") == [b"a", b"", b"c"]
        assert redis.ask("LRANGE", "missing", "0", "-1") == []

    def test_a_refused_question_raises_what_the_server_said(self, redis: RedisServer) -> None:
        with pytest.raises(ReplyError, match="unknown command"):
            redis.ask("NO-SUCH-COMMAND")

    def test_by_tls_only_and_only_with_the_right_authority(self) -> None:
        with redis_server(transport="tls") as server:
            assert server.url == f"rediss://{HOST}:{server.port}/0"
            authority = server.ca_file.read_bytes()
            server.restart()
            assert server.ca_file.read_bytes() == authority
            with Redis.from_url(server.url, ssl_ca_certs=str(server.ca_file)) as client:
                assert client.ping()
            with (
                Redis.from_url(server.url) as client,
                pytest.raises(redis_errors.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"),
            ):
                client.ping()
            with (
                Redis.from_url(server.url.replace("rediss", "redis")) as client,
                pytest.raises(redis_errors.ConnectionError),
            ):
                client.ping()

    def test_by_a_unix_socket_only(self) -> None:
        with redis_server(transport="unix") as server:
            assert server.url.startswith("unix:///")
            with Redis.from_url(server.url) as client:
                assert client.ping()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((HOST, server.port), timeout=1)
            server.kill()
            assert not server.answers()

    @pytest.mark.parametrize("transport", ["tcp", "unix"])
    @pytest.mark.parametrize("user", ["", "somebody"])
    def test_with_a_password_nobody_gets_in_without_it(
        self, user: str, transport: Literal["tcp", "unix"]
    ) -> None:
        with redis_server(transport=transport, user=user, password="a/b:c@d %e") as server:
            assert server.ask("ACL", "WHOAMI").decode() == (user or "default")
            with Redis.from_url(server.url) as client:
                assert client.ping()
            with (
                Redis.from_url(re.sub("//.*@", "//", server.url)) as client,
                pytest.raises(redis_errors.AuthenticationError),
            ):
                client.ping()


def data_files_of(servers: Sequence[Server]) -> list[Path]:
    found = [path for server in servers for path in server.directory.rglob("*")]
    assert found
    return [path for path in found if path.suffix in (".rdb", ".aof")]


@pytest.fixture(scope="class")
def sentinel(shared_redis: RedisServer) -> Iterator[RedisSentinel]:
    """A master, two replicas and their sentinels, where there is a Redis at all."""
    with redis_sentinel(replicas=2) as servers:
        yield servers


@pytest.mark.redis
class TestSentinel:
    def test_names_its_master(self, sentinel: RedisSentinel) -> None:
        ports = ",".join(f"{HOST}:{server.port}" for server in sentinel.sentinels)
        assert sentinel.url == f"sentinel://{ports}/mymaster/0"
        assert sentinel.master is sentinel.nodes[0]
        assert sentinel.master.ask("ROLE")[0] == b"master"
        assert sentinel.replicas == sentinel.nodes[1:]
        assert len(sentinel.sentinels) == 3

    def test_keeps_no_data_on_disk(self, sentinel: RedisSentinel) -> None:
        assert data_files_of(sentinel.nodes) == []

    def test_another_master_takes_over_what_the_first_had(self, sentinel: RedisSentinel) -> None:
        first = sentinel.master
        first.ask("SET", "key", "1")
        assert first.ask("WAIT", "2", "5000") == 2
        second = sentinel.fail_over()
        assert not first.running()
        assert sentinel.master is second is not first
        assert second.ask("GET", "key") == b"1"
        assert second.ask("SET", "key", "2") == b"OK"
        sentinel.revive()
        assert first.ask("ROLE")[:3] == [b"slave", HOST.encode(), second.port]
        assert first.ask("GET", "key") == b"2"
        sentinel.flush()
        assert second.ask("DBSIZE") == 0

    def test_a_new_master_stays_one_over_a_restart(self, sentinel: RedisSentinel) -> None:
        first = sentinel.master
        second = sentinel.fail_over()
        second.restart()
        assert second.ask("ROLE")[0] == b"master"
        sentinel.revive()
        assert first.running()

    def test_is_unhealthy_while_one_is_silent(self, sentinel: RedisSentinel) -> None:
        assert sentinel.healthy()
        sentinel.sentinels[0].pause()
        try:
            with pytest.raises(ServerError, match=r"(?s)waited.*to agree.*server\.log"):
                sentinel.wait_healthy(timeout=0.1)
            assert sentinel.master in sentinel.nodes
        finally:
            sentinel.sentinels[0].resume()
        sentinel.wait_healthy()

    def test_goes_on_with_two_of_three_sentinels(self, sentinel: RedisSentinel) -> None:
        sentinel.sentinels[0].kill()
        first = sentinel.master
        assert sentinel.fail_over() is not first
        sentinel.revive()
        assert all(server.running() for server in sentinel.servers)
        assert sentinel.healthy()


@pytest.fixture(scope="class")
def cluster(shared_redis: RedisServer) -> Iterator[RedisCluster]:
    """A cluster, where there is a Redis at all."""
    with redis_cluster() as servers:
        yield servers


@pytest.mark.redis
class TestCluster:
    def test_has_a_replica_of_each_master(self, cluster: RedisCluster) -> None:
        assert cluster.url == f"rediscluster://{HOST}:{cluster.nodes[0].port}/0"
        assert cluster.masters == cluster.nodes[:3]
        for master, replica in zip(cluster.nodes[:3], cluster.nodes[3:], strict=True):
            assert replica.ask("ROLE")[:3] == [b"slave", HOST.encode(), master.port]

    def test_keeps_no_data_on_disk(self, cluster: RedisCluster) -> None:
        assert data_files_of(cluster.nodes) == []

    def test_keys_are_with_the_masters_that_it_names(self, cluster: RedisCluster) -> None:
        keys = ["{a}1", "{a}2", "b", "c", "d"]
        with ClusterClient(host=HOST, port=cluster.nodes[0].port) as client:
            for key in keys:
                client.set(key, "1")
        masters = {key: cluster.master_of(key) for key in keys}
        assert set(masters.values()) == set(cluster.masters)
        assert masters["{a}1"] is masters["{a}2"]
        assert all(master.ask("GET", key) == b"1" for key, master in masters.items())
        cluster.flush()
        assert [node.ask("DBSIZE") for node in cluster.masters] == [0, 0, 0]

    def test_a_replica_takes_over(self, cluster: RedisCluster) -> None:
        first = cluster.master_of("key")
        first.ask("SET", "key", "1")
        assert first.ask("WAIT", "1", "5000") == 1
        second = cluster.fail_over("key")
        assert not first.running()
        assert cluster.master_of("key") is second is not first
        assert second.ask("GET", "key") == b"1"
        assert cluster.healthy()
        cluster.revive()
        assert first.ask("ROLE")[:3] == [b"slave", HOST.encode(), second.port]
        assert len(cluster.masters) == 3

    def test_is_unhealthy_while_one_is_silent(self, cluster: RedisCluster) -> None:
        cluster.nodes[0].pause()
        try:
            with pytest.raises(ServerError, match=r"(?s)waited.*to agree.*server\.log"):
                cluster.wait_healthy(timeout=0.1)
        finally:
            cluster.nodes[0].resume()
        cluster.wait_healthy()


USER = """
import sys
from pathlib import Path
from tests.servers.shared import shared
with shared("redis_server", Path(sys.argv[1])) as address:
    print(address, flush=True)
    input()
"""


@contextmanager
def user_of_shared(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that uses the Redis of that folder until it gets a line."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", USER, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def told(process: subprocess.Popen[str]) -> str:
    """The next line that a process prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def answers(url: str) -> bool:
    """Whether the Redis at that URL does."""
    with Redis.from_url(url) as client:
        try:
            return bool(client.ping())
        except redis_errors.ConnectionError:
            return False


@pytest.mark.redis
class TestShared:
    def test_two_at_once_use_one_and_the_killing_of_the_first_is_not_its_end(
        self, shared_redis: RedisServer, tmp_path: Path
    ) -> None:
        with user_of_shared(tmp_path) as first, user_of_shared(tmp_path) as second:
            url = told(first)
            assert url == told(second)
            first.kill()
            first.wait()
            assert answers(url)
            second.kill()
            second.wait()
            wait_until(lambda: not answers(url), 10, "the server to end with its last user")

    def test_whoever_comes_after_the_end_gets_a_new_one(
        self, shared_redis: RedisServer, tmp_path: Path
    ) -> None:
        for _ in range(3):
            # The end of the one before is under way, or not yet.
            with shared("redis_server", tmp_path) as address:
                assert answers(address)

    @pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for it in /proc")
    def test_a_keeper_that_was_killed_is_replaced(
        self, shared_redis: RedisServer, tmp_path: Path
    ) -> None:
        with shared("redis_server", tmp_path) as first:
            with Redis.from_url(first) as client:
                pid = client.info("server")["process_id"]
            guard = parent_of(pid)
            os.kill(parent_of(guard), signal.SIGKILL)
            wait_until(lambda: not exists(pid), 10, "the server to die with its keeper")
            with shared("redis_server", tmp_path) as second:
                assert answers(second)

    def test_what_does_not_start_says_why(self, tmp_path: Path) -> None:
        with (
            pytest.raises(ServerError, match=r"(?s)no_such_server failed.*no_such_server"),
            shared("no_such_server", tmp_path),
        ):
            pass


def parent_of(pid: int) -> int:
    """The process that started it (Linux)."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.rabbitmq
class TestRabbitMQ:
    def test_carries_a_message(self, rabbitmq: VirtualHost) -> None:
        assert exchange_one_message(rabbitmq.url, "first") == "first"

    def test_a_virtual_host_is_empty_and_leaves_nothing(
        self, rabbitmq_address: RabbitMQAddress
    ) -> None:
        with rabbitmq_address.virtual_host() as one, rabbitmq_address.virtual_host() as other:
            with Connection(one.url) as connection, connection.channel() as channel:
                Queue("here", durable=True)(channel).declare()
            assert one.queues() == ["here"]
            assert other.queues() == []
        left = {host["name"] for host in rabbitmq_address.api("GET", "/vhosts")}
        assert not left & {one.name, other.name}

    def test_a_refused_call_raises_what_the_server_said(self, rabbitmq: VirtualHost) -> None:
        with pytest.raises(ServerError, match=r"GET /vhosts/none gave 404: .*Not Found"):
            rabbitmq.server.api("GET", "/vhosts/none")

    def test_comes_back_after_a_crash_and_leaves_nothing(self, tmp_path: Path) -> None:
        server = RabbitMQServer(tmp_path, *free_ports(4))
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
