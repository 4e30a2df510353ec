"""What every server has: ports, a private folder, a life that a test governs."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import socket
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.servers.guarded import Guarded
from tests.waiting import wait_until

HOST = "127.0.0.1"

#: Below the range that Linux and macOS hand out to outgoing connections, so that no client's
#: socket can sit on a port between our choice of it and the server's bind.
PORTS = range(20_000, 30_000)


class MissingServerError(RuntimeError):
    """No binary of this server is installed; the message says how to get one."""


class ServerError(RuntimeError):
    """A server did not start or did not stop; the message ends with its log."""


class Server(ABC):
    """A server process that belongs to this process.

    Attributes:
        port: where it listens, on 127.0.0.1; the same after a restart.
        directory: its private folder: data, configuration, ``server.log``.
    """

    #: What it is called in messages.
    name = "server"
    #: Seconds it may take until it answers, on a loaded machine.
    start_timeout = 60.0

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port
        self._guarded: Guarded | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect."""

    @property
    def address(self) -> object:
        """What another process needs to use it; can be pickled."""
        return self.url

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The program and its arguments, to be run in the foreground."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it serves clients now; must not wait for longer than a second."""

    def environment(self) -> Mapping[str, str]:
        """Variables to set beside those of this process."""
        return {}

    @property
    def pid(self) -> int:
        """The process id of the server itself (not of the guard above it).

        Raises:
            ServerError: it was never started.
        """
        if self._guarded is None:
            raise ServerError(f"{self.name} was not started: call start() first")
        return self._guarded.pid

    @property
    def log(self) -> Path:
        """The file that holds what the server printed."""
        return self.directory / "server.log"

    def log_tail(self, size: int = 4000) -> str:
        """The end of its log, to be put behind an error's message."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return f"; its log {self.log} ends with:\n{text[-size:]}"

    def running(self) -> bool:
        """Whether its process exists; a paused server is running."""
        return self._guarded is not None and self._guarded.alive()

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            ServerError: it is running already, ended, or did not answer in time.
        """
        self.launch()
        self.wait_started()

    def launch(self) -> None:
        """Start its process; ``wait_started()`` is the other half of ``start()``.

        Raises:
            ServerError: it is running already.
        """
        if self.running():
            raise ServerError(f"{self.name} is running already, as process {self.pid}")
        self.kill()  # closes the pipes to a guard whose server ended by itself
        self._guarded = Guarded(self.command(), self.environment(), self.log)

    def wait_started(self) -> None:
        """Wait until it answers, after ``launch()``.

        Raises:
            ServerError: it was not launched, ended, or did not answer in time.
        """
        guarded = self._guarded
        if guarded is None:
            raise ServerError(f"{self.name} was not started: call launch() first")

        def ready() -> bool:
            return not guarded.alive() or self.answers()

        try:
            wait_until(ready, self.start_timeout, f"{self.name} to answer at {self.url}")
        except TimeoutError as error:
            self.kill()
            raise ServerError(f"{error}{self.log_tail()}") from error
        if not guarded.alive():
            self.kill()
            raise ServerError(f"{self.name} ended while it started{self.log_tail()}")

    def stop(self, timeout: float = 30.0) -> None:
        """End it as its administrator would, with SIGTERM, and wait until it is gone.

        Raises:
            ServerError: it was still there after ``timeout`` seconds; it is killed then.
        """
        if self._guarded is None or self._guarded.end(signal.SIGTERM, timeout):
            return
        self.kill()
        raise ServerError(f"{self.name} was killed: no end {timeout:g} s after SIGTERM")

    def kill(self) -> None:
        """End it at once, with SIGKILL, as a crash would. A second call does nothing."""
        if self._guarded is not None:
            self._guarded.end(signal.SIGKILL, timeout=30.0)

    def restart(self) -> None:
        """Stop it and start it again on the same port with the same folder."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it: its connections stay open and nothing answers (SIGSTOP)."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after ``pause()``."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._guarded is None or not self._guarded.alive():
            raise ServerError(f"{self.name} is not running, so it gets no {number.name}")
        self._guarded.send(number)


def start_all(servers: Iterable[Server]) -> None:
    """Start servers beside each other, and wait until all of them answer.

    Raises:
        ServerError: one of them did not start.
    """
    launched = list(servers)
    for server in launched:
        server.launch()
    for server in launched:
        server.wait_started()


def find_binary(*names: str, path: str | None = None) -> str:
    """The path of the first of these programs that is on PATH.

    Args:
        names: what they may be called.
        path: folders to look in instead of PATH.

    Raises:
        MissingServerError: none is.
    """
    for name in names:
        if path := shutil.which(name, path=path):
            return path
    raise MissingServerError(
        f"{' or '.join(names)} is not on PATH: install it, "
        f"or run 'python tests/install_servers.py' as root on Debian or Ubuntu"
    )


def free_ports(count: int) -> list[int]:
    """Different ports of the loopback address on which nothing listens now."""
    with contextlib.ExitStack() as held:
        return [_bind_any(held) for _ in range(count)]


@contextlib.contextmanager
def private_folder(name: str) -> Iterator[Path]:
    """A folder that nobody else can read, removed at the end of the block."""
    with tempfile.TemporaryDirectory(prefix=f"taskq-{name}-", ignore_cleanup_errors=True) as path:
        yield Path(path)


def _bind_any(held: contextlib.ExitStack) -> int:
    while True:
        attempt = held.enter_context(socket.socket())
        port = random.choice(PORTS)
        try:
            attempt.bind((HOST, port))
        except OSError:
            continue
        return port
