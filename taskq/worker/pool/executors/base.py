"""The contract of an executor: it runs tasks in a child, as many at a time as that is wide.

A package of your own adds one under the entry point ``taskq.pools``: the name for ``-P``, and
a class that implements `Executor`.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from taskq.exceptions import SoftTimeLimitExceeded, Terminated

if TYPE_CHECKING:
    from taskq.worker.pool.child import Child
    from taskq.worker.pool.packets import Wait
    from taskq.worker.pool.slots import Slot


class Executor(ABC):
    """Runs tasks in a child.

    It is made in the child, on its main thread, with the app loaded.  SIGUSR1 tells it that
    a slot of its lanes names a task as having passed its soft limit, or as one that is to end.

    Args:
        child: takes packets, opens lanes, sends reports.

    Attributes:
        single: it runs one task at a time, so that concurrency means processes.
        bootstrap: Python code that must run before anything else is imported.  With it, each
            child is a program of its own, which shares no memory with the others.
        wait_readable: waits for a descriptor and lets other tasks run meanwhile; None where
            blocking does that.
    """

    single: ClassVar[bool] = False
    bootstrap: ClassVar[str] = ""
    wait_readable: Wait | None = None

    def __init__(self, child: Child) -> None:
        self.child = child

    @abstractmethod
    def run(self) -> None:
        """Take packets and run them, until there are no more and all have ended."""

    @staticmethod
    def open_socket(fd: int) -> socket.socket:
        """A socket that blocks, of a descriptor; for those with a `bootstrap`."""
        return socket.socket(fileno=fd)


def interruption(slot: Slot) -> type[Exception] | None:
    """What the parent wants to be raised in the task that runs in a slot, if anything."""
    number = slot.number
    if not number:
        return None
    if slot.ended == number:
        return Terminated
    return SoftTimeLimitExceeded if slot.limited == number else None
