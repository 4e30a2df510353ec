"""Many tasks at a time in green threads, of eventlet or gevent.

The process has been patched before anything else was imported, so that what blocks elsewhere
lets other tasks run here.  Coroutines run on an event loop in a green thread beside them.
"""

from __future__ import annotations

import os
import signal
import threading
from abc import abstractmethod
from collections.abc import Callable
from types import CoroutineType, FrameType
from typing import TYPE_CHECKING, Any

from taskq.worker.pool.child import SHORT, Packet
from taskq.worker.pool.coroutines import Interruptible
from taskq.worker.pool.executors.base import interruption
from taskq.worker.pool.executors.crew import Crew
from taskq.worker.pool.executors.green_loop import GreenLoop

if TYPE_CHECKING:
    from taskq.worker.pool.child import Child

_LOOK = 0.5
"""Seconds after which it is looked whether the parent has made the child wider."""


class _Member:
    """A lane and its green thread.

    Attributes:
        greenlet: what runs its packet.
        invoking: it is in the task's function.
        coroutine: what it waits for, if the task is a coroutine.
    """

    def __init__(
        self, child: Child, index: int, run_coroutine: Callable[[Interruptible], Any]
    ) -> None:
        self._run_coroutine = run_coroutine
        self.lane = child.lane(index, self._invoke)
        self.greenlet: Any = None
        self.invoking = False
        self.coroutine: Interruptible | None = None

    def _invoke(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        self.invoking = True
        try:
            value = function(*args, **kwargs)
            if type(value) is CoroutineType:
                self.coroutine = Interruptible(value)
                value = self._run_coroutine(self.coroutine)
            return value
        finally:
            self.invoking, self.coroutine = False, None

    def interrupt(self) -> None:
        """Raise in its task what the parent wants to be raised; called by the hub."""
        error = interruption(self.lane.slot)
        if error is None or not self.invoking:
            return
        if self.coroutine is not None:
            self.coroutine.interrupt(error())
        else:
            self.greenlet.throw(error)


class GreenExecutor(Crew[_Member]):
    """The main green thread takes packets, and starts others to run them."""

    def __init__(self, child: Child) -> None:
        super().__init__(child)
        self.wait_readable = self.wait_for
        self._loop = GreenLoop(self.spawn)
        # Patched, like all of threading: they are green ones.
        self._changed = threading.Event()
        # A signal is noticed by a byte in a pipe, since the hub waits in code that is not Python.
        self._noticed, notice = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGUSR1, _ignore)
        signal.set_wakeup_fd(notice, warn_on_full_buffer=False)

    @abstractmethod
    def spawn(self, function: Callable[..., None], *args: Any) -> None:
        """Start a green thread."""

    @abstractmethod
    def wait_for(self, fd: int) -> None:
        """Wait until a descriptor can be read, and let others run."""

    @abstractmethod
    def in_hub(self, function: Callable[[], None]) -> None:
        """Have the hub call a function soon."""

    @abstractmethod
    def current(self) -> Any:
        """The green thread that is running."""

    def run(self) -> None:
        self.spawn(self._watch_limits)
        while True:
            self._wait_while(lambda: not self.has_room)
            packet = self.child.receive(wait=self.wait_for)
            if packet is None:
                break
            self.assign(packet)
        if self.busy:
            self.child.leaving()
        self._wait_while(lambda: self.busy > 0)

    def _wait_while(self, condition: Callable[[], bool]) -> None:
        while condition():
            self._changed.clear()
            self._changed.wait(_LOOK)

    def open(self, index: int) -> _Member:
        return _Member(self.child, index, self._loop.run)

    def start(self, member: _Member, packet: Packet) -> None:
        self.spawn(self._serve, member, packet)

    def _serve(self, member: _Member, packet: Packet) -> None:
        member.greenlet = self.current()
        try:
            member.lane.serve(packet[0] == SHORT, packet[1])
        except BaseException as exc:  # SystemExit and its like
            self.child.quit(member.lane, exc)
        self.released(member)
        self._changed.set()

    def _watch_limits(self) -> None:
        while True:
            self.wait_for(self._noticed)
            os.read(self._noticed, 4096)
            for member in self.lanes:
                if interruption(member.lane.slot) is not None:
                    self.in_hub(member.interrupt)


def _ignore(number: int, frame: FrameType | None) -> None:
    """The byte in the pipe is enough."""
