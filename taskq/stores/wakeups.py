"""Wake-ups between processes that share a file: hints that spare them a poll.

Whoever wants to be woken binds a datagram socket of its own in a runtime folder that is
named after the shared file; whoever has news sends one datagram to each socket in it.
A datagram is never more than a hint: a full socket is skipped, a dead one unlinked, and
every listener also polls.  The folder lies in /tmp and not beside the file because a
socket's path is limited to 107 bytes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import socket
import stat
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from taskq.stores.readiness import wait_readable

FIRST_POLL = 0.05
LAST_POLL = 1.0
_MAX_HINT = 60_000
_MANY = 10
"""So many hints in a socket, and others may have found it full (Linux: net.unix.max_dgram_qlen)."""


class WakeUps:
    """The runtime folder of one shared file.

    Args:
        path: the shared file; processes that name the same file meet here.
    """

    def __init__(self, path: str) -> None:
        name = hashlib.sha256(os.path.realpath(path).encode()).hexdigest()[:16]
        self._base = Path(f"/tmp/taskq-{os.getuid()}")
        self._folder = self._base / name
        self._checked = False
        self._lock = threading.Lock()
        self._sender: socket.socket | None = None

    def send(self, topic: str, hint: bytes = b"") -> None:
        """Wake every listener of a topic.

        Args:
            topic: "messages" or "results".
            hint: what the news is about; an overlong one is sent empty, which means
                "look for yourself".
        """
        prefix = topic + "-"
        try:
            names = os.listdir(self._folder)
        except OSError:
            return  # nobody has ever listened here
        sender = self._sender or self._open()
        for name in names:
            if name.startswith(prefix):
                path = f"{self._folder}/{name}"
                _send(sender, hint if len(hint) <= _MAX_HINT else b"", path)

    def _open(self) -> socket.socket:
        with self._lock:
            if self._sender is None:
                self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._sender.setblocking(False)
            return self._sender

    def close(self) -> None:
        """Let go of the sender's socket; the next `send` makes another one."""
        with self._lock:
            sender, self._sender = self._sender, None
        if sender is not None:
            sender.close()

    def listener(self, topic: str) -> Listener:
        """Bind a socket that is woken by `send` until it is closed."""
        path = f"{self._folder}/{topic}-{os.getpid()}-{secrets.token_hex(4)}"
        while True:
            try:
                if not self._checked:
                    self._make_folder()
                    self._checked = True
                return Listener(path)
            except FileNotFoundError:
                self._checked = False  # the last listener has gone, and taken the folder along

    def _make_folder(self) -> None:
        """Make the folder, and refuse one that another user has put in our way."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self._base, self._folder):
            info = folder.lstat()
            if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
                raise OSError(errno.EPERM, f"{folder} belongs to somebody else")
        self._base.chmod(0o700)


def _send(sender: socket.socket, hint: bytes, path: str) -> None:
    try:
        sender.sendto(hint, path)
    except BlockingIOError:
        pass  # its buffer is full of wake-ups that it has not read yet
    except OSError as exc:
        if exc.errno == errno.ECONNREFUSED:  # its process died without unlinking it
            _unlink(path)


class Listener:
    """A bound socket that wakes its owner.  Close it, or use it as a context manager."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._pid = os.getpid()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        try:
            self._socket.bind(path)
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """For an event loop's ``add_reader``."""
        return self._socket.fileno()

    def wait(self, timeout: float) -> list[bytes]:
        """Block until woken, or until `timeout` seconds have passed.

        Returns:
            The hints that arrived; none if the time is over.
        """
        wait_readable(self._socket, timeout)
        return self.drain()

    def drain(self) -> list[bytes]:
        """Take what has arrived, without blocking.

        Hints that found the socket full are lost: an empty one, "look for yourself", stands for
        what may have been among them.
        """
        hints: list[bytes] = []
        try:
            while len(hints) < 64:
                hints.append(self._socket.recv(_MAX_HINT))
        except BlockingIOError:
            pass
        if len(hints) >= _MANY:
            hints.append(b"")
        return hints

    def close(self) -> None:
        """Unbind, and leave no empty folder; a forked child leaves both to its parent."""
        self._socket.close()
        if self._pid == os.getpid():
            _unlink(self._path)
            try:
                os.rmdir(os.path.dirname(self._path))
            except OSError:
                pass  # others listen there

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
