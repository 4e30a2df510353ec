"""The children of a pool: how many there are, and who comes and goes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from itertools import islice

import msgspec

from taskq.worker.pool.child import LONG
from taskq.worker.pool.handle import ChildHandle
from taskq.worker.pool.nursery import Nursery, Spawned
from taskq.worker.pool.packets import Receiver, send

_WAKE_UP = msgspec.msgpack.encode((LONG, []))
_RESPAWN_DELAY = 1.0
"""Seconds until a child that did not start is replaced."""


class Crew:
    """As many children as there should be.

    Args:
        nursery: forks them.
        processes: how many.
        width: how many tasks at a time in each.
        read: called when a child has sent something.

    Attributes:
        children: those that live, by their place.
        closed: no more are started.
    """

    def __init__(
        self, nursery: Nursery, processes: int, width: int, read: Callable[[ChildHandle], None]
    ) -> None:
        self.children: dict[int, ChildHandle] = {}
        self.processes = processes
        self.closed = False
        self._nursery = nursery
        self._width = width
        self._read = read
        self._by_pid: dict[int, ChildHandle] = {}
        self._delayed = 0
        self._dismissed = 0

    @property
    def is_dismissing(self) -> bool:
        """Is some child to make way, and has not yet?"""
        return self._dismissed > 0

    def pids(self) -> list[int]:
        """The children's processes, as far as they are known."""
        return [child.pid for child in self.children.values() if child.pid]

    def fill(self, delayed: int = 0) -> None:
        """Start as many children as are missing.

        Args:
            delayed: how many of them were waited with until now.
        """
        self._delayed -= delayed
        if self.closed:
            return
        missing = self.processes - self._delayed
        missing -= sum(not child.surplus for child in self.children.values())
        # While some that are surplus still run, there may be no slot for all of them.
        free = (i for i in range(self._nursery.capacity) if i not in self.children)
        for index in list(islice(free, max(0, missing))):
            self._spawn(index)

    def fill_later(self) -> None:
        """Start another child in a while, for one that could not even start."""
        self._delayed += 1
        asyncio.get_running_loop().call_later(_RESPAWN_DELAY, self.fill, 1)

    def _spawn(self, index: int) -> None:
        slots = self._nursery.slots.slots(index, self._nursery.lanes)[: self._width]
        for slot in slots:
            slot.clear()
        slots[0].width = self._width
        answers = self._nursery.spawn(index)
        answers.setblocking(False)
        child = ChildHandle(index, slots, answers, Receiver(answers))
        self.children[index] = child
        asyncio.get_running_loop().add_reader(answers.fileno(), self._read, child)

    def on_born(self, event: Spawned, pidfd: int | None) -> None:
        """Note which process a child is."""
        child = self.children[event.slot]
        child.pid, child.pidfd = event.pid, -1 if pidfd is None else pidfd
        self._by_pid[event.pid] = child
        if child.killed:  # before anybody knew whom to signal
            child.signal(signal.SIGKILL)

    def by_pid(self, pid: int) -> ChildHandle | None:
        """The child that is, or was, this process; it is found once."""
        return self._by_pid.pop(pid, None)

    def close(self, child: ChildHandle) -> None:
        """Let go of a child that has ended."""
        self._dismissed -= child.slot.leaves
        asyncio.get_running_loop().remove_reader(child.answers.fileno())
        child.close()
        del self.children[child.index]

    def close_all(self) -> None:
        """Let go of every child."""
        for child in list(self.children.values()):
            self.close(child)

    def resize(self, processes: int) -> None:
        """Have so many children."""
        self.processes = processes
        # First those that do nothing: they make way at once.
        children = sorted(self.children.values(), key=lambda child: bool(child.slot.number))
        staying = [child for child in children if not child.surplus]
        for child in staying[: max(0, len(staying) - processes)]:
            child.surplus = True
            self._dismiss(child)
        self.fill()

    def widen(self, width: int) -> None:
        """Have each child run so many tasks at a time."""
        self._width = width
        lanes = self._nursery.lanes
        for child in self.children.values():
            # All lanes are kept an eye on, also those that are used no more.
            for lane in range(len(child.slots), width):
                child.slots.append(self._nursery.slots.slot(child.index * lanes + lane))
            child.slot.width = width
            child.signal(signal.SIGUSR1)  # it looks at its width again

    def restart(self) -> None:
        """Have every child make way for a new one, when it has ended what it runs."""
        for child in self.children.values():
            self._dismiss(child)

    def _dismiss(self, child: ChildHandle) -> None:
        if not child.slot.leaves:
            child.slot.dismiss()
            self._dismissed += 1

    def usher_out(self) -> None:
        """Wake children that are to make way, and wait for work without knowing of it.

        Any child may take such a packet, and those that are to stay ignore it: so it is done
        again until all are gone.
        """
        for child in self.children.values():
            if child.slot.leaves and child.may_be_idle:
                try:
                    send(self._nursery.work, _WAKE_UP)
                except OSError:
                    return  # full: nobody is idle; or closed, which they will notice
