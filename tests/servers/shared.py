"""One server for several test processes: the first starts it, the last one's end ends it.

    with shared("rabbitmq_server", folder) as address:
        ...

The server belongs to a keeper, a process of its own, because whoever came first may well leave
first. Nobody counts: every user holds a shared lock on one file, the keeper waits for an exclusive
lock on it, and the kernel takes back the lock of a process that was killed. So a server ends with
the last of its users, however that ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tests.servers.base import ServerError

ROOT = Path(__file__).parent.parent.parent


@contextlib.contextmanager
def shared(start: str, folder: Path) -> Iterator[Any]:
    """The address of a server that this process shares, running until the end of the block.

    Args:
        start: the name in ``tests.servers`` of what starts it without arguments, for example
            "rabbitmq_server"; the address is the ``address`` of that ``Server``.
        folder: a private folder, the same one in all processes that are to share; there is one
            server for each ``start`` in it.

    Raises:
        ServerError: it did not start.
    """
    files = Files(folder, start)
    with locked(files.users, fcntl.LOCK_SH):  # waits while a keeper ends its server
        with locked(files.starting, fcntl.LOCK_EX):
            if not _is_locked(files.keeper):
                _start_keeper(files)
            address = pickle.loads(files.address.read_bytes())
        yield address


class Files:
    """The files by which the processes understand each other."""

    def __init__(self, folder: Path, start: str) -> None:
        self.folder = folder
        self.start = start
        self.users = folder / f"{start}.users"
        self.starting = folder / f"{start}.starting"
        self.keeper = folder / f"{start}.keeper"
        self.address = folder / f"{start}.address"
        self.log = folder / f"{start}.log"


def _start_keeper(files: Files) -> None:
    command = [sys.executable, "-m", "tests.servers.keeper", files.start, str(files.folder)]
    with files.log.open("wb") as log:
        ended = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the tests; their end is enough for the keeper
            check=False,
        )
    if ended.returncode != 0:
        raise ServerError(f"{files.start} failed:\n{files.log.read_text(errors='replace')}")


@contextlib.contextmanager
def locked(path: Path, how: int) -> Iterator[IO[bytes]]:
    """Hold a lock on a file until the end of the block; ``how`` is as for ``fcntl.flock``."""
    with path.open("ab") as file:
        fcntl.flock(file, how)
        yield file


def _is_locked(path: Path) -> bool:
    try:
        with locked(path, fcntl.LOCK_SH | fcntl.LOCK_NB):
            return False
    except BlockingIOError:
        return True
