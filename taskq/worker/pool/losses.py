"""What a child that has died had in hand, and what is missing since."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from taskq.worker.pool.base import Loss
from taskq.worker.pool.packets import unread

if TYPE_CHECKING:
    from taskq.worker.job import Job
    from taskq.worker.pool.crew import Crew
    from taskq.worker.pool.handle import ChildHandle
    from taskq.worker.pool.in_flight import InFlight

_GRACE = 0.2
"""Seconds in which a living child has surely noted the packet that it has taken."""


def left_behind(child: ChildHandle, sent: InFlight) -> Iterator[tuple[Job, Loss]]:
    """The jobs that the lanes of a dead child had, and how each of them was lost.

    Args:
        child: the child; its lanes are empty afterwards.
        sent: what the pool has sent; they are forgotten there.
    """
    for slot in child.slots:
        running = slot.number
        first, last = slot.taken
        for number in range(first, last + 1) if first else ():
            job = sent.forget(number)
            if job is None:
                continue
            if number != running:
                yield job, Loss.UNSTARTED
            elif job.timed_out:
                yield job, Loss.TIMED_OUT
            elif job.terminated or not child.killed:
                yield job, Loss.CRASHED
            else:  # killed for another task: this one is not to blame
                yield job, Loss.UNSTARTED
        slot.clear()


class Search:
    """Looks for jobs that a dead child took from the socket and never noted.

    The socket is first in, first out: what was sent before a packet that has been taken, or all
    of it once the socket is empty, has been taken too.  If it stands in no living child's slot
    and nobody has answered it, it is missing; and lost, if it is missing twice, since a living
    child may be just between taking and noting.

    Args:
        crew: the children that live.
        sent: what the pool has sent.
        work: the socket.
        read: reads all that a child has to say.
        give_back: called with the numbers of what is lost.
    """

    def __init__(
        self,
        crew: Crew,
        sent: InFlight,
        work: socket.socket,
        read: Callable[[ChildHandle], None],
        give_back: Callable[[Iterable[int], str], None],
    ) -> None:
        self._crew = crew
        self._sent = sent
        self._work = work
        self._read = read
        self._give_back = give_back

    def start(self) -> None:
        """Look now, and again until nothing is missing."""
        self._look(set(self._sent.jobs), set())

    def _look(self, suspects: set[int], missing: set[int]) -> None:
        if self._crew.closed:
            return
        newest = 0
        for child in list(self._crew.children.values()):
            self._read(child)
            for slot in child.slots:
                first, last = slot.taken
                newest = max(newest, last)
                suspects.difference_update(range(first, last + 1))
        suspects &= self._sent.jobs.keys()
        if not suspects:
            return
        if unread(self._work) == 0:
            newest = max(suspects)
        now_missing = {number for number in suspects if number <= newest}
        self._give_back(sorted(now_missing & missing), "its packet died with a child")
        asyncio.get_running_loop().call_later(_GRACE, self._look, suspects, now_missing)
