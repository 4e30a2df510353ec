"""Many tasks at a time, each in a thread."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from taskq.worker.pool.child import Packet
from taskq.worker.pool.executors.crew import Crew
from taskq.worker.pool.executors.interruptible import InterruptibleThread

if TYPE_CHECKING:
    from taskq.worker.pool.child import Child

_LOOK = 0.5
"""Seconds after which it is looked whether the parent has made the child wider."""


class _Member:
    """A lane and its thread."""

    def __init__(self, child: Child, index: int, done: Callable[[_Member], None]) -> None:
        self.thread = InterruptibleThread(child, lambda: done(self))
        self.lane = child.lane(index, self.thread.invoke)


class ThreadsExecutor(Crew[_Member]):
    """The main thread takes packets, and gives them to others."""

    def __init__(self, child: Child) -> None:
        super().__init__(child)
        self._changed = threading.Condition()
        signal.signal(signal.SIGUSR1, self._on_limit)

    def run(self) -> None:
        while True:
            with self._changed:
                while not self.has_room:
                    self._changed.wait(_LOOK)
            packet = self.child.receive()
            if packet is None:
                break
            with self._changed:
                self.assign(packet)
        with self._changed:
            if self.busy:
                self.child.leaving()
            while self.busy:
                self._changed.wait()
        for member in self.lanes:
            member.thread.stop()

    def open(self, index: int) -> _Member:
        return _Member(self.child, index, self.done)

    def start(self, member: _Member, packet: Packet) -> None:
        member.thread.start(member.lane, packet)

    def done(self, member: _Member) -> None:
        """A thread has run its packet."""
        with self._changed:
            self.released(member)
            self._changed.notify()

    def _on_limit(self, number: int, frame: FrameType | None) -> None:
        for member in self.lanes:
            member.thread.interrupt(member.lane)
