"""Three nodes of RabbitMQ on this machine, which keep quorum queues together."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from tests.servers.base import ServerError, free_ports, private_folder, start_all
from tests.servers.rabbitmq import RabbitMQServer, rabbitmq_binary
from tests.servers.redis_set import subfolder
from tests.waiting import wait_until

#: A node that falls silent without closing its connections is gone after some eight seconds.
_ADVANCED = "[{kernel, [{net_ticktime, 8}]}]."


class RabbitMQCluster:
    """Nodes that share a port mapper, a cookie and their queues.

    Args:
        directory: a private folder.
        size: how many nodes.

    Attributes:
        nodes: each of them, whether it runs or not.
    """

    def __init__(self, directory: Path, size: int = 3) -> None:
        ports = free_ports(3 * size + 1)
        epmd_port = ports.pop()
        formation = {
            "cluster_formation.peer_discovery_backend": "rabbit_peer_discovery_classic_config",
            **{
                f"cluster_formation.classic_config.nodes.{number}": f"taskq-{port}@localhost"
                for number, port in enumerate(ports[:size], 1)
            },
        }
        cookie = secrets.token_hex(20)
        self.nodes: list[RabbitMQServer] = []
        for own in zip(ports[:size], ports[size : 2 * size], ports[2 * size :], strict=True):
            folder = subfolder(directory, own[0])
            (folder / ".erlang.cookie").write_text(cookie)
            (folder / ".erlang.cookie").chmod(0o400)
            port, dist_port, management_port = own
            node = RabbitMQServer(
                folder,
                port,
                dist_port,
                epmd_port,
                management_port,
                config=formation,
                advanced=_ADVANCED,
            )
            self.nodes.append(node)

    @property
    def url(self) -> str:
        """Where AMQP clients connect: every node."""
        return self.from_node(self.nodes[0])

    def start(self) -> None:
        """Start the nodes, and wait until they are one cluster.

        Raises:
            ServerError: one of them did not start, or they did not find each other.
        """
        start_all(self.nodes)
        self.wait_joined()

    def running(self) -> list[RabbitMQServer]:
        """The nodes whose processes exist."""
        return [node for node in self.nodes if node.running()]

    def wait_joined(self) -> None:
        """Wait until those that run see each other.

        Raises:
            ServerError: they do not.
        """
        names = {node.node for node in self.running()}

        def joined() -> bool:
            try:
                return all(self._seen_by(node) == names for node in self.running())
            except (OSError, ServerError):
                return False

        try:
            wait_until(joined, 60.0, "the nodes to be one cluster")
        except TimeoutError as error:
            logs = "".join(node.log_tail(1500) for node in self.nodes)
            raise ServerError(f"{error}{logs}") from error

    @staticmethod
    def _seen_by(node: RabbitMQServer) -> set[str]:
        known = node.address.api("GET", "/nodes")
        return {one["name"] for one in known if one["running"]}

    def leader(self, queue: str, virtual_host: str = "/") -> RabbitMQServer:
        """The node that leads a quorum queue, as those that run know it."""
        api = self.running()[0].address.api
        known = api("GET", f"/queues/{quote(virtual_host, '')}/{queue}")
        return next(node for node in self.nodes if node.node == known["leader"])

    def from_node(self, first: RabbitMQServer, virtual_host: str = "/") -> str:
        """The URL of all nodes, of which one is tried first."""
        nodes = [first, *(node for node in self.nodes if node is not first)]
        return ";".join(node.address.url(virtual_host) for node in nodes)

    @contextlib.contextmanager
    def virtual_host(self) -> Iterator[str]:
        """The name of an empty virtual host; at the end of the block all nodes run again.

        It stays, since a cluster that was ill-treated takes its time to delete one.
        """
        name = f"test-{secrets.token_hex(6)}"
        self.nodes[0].address.api("PUT", f"/vhosts/{name}", {})
        try:
            yield name
        finally:
            self.revive()

    def revive(self) -> None:
        """Start the nodes that do not run, and wait until all are one cluster again."""
        start_all(node for node in self.nodes if not node.running())
        self.wait_joined()

    def close(self) -> None:
        """Kill the nodes and their port mapper."""
        for node in self.nodes:
            node.close()


@contextlib.contextmanager
def rabbitmq_cluster(size: int = 3) -> Iterator[RabbitMQCluster]:
    """A running cluster until the end of the block.

    Raises:
        MissingServerError: RabbitMQ is not installed.
        ServerError: it did not start.
    """
    rabbitmq_binary()
    with private_folder("rabbitmq-cluster") as directory:
        cluster = RabbitMQCluster(directory, size)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.close()
