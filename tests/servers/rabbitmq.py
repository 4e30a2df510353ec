"""RabbitMQ, with an Erlang port mapper of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.servers.base import HOST, Server, ServerError, find_binary, free_ports, private_folder
from tests.servers.guarded import Guarded
from tests.servers.rabbitmq_address import RabbitMQAddress
from tests.servers.shared import shared
from tests.waiting import wait_until


class RabbitMQServer(Server):
    """RabbitMQ with a node name, a cookie and a port mapper of its own.

    Args:
        directory: a private folder.
        port: for AMQP clients.
        dist_port: for Erlang's own traffic.
        epmd_port: for the Erlang port mapper, which would outlive the node if the node started it.
        management_port: for the HTTP API.
        config: lines of ``rabbitmq.conf``, for example ``{"consumer_timeout": "5000"}``.
        plugins: names of plugins to enable besides ``rabbitmq_management``.
        advanced: what only ``advanced.config`` can say, as Erlang's terms.
    """

    name = "rabbitmq-server"

    def __init__(
        self,
        directory: Path,
        port: int,
        dist_port: int,
        epmd_port: int,
        management_port: int,
        *,
        config: Mapping[str, str] | None = None,
        plugins: Sequence[str] = (),
        advanced: str = "",
    ) -> None:
        super().__init__(directory, port)
        self.dist_port = dist_port
        self.epmd_port = epmd_port
        self.management_port = management_port
        self.config = {
            "listeners.tcp.1": f"{HOST}:{port}",
            "management.tcp.ip": HOST,
            "management.tcp.port": str(management_port),
            **(config or {}),
        }
        self.plugins = ["rabbitmq_management", *plugins]
        self.advanced = advanced
        self._epmd: Guarded | None = None

    @property
    def url(self) -> str:
        return self.address.url()

    @property
    def address(self) -> RabbitMQAddress:
        return RabbitMQAddress(self.port, self.management_port)

    @property
    def node(self) -> str:
        """The name of the Erlang node."""
        return f"taskq-{self.port}@localhost"

    def command(self) -> Sequence[str]:
        return [rabbitmq_binary()]

    def environment(self) -> Mapping[str, str]:
        directory = self.directory
        return {
            "HOME": str(directory),  # where Erlang keeps its cookie
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": str(self.epmd_port),
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "RABBITMQ_MNESIA_BASE": str(directory / "data"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(directory / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(directory / "rabbitmq-env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                f"-kernel inet_dist_use_interface {{{HOST.replace('.', ',')}}}"
            ),
            # Makes the start script become the node instead of waiting for it, so that the
            # process id is the node's.
            "RUNNING_UNDER_SYSTEMD": "yes",
        }

    def launch(self) -> None:
        lines = [f"{key} = {value}\n" for key, value in self.config.items()]
        (self.directory / "rabbitmq.conf").write_text("".join(lines))
        (self.directory / "enabled_plugins").write_text(f"[{','.join(self.plugins)}].\n")
        if self.advanced:
            (self.directory / "advanced.config").write_text(self.advanced)
        self._start_epmd()
        super().launch()

    def answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return connection.recv(1) == b"\x01"  # a method frame: Connection.Start
        except OSError:
            return False

    def control(self, *arguments: str) -> None:
        """Run ``rabbitmqctl`` with these arguments."""
        command = [str(Path(rabbitmq_binary()).with_name("rabbitmqctl")), *arguments]
        environment = {**os.environ, **self.environment()}
        environment.pop("RUNNING_UNDER_SYSTEMD")
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise ServerError(f"{' '.join(arguments)}: {done.stdout}{done.stderr}")

    def close(self) -> None:
        """Kill the node and its port mapper."""
        self.kill()
        if self._epmd is not None:
            self._epmd.end(signal.SIGKILL, timeout=30.0)

    def _start_epmd(self) -> None:
        if _listens(self.epmd_port):
            return  # also if another node of its cluster has started it
        command = [find_binary("epmd"), "-port", str(self.epmd_port), "-address", HOST]
        self._epmd = Guarded(command, {}, self.directory / "epmd.log")
        wait_until(lambda: _listens(self.epmd_port), 30.0, f"epmd on port {self.epmd_port}")


@contextlib.contextmanager
def rabbitmq_server(
    *, config: Mapping[str, str] | None = None, plugins: Sequence[str] = (), advanced: str = ""
) -> Iterator[RabbitMQServer]:
    """A running RabbitMQ until the end of the block; see ``RabbitMQServer`` for the arguments.

    Starting takes a few seconds.

    Raises:
        MissingServerError: it is not installed.
        ServerError: it did not start.
    """
    rabbitmq_binary()
    with contextlib.ExitStack() as life:
        for attempts_left in (2, 1, 0):
            directory = life.enter_context(private_folder("rabbitmq"))
            ports = free_ports(4)
            server = RabbitMQServer(
                directory, *ports, config=config, plugins=plugins, advanced=advanced
            )
            life.callback(server.close)
            try:
                server.start()
                break
            except ServerError:
                # It takes seconds to ask for its ports, which others may have taken by then.
                if not attempts_left:
                    raise
        yield server


@contextlib.contextmanager
def shared_rabbitmq(folder: Path) -> Iterator[RabbitMQAddress]:
    """A RabbitMQ that all processes with the same ``folder`` share until the end of the block.

    Raises:
        MissingServerError: it is not installed.
        ServerError: it did not start.
    """
    rabbitmq_binary()
    with shared("rabbitmq_server", folder) as address:
        yield address


def rabbitmq_binary() -> str:
    """The path of RabbitMQ's own start script.

    Debian puts a wrapper on PATH that switches to the user ``rabbitmq`` and refuses everyone but
    root; the script below ``/usr/lib/rabbitmq`` runs as whoever calls it.

    Raises:
        MissingServerError: there is none.
    """
    unwrapped = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    return str(unwrapped) if unwrapped.exists() else find_binary("rabbitmq-server")


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
