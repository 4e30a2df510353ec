"""A network between clients and a server that fails as networks do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.servers import HOST


class _Wire:
    """One connection of a client, and ours to the server for it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.dead = False
        self.cut = False

    def close(self) -> None:
        for end in (self.client, self.server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class Proxy:
    """Forwards connections to a port of this machine.

    Args:
        target: the port.

    Attributes:
        port: where it listens.
        cuts: how often a reply was cut off.
    """

    def __init__(self, target: int) -> None:
        self.cuts = 0
        self._target = target
        self._stalled = False
        self._cut_after: bytes | None = None
        self._lock = threading.Lock()
        self._wires: list[_Wire] = []
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._listening = socket.create_server((HOST, 0))
        self.port: int = self._listening.getsockname()[1]
        self._start(self._accept)

    def stall(self) -> None:
        """Swallow all that is sent from now on, on new connections too, and close none."""
        with self._lock:
            self._stalled = True
            for wire in self._wires:
                wire.dead = True

    def heal(self) -> None:
        """Forward new connections again; those that were there stay silent for ever."""
        with self._lock:
            self._stalled = False

    def hang_up(self) -> None:
        """Close all connections; new ones are forwarded."""
        with self._lock:
            for wire in self._wires:
                wire.close()
            self._wires.clear()

    def cut_reply_to(self, request: bytes) -> None:
        """Forward the next request that holds this, and hang up in place of its reply."""
        with self._lock:
            self._cut_after = request

    def close(self) -> None:
        """Hang up everything."""
        with self._lock:
            self._closed = True
            with suppress(OSError):
                self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
            for wire in self._wires:
                wire.close()
        for thread in self._threads:
            thread.join()

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            try:
                server = socket.create_connection((HOST, self._target))
            except OSError:
                client.close()
                continue
            wire = _Wire(client, server)
            with self._lock:
                wire.dead = self._stalled
                self._wires.append(wire)
                if self._closed:
                    wire.close()
                self._start(self._forward, wire)
                self._start(self._return, wire)

    def _forward(self, wire: _Wire) -> None:
        with suppress(OSError):
            while data := wire.client.recv(65_536):
                with self._lock:
                    if self._cut_after is not None and self._cut_after in data:
                        wire.cut, self._cut_after = True, None
                if not wire.dead:
                    wire.server.sendall(data)
        wire.close()

    def _return(self, wire: _Wire) -> None:
        with suppress(OSError):
            while data := wire.server.recv(65_536):
                if wire.cut:
                    self.cuts += 1
                    break
                if not wire.dead:
                    wire.client.sendall(data)
        if not wire.dead:
            wire.close()


@contextmanager
def proxy(target: int) -> Iterator[Proxy]:
    """A proxy to a port until the end of the block."""
    made = Proxy(target)
    try:
        yield made
    finally:
        made.close()
