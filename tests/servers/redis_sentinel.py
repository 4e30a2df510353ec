"""A Redis master with replicas, and the sentinels that choose another when it dies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tests.servers.base import HOST, ServerError, free_ports, private_folder, start_all
from tests.servers.redis import RedisServer, redis_binary
from tests.servers.redis_set import REPLICATION, RedisSet, follows, running, subfolder
from tests.servers.resp import ReplyError

#: What the sentinels call the master.
SERVICE = "mymaster"

#: Milliseconds between what sentinels do, where they would take seconds (SENTINEL DEBUG, Redis 7;
#: an older one is slower). The last two keep a machine that stalls from pausing them for 30 s.
PERIODS = {
    "ping-period": 200,
    "ask-period": 200,
    "publish-period": 200,
    "info-period": 500,
    "tilt-trigger": 10_000,
    "tilt-period": 1000,
}

#: What a sentinel knows of another server.
Fields = dict[bytes, bytes]


class SentinelServer(RedisServer):
    """One sentinel.

    Args:
        directory: a private folder; the sentinel keeps what it learns there.
        port: for clients and other sentinels.
        master_port: where the first master is.
        quorum: how many sentinels must miss the master before another is chosen.
        down_after: seconds of silence until one misses it.
        failover_timeout: seconds after which a failover that got stuck is tried again, twice that.
    """

    name = "redis-sentinel"

    def __init__(
        self,
        directory: Path,
        port: int,
        *,
        master_port: int,
        quorum: int = 2,
        down_after: float = 0.75,
        failover_timeout: float = 2.0,
    ) -> None:
        super().__init__(directory, port)
        self.config = {
            f"monitor {SERVICE} {HOST}": f"{master_port} {quorum}",
            f"down-after-milliseconds {SERVICE}": f"{down_after * 1000:.0f}",
            f"failover-timeout {SERVICE}": f"{failover_timeout * 1000:.0f}",
        }

    @property
    def url(self) -> str:
        return f"sentinel://{HOST}:{self.port}/{SERVICE}/0"

    def command(self) -> Sequence[str]:
        return [redis_binary(), str(self._config_file), "--sentinel"]

    def launch(self) -> None:
        if not self._config_file.exists():  # afterwards it is the sentinel's own
            lines = [f"port {self.port}", f"bind {HOST}", f"dir {self.directory}"]
            lines += [f"sentinel {key} {value}" for key, value in self.config.items()]
            self._config_file.write_text("\n".join(lines) + "\n")
        super().launch()

    def wait_started(self) -> None:
        super().wait_started()
        for name, value in PERIODS.items():
            with contextlib.suppress(ReplyError):
                self.ask("SENTINEL", "DEBUG", name, str(value))

    def master_port(self) -> int | None:
        """The port of the master that this sentinel names; None if it does not answer."""
        try:
            reply = self.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE, timeout=1.0)
        except OSError:
            return None
        return int(reply[1]) if reply else None

    def sees(self, *what: str) -> dict[int, Fields]:
        """What it knows of ``MASTERS``, a master's ``REPLICAS``, or ``SENTINELS``, by port.

        Raises:
            OSError: it does not answer.
        """
        rows = self.ask("SENTINEL", *what, timeout=1.0)
        known = [dict(zip(row[::2], row[1::2], strict=True)) for row in rows]
        return {int(fields[b"port"]): fields for fields in known}

    @property
    def _config_file(self) -> Path:
        return self.directory / "sentinel.conf"


class RedisSentinel(RedisSet):
    """A master, its replicas and their sentinels.

    Args:
        directory: a private folder.
        replicas: how many; with one, ``revive()`` what died before the next failover.
        sentinels: how many.
        down_after: seconds until a silent server counts as dead.

    Attributes:
        nodes: the servers with data; the first one is the first master.
        sentinels: their sentinels.
    """

    def __init__(
        self, directory: Path, *, replicas: int = 1, sentinels: int = 3, down_after: float = 0.75
    ) -> None:
        master_port, *ports = free_ports(1 + replicas + sentinels)
        self.nodes = [
            RedisServer(subfolder(directory, port), port)
            for port in (master_port, *ports[:replicas])
        ]
        self.sentinels = [
            SentinelServer(
                subfolder(directory, port),
                port,
                master_port=master_port,
                quorum=sentinels // 2 + 1,
                down_after=down_after,
            )
            for port in ports[replicas:]
        ]

    @property
    def servers(self) -> list[RedisServer]:
        return [*self.nodes, *self.sentinels]

    @property
    def url(self) -> str:
        """All sentinels, the master's name among them, and the database."""
        hosts = ",".join(f"{HOST}:{sentinel.port}" for sentinel in self.sentinels)
        return f"sentinel://{hosts}/{SERVICE}/0"

    @property
    def master(self) -> RedisServer:
        """The master that the first sentinel that answers names, as a client would ask.

        Raises:
            ServerError: no sentinel answers.
        """
        for sentinel in self.sentinels:
            if port := sentinel.master_port():
                return self._node(port)
        raise ServerError("no sentinel answers: start one")

    @property
    def replicas(self) -> list[RedisServer]:
        """The other nodes, dead ones among them."""
        master = self.master
        return [node for node in self.nodes if node is not master]

    def start(self) -> None:
        """Start everything and wait until it is healthy.

        Raises:
            ServerError: one of them did not start, or they did not find each other.
        """
        self._follow(self.nodes[0], self.nodes)
        # The sentinels come last: the master they look for answers, so they need not look twice.
        start_all(self.nodes)
        start_all(self.sentinels)
        self.wait_healthy()

    def flush(self) -> None:
        self.master.ask("FLUSHALL")

    def healthy(self) -> bool:
        try:
            master = self._agreed()
            return master is not None and self._replicating(master) and self._acquainted(master)
        except (OSError, LookupError, ReplyError):  # one does not answer, or knows nothing yet
            return False

    def fail_over(self, timeout: float = 30.0) -> RedisServer:
        """Kill the master and wait until the sentinels agree on another, which is returned.

        It takes about 2 s. The other replicas may not follow it yet: see ``wait_healthy()``.

        Raises:
            ServerError: they did not agree in time.
        """
        dead = self.master
        dead.kill()
        self._wait(
            lambda: self._agreed() not in (None, dead), timeout, f"a master in place of {dead.url}"
        )
        master = self.master
        self._follow(master, running(self.nodes))
        return master

    def revive(self) -> None:
        """Start what is dead, nodes as replicas of the master, and wait until all is healthy.

        A node's own ``start()`` brings it back as what it was when it died: an old master is
        master for a second or longer, until the sentinels tell it.

        Raises:
            ServerError: one of them did not start, or they did not find each other.
        """
        start_all(sentinel for sentinel in self.sentinels if not sentinel.running())
        self._follow(self.master, self.nodes)
        start_all(node for node in self.nodes if not node.running())
        self.wait_healthy()

    def _node(self, port: int) -> RedisServer:
        return next(node for node in self.nodes if node.port == port)

    def _follow(self, master: RedisServer, nodes: Iterable[RedisServer]) -> None:
        """Let nodes be this master, or its replicas, when they start the next time."""
        for node in nodes:
            following = [] if node is master else ["--replicaof", HOST, str(master.port)]
            node.arguments = [*REPLICATION, *following]

    def _agreed(self) -> RedisServer | None:
        """The master that all running sentinels name."""
        named = {sentinel.master_port() for sentinel in running(self.sentinels)}
        port = named.pop() if len(named) == 1 else None
        return self._node(port) if port else None

    def _replicating(self, master: RedisServer) -> bool:
        if master.ask("ROLE", timeout=1.0)[0] != b"master":
            return False
        for node in running(self.nodes):
            if node is not master and not follows(node.ask("ROLE", timeout=1.0), master.port):
                return False
        return True

    def _acquainted(self, master: RedisServer) -> bool:
        nodes = {node.port for node in running(self.nodes)} - {master.port}
        sentinels = {sentinel.port for sentinel in running(self.sentinels)}
        for sentinel in running(self.sentinels):
            masters = sentinel.sees("MASTERS")
            replicas = sentinel.sees("REPLICAS", SERVICE)
            others = sentinel.sees("SENTINELS", SERVICE)
            if not (
                _flags(masters[master.port]) == {b"master"}
                and all(_could_be_master(replicas.get(port)) for port in nodes)
                and all(_is_heard(others.get(port)) for port in sentinels - {sentinel.port})
            ):
                return False
        return True


def _could_be_master(replica: Fields | None) -> bool:
    """Whether a sentinel would choose this replica, as it sees it."""
    return (
        replica is not None
        and _flags(replica) == {b"slave"}
        and replica[b"master-link-status"] == b"ok"
    )


def _is_heard(sentinel: Fields | None) -> bool:
    """Whether a sentinel answers another; that it once missed the master does not matter."""
    return sentinel is not None and _flags(sentinel) <= {b"sentinel", b"master_down"}


def _flags(fields: Fields) -> set[bytes]:
    return set(fields[b"flags"].split(b","))


@contextlib.contextmanager
def redis_sentinel(
    *, replicas: int = 1, sentinels: int = 3, down_after: float = 0.75
) -> Iterator[RedisSentinel]:
    """A healthy set until the end of the block; see ``RedisSentinel`` for the arguments.

    Raises:
        MissingServerError: Redis is not installed.
        ServerError: it did not start.
    """
    redis_binary()
    with private_folder("sentinel") as directory:
        servers = RedisSentinel(
            directory, replicas=replicas, sentinels=sentinels, down_after=down_after
        )
        try:
            servers.start()
            yield servers
        finally:
            servers.kill()
