"""What Redis servers that stand in for each other have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tests.servers.base import ServerError
from tests.servers.redis import RedisServer
from tests.waiting import wait_until

S = TypeVar("S", bound=RedisServer)

#: For every node: a master sends a new replica its data at once, where it would wait for more, and
#: a replica removes the file in which it got them, which it would read at its next start.
REPLICATION = ("--repl-diskless-sync-delay", "0", "--rdb-del-sync-files", "yes")


class RedisSet(ABC):
    """Servers of which some are masters and some replicas that may take their places."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect."""

    @property
    @abstractmethod
    def servers(self) -> Sequence[RedisServer]:
        """Every server, whether it runs or not."""

    @abstractmethod
    def start(self) -> None:
        """Start everything and wait until it is healthy; once only: see ``revive()``.

        Raises:
            ServerError: one of them did not start, or they did not find each other.
        """

    @abstractmethod
    def revive(self) -> None:
        """Start what is dead, old masters as replicas, and wait until everything is healthy.

        Raises:
            ServerError: one of them did not start, or they did not find each other.
        """

    @abstractmethod
    def healthy(self) -> bool:
        """Whether all that run agree on who is what, and the replicas that run are in sync."""

    @abstractmethod
    def flush(self) -> None:
        """Empty all masters, and so their replicas."""

    def wait_healthy(self, timeout: float = 30.0) -> None:
        """Wait until it is ``healthy()``.

        Raises:
            ServerError: it was not in time; the message holds the servers' logs.
        """
        self._wait(self.healthy, timeout, "the servers to agree, and the replicas to be in sync")

    def kill(self) -> None:
        """End everything at once."""
        for server in self.servers:
            server.kill()

    def _wait(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        try:
            wait_until(condition, timeout, what)
        except TimeoutError as error:
            logs = "".join(server.log_tail(1500) for server in self.servers)
            raise ServerError(f"{error}{logs}") from error


def running(servers: Iterable[S]) -> list[S]:
    """Those of them whose processes exist."""
    return [server for server in servers if server.running()]


def follows(role: Sequence[Any], port: int) -> bool:
    """Whether a reply to ROLE is a replica's that is in sync with the master at this port."""
    return role[0] == b"slave" and (role[2], role[3]) == (port, b"connected")


def subfolder(directory: Path, port: int) -> Path:
    """A new folder for the one of several servers that listens there."""
    folder = directory / str(port)
    folder.mkdir()
    return folder
