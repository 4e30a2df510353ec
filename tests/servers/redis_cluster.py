"""A Redis Cluster: three masters, and a replica of each that takes over when it dies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.servers.base import HOST, ServerError, free_ports, private_folder, start_all
from tests.servers.redis import RedisServer, redis_binary
from tests.servers.redis_set import REPLICATION, RedisSet, follows, running, subfolder
from tests.servers.resp import ReplyError

#: What keys are spread over (Redis Cluster specification).
SLOTS = 16_384
MASTERS = 3


class Member(NamedTuple):
    """A node as another one, or it itself, sees it: a line of CLUSTER NODES.

    Attributes:
        id: its name, for as long as its folder lives.
        port: where clients connect.
        flags: ``master`` or ``slave``, ``fail`` if it is dead, ``fail?`` if it may be.
        master: the id of what it is a replica of, or ``-``.
        slots: ranges of what it serves.
    """

    id: str
    port: int
    flags: frozenset[str]
    master: str
    slots: tuple[str, ...]


class ClusterNode(RedisServer):
    """One node of a cluster; takes Redis 7 or Valkey.

    Args:
        directory: a private folder; the node keeps what it knows of the others there.
        port: for clients.
        bus_port: for the other nodes.
        node_timeout: seconds until a silent node counts as dead.
    """

    def __init__(
        self, directory: Path, port: int, bus_port: int, *, node_timeout: float = 1.5
    ) -> None:
        arguments = ["--cluster-enabled", "yes", "--cluster-port", str(bus_port)]
        arguments += ["--cluster-node-timeout", f"{node_timeout * 1000:.0f}"]
        super().__init__(directory, port, arguments=[*arguments, *REPLICATION])
        self.bus_port = bus_port

    @property
    def url(self) -> str:
        return f"rediscluster://{HOST}:{self.port}/0"

    def members(self) -> frozenset[Member]:
        """The cluster as this node sees it.

        Raises:
            OSError: it does not answer.
        """
        lines: list[str] = self.ask("CLUSTER", "NODES", timeout=1.0).decode().splitlines()
        return frozenset(_member(line.split(" ")) for line in lines)

    def serves(self) -> bool:
        """Whether it takes the cluster for complete, and so answers clients."""
        return b"cluster_state:ok" in self.ask("CLUSTER", "INFO", timeout=1.0)


class RedisCluster(RedisSet):
    """Three masters and a replica of each.

    Args:
        directory: a private folder.
        node_timeout: seconds until a silent node counts as dead.

    Attributes:
        nodes: all six; the first three are the first masters, in the order of their slots.
    """

    def __init__(self, directory: Path, *, node_timeout: float = 1.5) -> None:
        ports = free_ports(4 * MASTERS)
        self.nodes = [
            ClusterNode(subfolder(directory, port), port, bus_port, node_timeout=node_timeout)
            for port, bus_port in zip(ports[::2], ports[1::2], strict=True)
        ]

    @property
    def url(self) -> str:
        """The first node's; clients learn the others from it."""
        return self.nodes[0].url

    @property
    def servers(self) -> list[ClusterNode]:
        return self.nodes

    @property
    def masters(self) -> list[ClusterNode]:
        """The nodes that run and are masters by their own account."""
        return [node for node in running(self.nodes) if node.ask("ROLE")[0] == b"master"]

    def start(self) -> None:
        start_all(self.nodes)
        for epoch, node in enumerate(self.nodes, 1):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", str(epoch))  # spares them to argue about it
        masters = self.nodes[:MASTERS]
        for number, node in enumerate(masters):
            first, end = (SLOTS * n // MASTERS for n in (number, number + 1))
            node.ask("CLUSTER", "ADDSLOTSRANGE", str(first), str(end - 1))
        self._introduce()
        for master, replica in zip(masters, self.nodes[MASTERS:], strict=True):
            replica.ask("CLUSTER", "REPLICATE", master.ask("CLUSTER", "MYID").decode())
        self.wait_healthy()

    def revive(self) -> None:
        start_all(node for node in self.nodes if not node.running())
        self.wait_healthy()

    def flush(self) -> None:
        for master in self.masters:
            master.ask("FLUSHALL")

    def healthy(self) -> bool:
        alive = running(self.nodes)
        try:
            return (
                all(node.serves() for node in alive)
                and len(views := {node.members() for node in alive}) == 1
                and self._settled(views.pop())
                and all(self._in_sync(node) for node in alive)
            )
        except (OSError, ReplyError):
            return False

    def master_of(self, key: str) -> ClusterNode:
        """The master that serves a key, as the first node that runs sees it.

        Raises:
            ServerError: none serves it.
        """
        for node in running(self.nodes):
            if master := self._master_seen_by(node, key):
                return master
        raise ServerError(f"no node of {self.url} knows a master for the key {key!r}")

    def fail_over(self, key: str, timeout: float = 30.0) -> ClusterNode:
        """Kill the master of a key and wait until all know its replica as master, then return it.

        It takes about 3 s. ``revive()`` what died before the same is done to the other.

        Raises:
            ServerError: no replica took over in time.
        """
        dead = self.master_of(key)
        dead.kill()

        def replaced() -> bool:
            alive = running(self.nodes)
            return all(
                self._master_seen_by(node, key) not in (None, dead) for node in alive
            ) and all(node.serves() for node in alive)

        self._wait(replaced, timeout, f"a master in place of {dead.url}")
        return self.master_of(key)

    def _introduce(self) -> None:
        """Let every node meet every other: gossip would take longer."""
        for number, node in enumerate(self.nodes):
            for other in self.nodes[:number]:
                node.ask("CLUSTER", "MEET", HOST, str(other.port), str(other.bus_port))

        def acquainted() -> bool:
            return all(self._knows_all(node.members()) for node in self.nodes)

        self._wait(acquainted, 30.0, "the nodes of a cluster to meet")

    def _knows_all(self, members: frozenset[Member]) -> bool:
        known = {member.port for member in members if not member.flags & {"handshake", "noaddr"}}
        return known == {node.port for node in self.nodes}

    def _settled(self, members: frozenset[Member]) -> bool:
        """Whether what is dead, and nothing else, is taken for dead."""
        alive = {node.port for node in running(self.nodes)}
        return self._knows_all(members) and all(
            member.flags.isdisjoint({"fail?", "fail"}) == (member.port in alive)
            and "fail?" not in member.flags
            for member in members
        )

    def _in_sync(self, node: ClusterNode) -> bool:
        """Whether it is a master, or has all that its master has."""
        members = node.members()
        (me,) = (member for member in members if member.port == node.port)
        masters = [member.port for member in members if member.id == me.master]
        return not masters or follows(node.ask("ROLE", timeout=1.0), masters[0])

    def _master_seen_by(self, node: ClusterNode, key: str) -> ClusterNode | None:
        slot = node.ask("CLUSTER", "KEYSLOT", key)
        for first, last, master, *_ in node.ask("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == master[1])
        return None


def _member(fields: list[str]) -> Member:
    flags = frozenset(fields[2].split(",")) - {"myself"}
    port = int(fields[1].partition("@")[0].rpartition(":")[2])
    return Member(fields[0], port, flags, fields[3], tuple(fields[8:]))


@contextlib.contextmanager
def redis_cluster(*, node_timeout: float = 1.5) -> Iterator[RedisCluster]:
    """A healthy cluster until the end of the block; see ``RedisCluster`` for the arguments.

    Raises:
        MissingServerError: Redis is not installed.
        ServerError: it did not start.
    """
    redis_binary()
    with private_folder("cluster") as directory:
        cluster = RedisCluster(directory, node_timeout=node_timeout)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.kill()
