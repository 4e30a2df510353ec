"""Waiting for a socket, in whatever kind of thread."""

from __future__ import annotations

import select
import socket


def wait_readable(sock: socket.socket, timeout: float) -> bool:
    """Wait until there is something to read, for `timeout` seconds at most.

    Unlike `select.select` it knows file descriptors above 1023: a program may have as many
    connections open as it likes.
    """
    if not hasattr(select, "poll"):  # eventlet takes it away; its select knows them all
        return bool(select.select([sock], (), (), max(timeout, 0.0))[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(max(timeout, 0.0) * 1000))
