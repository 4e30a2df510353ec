"""Packets between parent and children, on Unix sockets that keep message boundaries.

What does not fit a packet comfortably travels as a file descriptor: the sender writes it
into an anonymous file (memfd) and passes that along.
"""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct
import termios
from collections.abc import Callable

LARGE = 128 * 1024
"""Bytes above which a packet travels as a file descriptor; a socket holds 208 KiB by default."""
BUFFER = LARGE + 4096
Wait = Callable[[int], None]
"""Waits until a descriptor can be read, and lets others run meanwhile."""
_BY_DESCRIPTOR = b"\x00"
_ANCILLARY = socket.CMSG_SPACE(4)


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends that keep message boundaries and tell when the other is closed.

    Raises:
        OSError: this system has no such sockets (macOS has none).
    """
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(sock: socket.socket, packet: bytes | memoryview[int], flags: int = 0) -> None:
    """Send one packet, as a descriptor if it is large.

    Raises:
        BlockingIOError: there is no room, and the socket or the flags say not to wait.
    """
    if len(packet) <= LARGE:
        sock.send(packet, flags)
        return
    fd = os.memfd_create("taskq-packet")
    try:
        view = memoryview(packet)
        written = 0
        while written < len(view):
            written += os.write(fd, view[written:])
        socket.send_fds(sock, [_BY_DESCRIPTOR], [fd], flags)
    finally:
        os.close(fd)


class Receiver:
    """Receives packets from one socket into one buffer."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = bytearray(BUFFER)
        self._view = memoryview(self._buffer)

    def receive(self, flags: int = 0, wait: Wait | None = None) -> bytes | memoryview[int]:
        """The next packet, valid until the next call; empty when the other end is closed.

        Args:
            flags: as of recvmsg(2).
            wait: how to wait until there is something, where blocking is not the way.

        Raises:
            BlockingIOError: nothing is there, and the socket or the flags say not to wait.
        """
        if wait is not None:
            return self._receive_when_there(wait)
        size, ancillary, _, _ = self._socket.recvmsg_into([self._buffer], _ANCILLARY, flags)
        if ancillary:
            return _read(ancillary[0][2])
        return self._view[:size]

    def _receive_when_there(self, wait: Wait) -> bytes | memoryview[int]:
        while True:
            try:
                return self.receive(socket.MSG_DONTWAIT)
            except BlockingIOError:
                wait(self._socket.fileno())


def _read(descriptors: bytes) -> bytes:
    fds = array.array("i")
    fds.frombytes(descriptors[: len(descriptors) - len(descriptors) % fds.itemsize])
    with os.fdopen(fds[0], "rb") as file:
        file.seek(0)
        return file.read()


def unread(sock: socket.socket) -> int:
    """Memory held by packets that nobody has taken (SIOCOUTQ, unix(7)); 0 if there are none."""
    buffer = fcntl.ioctl(sock, termios.TIOCOUTQ, struct.pack("i", 0))
    return int(struct.unpack("i", buffer)[0])
