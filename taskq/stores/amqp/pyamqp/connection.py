"""Connections of py-amqp.

py-amqp reads each frame with several small system calls.  `Connection` reads what there is, and
lets a `Reader` split it into frames; everything else is py-amqp's.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from typing import Any

import amqp
from amqp.exceptions import AMQPError, FrameError

from taskq.exceptions import DecodeError, OperationalError
from taskq.stores.amqp.address import Address, Tls
from taskq.stores.amqp.frames import Reader
from taskq.stores.amqp.nodes import Node
from taskq.stores.readiness import wait_readable

_CHUNK = 256 * 1024
LOST = (OSError, AMQPError, AttributeError, EOFError, StopIteration)
"""What py-amqp raises when a connection is lost; attributes of a closed one are None."""


class Connection(amqp.Connection):  # type: ignore[misc]  # py-amqp has no types
    """Reads without changing the socket's mode, which a writer relies on."""

    def __init__(self, *args: Any, answer_timeout: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._answer_timeout = answer_timeout
        self._frames: deque[tuple[int, int, bytes]] = deque()
        self.reader = Reader()

    def blocking_read(self, timeout: float | None = None) -> Any:
        if not self._frames:
            # py-amqp waits for ever for an answer; a half-open connection never has one.
            end = time.monotonic() + (self._answer_timeout if timeout is None else timeout)
            while not self._frames:
                self._read(max(0.0, end - time.monotonic()))
        handle: Any = self.on_inbound_frame
        return handle(self._frames.popleft())

    def take_in(self) -> bool:
        """Read what there is, without waiting, and handle it; False if there is nothing."""
        if not self._frames:
            try:
                self._read(0)
            except TimeoutError:
                return False
        handle: Any = self.on_inbound_frame
        while self._frames:
            handle(self._frames.popleft())
        return True

    def _read(self, timeout: float) -> None:
        data = self._receive(timeout)
        self.bytes_recv += 1  # heartbeats go by it
        try:
            self._frames += self.reader.feed(data)
        except DecodeError as exc:
            raise FrameError(str(exc)) from exc

    def _receive(self, timeout: float) -> bytes:
        sock = self.sock
        if sock is None:
            raise ConnectionResetError("the connection is closed")
        while True:
            try:
                if isinstance(sock, socket.socket) and not hasattr(sock, "pending"):
                    data = sock.recv(_CHUNK, socket.MSG_DONTWAIT)
                else:
                    data = _receive_tls(sock)
            except BlockingIOError:
                if timeout == 0 or not wait_readable(sock, timeout):
                    raise TimeoutError("RabbitMQ does not answer") from None
                continue
            if not data:
                raise ConnectionResetError("RabbitMQ closed the connection")
            return data

    @property
    def unread(self) -> bool:
        """Are there frames that were read, and not looked at, or bytes that TLS has read?"""
        pending = getattr(self.sock, "pending", None)
        return bool(self._frames) or (pending is not None and pending() > 0)


def _receive_tls(sock: Any) -> bytes:
    # Imported with the driver's own TLS; a plain connection does not need it.
    import ssl

    before = sock.gettimeout()
    sock.settimeout(0)
    try:
        data: bytes = sock.recv(_CHUNK)
        return data
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        raise BlockingIOError from None
    finally:
        sock.settimeout(before)


def connect(address: Address, heartbeat: int) -> tuple[Connection, Any]:
    """A connection to the first node that answers, and a channel of it.

    Raises:
        OperationalError: none does.
    """
    problems = []
    for node in address.nodes:
        connection = _connection(address, node, heartbeat)
        try:
            connection.connect()
            return connection, open_channel(connection)
        except LOST as exc:
            hang_up(connection)
            problems.append(f"{node.host}:{node.port}: {said(exc)}")
    raise OperationalError(f"cannot connect to RabbitMQ at {'; '.join(problems)}")


def open_channel(connection: Connection) -> Any:
    """A channel of a connection."""
    channel = connection.channel()
    channel.auto_decode = False  # bodies stay bytes
    return channel


def _connection(address: Address, node: Node, heartbeat: int) -> Connection:
    tls: Any = False
    if address.tls is not None:
        tls = _tls_options(address.tls, node)
    return Connection(
        f"{node.host}:{node.port}",
        answer_timeout=address.answer_timeout,
        userid=node.user,
        password=node.password,
        login_method=address.login_method,
        virtual_host=node.vhost,
        ssl=tls,
        connect_timeout=address.connect_timeout,
        # Seconds of a write that does not move: a half-open connection, or a blocked broker.
        write_timeout=max(1.0, address.confirm_timeout),
        heartbeat=heartbeat,
    )


def _tls_options(tls: Tls, node: Node) -> dict[str, Any]:
    options = {
        "ca_certs": tls.ca_certs,
        "certfile": tls.certfile,
        "keyfile": tls.keyfile,
        "cert_reqs": tls.cert_reqs,
    }
    if tls.check_hostname:
        options["server_hostname"] = tls.server_hostname or node.host
    return {name: value for name, value in options.items() if value is not None}


def hang_up(connection: Connection | None) -> None:
    """Let go of a connection, whatever state it is in."""
    if connection is not None:
        try:
            connection.collect()
        except LOST:
            pass


def said(exc: BaseException) -> str:
    """What went wrong, in words."""
    if isinstance(exc, AMQPError):
        return f"{exc.reply_text or type(exc).__name__}"
    return str(exc) or type(exc).__name__
