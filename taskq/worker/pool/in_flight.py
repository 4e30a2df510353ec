"""Jobs that are with the children, or within their reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskq.worker.job import Job


@dataclass(slots=True, eq=False)
class Packet:
    """What was sent together: how many jobs of it are open, and whether to look after them."""

    open: int
    watched: bool


class InFlight:
    """Knows each job that was sent and has not come back.

    Attributes:
        jobs: they, and their packets, by number in the order of sending, which is not that of
            the jobs' tickets: the urgent ones go first.  Children know jobs by these numbers,
            and slots speak of them.
        next_number: the number of the next one.
        packets: how many packets are open.
        watched: how many of the jobs are to be looked after.
    """

    def __init__(self) -> None:
        self.jobs: dict[int, tuple[Job, Packet]] = {}
        self.next_number = 1
        self.packets = 0
        self.watched = 0

    def add(self, bundle: Sequence[Job], watched: bool) -> None:
        """Remember jobs that were sent in one packet."""
        packet = Packet(len(bundle), watched)
        self.packets += 1
        for job in bundle:
            self.jobs[self.next_number] = (job, packet)
            self.next_number += 1
        if watched:
            self.watched += len(bundle)

    def forget(self, number: int) -> Job | None:
        """A job that has come back; None when it had before."""
        entry = self.jobs.pop(number, None)
        if entry is None:
            return None
        job, packet = entry
        packet.open -= 1
        self.packets -= packet.open == 0
        self.watched -= packet.watched
        return job
