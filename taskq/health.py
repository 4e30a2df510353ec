"""A small HTTP server that tells probes how a process does: ``/live`` and ``/ready``.

It runs in a thread of its own, so that no event loop and no task can keep it from answering; what
it tells is read from the process's state, and costs it nothing until somebody asks.
"""

from __future__ import annotations

import json
import os
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from taskq.exceptions import ImproperlyConfigured, OperationalError

UNIX = "unix:"
_PATIENCE = 5.0
"""Seconds that somebody who connects has to ask."""


@dataclass
class Health:
    """How a process does.

    Attributes:
        live: it works, and need not be started anew.
        ready: it does what it is there for.
        reason: what is amiss, if anything is.
        details: figures for whoever looks.
    """

    live: bool = True
    ready: bool = True
    reason: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def answer(self, path: str) -> tuple[int, dict[str, Any]]:
        """Status and document for a path of the URL."""
        fine = {"/live": self.live, "/ready": self.ready}.get(path)
        if fine is None:
            return 404, {"error": f"there are /live and /ready, and no {path}"}
        document = {"status": "ok" if fine else "unavailable", **self.details}
        if self.reason:
            document["reason"] = self.reason
        return (200 if fine else 503), document


class HealthServer:
    """Answers probes.

    Args:
        address: ``host:port``, ``:port`` for all addresses of the machine, or ``unix:path``.
        look: tells how the process does; called in the server's thread.

    Raises:
        ImproperlyConfigured: the address cannot be read.
    """

    def __init__(self, address: str, look: Callable[[], Health]) -> None:
        self._text = address
        self._address = _parse(address)
        self._look = look
        self._server: _Server | None = None

    @property
    def port(self) -> int:
        """The port that it listens on; 0 for a socket in the file system."""
        assert self._server is not None
        bound = self._server.socket.getsockname()
        return 0 if isinstance(bound, str) else int(bound[1])

    def open(self) -> None:
        """Listen, and answer from now on.

        Raises:
            OperationalError: the address is not to be had.
        """
        if isinstance(self._address, str):
            _remove_dead_socket(self._address)
        try:
            self._server = _Server(self._address, self._look)
        except (OSError, OverflowError) as exc:
            reason = getattr(exc, "strerror", None) or exc
            raise OperationalError(
                f"health: cannot listen on {self._text}: {reason}. Choose another address, or end "
                "what has this one"
            ) from exc
        # A shutdown must not wait long: it is asked for between two looks at the socket.
        thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="taskq-health", daemon=True
        )
        thread.start()

    def close(self) -> None:
        """Listen no more."""
        if self._server is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._server = None
        if isinstance(self._address, str):
            try:
                os.unlink(self._address)
            except FileNotFoundError:
                pass


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int] | str, look: Callable[[], Health]) -> None:
        self.look = look
        if isinstance(address, str):
            self.address_family = socket.AF_UNIX
        elif ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)  # type: ignore[arg-type]  # a path, for AF_UNIX

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asks may go away in the middle of it."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _PATIENCE
    server_version = "taskq"
    sys_version = ""

    def do_GET(self) -> None:
        assert isinstance(self.server, _Server)
        status, document = self.server.look().answer(self.path.partition("?")[0])
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - likewise

    def address_string(self) -> str:
        return "client"

    def log_message(self, format: str, *args: Any) -> None:
        """Probes come every few seconds: they are not worth a line."""


def _parse(text: str) -> tuple[str, int] | str:
    if text.startswith(UNIX) and text != UNIX:
        return text.removeprefix(UNIX)
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ImproperlyConfigured(
            f"health: {text!r} is no address: write host:port, :port or unix:path"
        )
    return host.strip("[]"), int(port)


def _remove_dead_socket(path: str) -> None:
    """Remove a socket on which nobody listens any more."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            pass  # it is not there, or is something else: listening tells
