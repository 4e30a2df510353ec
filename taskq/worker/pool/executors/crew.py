"""What executors of many tasks at a time have in common: which lanes are free."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from taskq.worker.pool.child import ALONE, Packet
from taskq.worker.pool.executors.base import Executor

if TYPE_CHECKING:
    from taskq.worker.pool.child import Child
    from taskq.worker.pool.lane import Lane


class HasLane(Protocol):
    """A lane, and whatever an executor needs to run it."""

    lane: Lane


L = TypeVar("L", bound=HasLane)


class Crew(Executor, Generic[L]):
    """Gives each packet a lane.

    A task that has crashed before, perhaps for no fault of its own, runs alone in its child
    at last: what dies then dies by itself.
    """

    def __init__(self, child: Child) -> None:
        super().__init__(child)
        self.lanes: list[L] = []
        self.busy = 0
        self._free: list[L] = []
        self._alone = False
        self._waiting: tuple[L, Packet] | None = None

    @property
    def has_room(self) -> bool:
        """May one more packet be taken?"""
        return self.busy < self.child.width and not self._alone

    def assign(self, packet: Packet) -> None:
        """Note a packet in a free lane, and start it."""
        if self._free:
            member = self._free.pop()  # the one used last: what is not needed stays untouched
        else:
            member = self.open(len(self.lanes))
            self.lanes.append(member)
        member.lane.take(packet[1])
        self.busy += 1
        if packet[0] == ALONE:
            self._alone = True
            if self.busy > 1:
                self._waiting = member, packet
                return
        self.start(member, packet)

    def released(self, member: L) -> None:
        """A packet is done."""
        self._free.append(member)
        self.busy -= 1
        if self.busy == 0:
            self._alone = False
        elif self.busy == 1 and self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self.start(*waiting)

    @abstractmethod
    def open(self, index: int) -> L:
        """Make one more lane."""

    @abstractmethod
    def start(self, member: L, packet: Packet) -> None:
        """Have a packet run; `released` is called when it is done."""
