"""The parent's view of one child."""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taskq.worker.pool.packets import Receiver

if TYPE_CHECKING:
    from taskq.worker.pool.slots import Slot


@dataclass(slots=True, eq=False)
class ChildHandle:
    """A child, as far as the parent can reach it.

    Attributes:
        index: which of the children it is.
        slots: the places of its lanes in shared memory.
        answers: the parent's end of its own socket.
        receiver: reads that socket.
        pid: its process; 0 until the nursery has told.
        pidfd: the same, as a descriptor that never means another process.
        killed: the parent has killed it, or will as soon as it knows whom.
        surplus: it makes way, and none takes its place.
        leaving: it takes nothing more.
    """

    index: int
    slots: list[Slot]
    answers: socket.socket
    receiver: Receiver
    pid: int = 0
    pidfd: int = -1
    killed: bool = False
    surplus: bool = False
    leaving: bool = False

    @property
    def slot(self) -> Slot:
        """The place of its first lane, which has what concerns the whole child."""
        return self.slots[0]

    @property
    def has_taken(self) -> bool:
        """Has it ever taken a packet?"""
        return any(slot.taken[0] for slot in self.slots)

    @property
    def may_be_idle(self) -> bool:
        """May it be waiting for work?"""
        return not self.leaving and not all(slot.number for slot in self.slots)

    def signal(self, number: int) -> None:
        """Send a signal to this very process, even if its pid is in use again."""
        if self.pidfd >= 0:
            try:
                signal.pidfd_send_signal(self.pidfd, number)
            except ProcessLookupError:
                pass  # it has ended by itself

    def close(self) -> None:
        """Let go of its descriptors."""
        self.answers.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def how_it_ended(pid: int, status: int) -> str:
    """The end of a process in words, from its status as `os.waitpid` gives it."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return f"process {pid} was killed by signal {number} ({signal.Signals(number).name})"
    return f"process {pid} exited with status {os.waitstatus_to_exitcode(status)}"
