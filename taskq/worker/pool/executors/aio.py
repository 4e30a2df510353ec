"""Many tasks at a time on one event loop; plain functions run in threads beside it."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import signal
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from taskq.exceptions import SoftTimeLimitExceeded, Terminated
from taskq.message import unpack
from taskq.worker.loops import loop_factory
from taskq.worker.pool.child import SHORT, Packet
from taskq.worker.pool.coroutines import Interruptible
from taskq.worker.pool.executors.base import interruption
from taskq.worker.pool.executors.crew import Crew
from taskq.worker.pool.executors.interruptible import InterruptibleThread

if TYPE_CHECKING:
    from taskq.worker.pool.child import Child


class _Member:
    """A lane, and what runs in it: a coroutine, or a thread when there was a plain function.

    Attributes:
        packet: what it is to run.
        position: how much of that has begun.
        current: the coroutine that runs, in its task.
    """

    def __init__(self, child: Child, index: int, thread_done: Callable[[_Member], None]) -> None:
        self._child = child
        self._thread_done = thread_done
        self._thread: InterruptibleThread | None = None
        self.lane = child.lane(index, self._invoke)
        self.packet: Packet = (0, [])
        self.position = 0
        self.current: tuple[Interruptible, asyncio.Task[None]] | None = None

    @property
    def thread(self) -> InterruptibleThread:
        if self._thread is None:
            self._thread = InterruptibleThread(self._child, lambda: self._thread_done(self))
        return self._thread

    def _invoke(self, function: Any, args: Any, kwargs: Any) -> Any:
        return self.thread.invoke(function, args, kwargs)

    def stop(self) -> None:
        if self._thread is not None:
            self._thread.stop()

    def interrupt(self) -> None:
        """Raise in its task what the parent wants to be raised."""
        if self.current is None:
            if self._thread is not None:
                self._thread.interrupt(self.lane)
            return
        error = interruption(self.lane.slot)
        coroutine, task = self.current
        if error is Terminated and coroutine.has_started:
            task.cancel()
        elif error is SoftTimeLimitExceeded:
            coroutine.interrupt(error())


class AsyncioExecutor(Crew[_Member]):
    """The event loop takes packets, and runs coroutines itself."""

    loop: asyncio.AbstractEventLoop

    def __init__(self, child: Child) -> None:
        super().__init__(child)
        self._native: dict[str, bool] = {}
        self._listening = self._leaving = False

    def run(self) -> None:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(self._main())
        for member in self.lanes:
            member.stop()

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._over = asyncio.Event()
        self.loop.add_signal_handler(signal.SIGUSR1, self._on_limit)
        self._take()
        await self._over.wait()

    # Taking packets

    def _take(self) -> None:
        """Take packets while there is room; then listen, or not."""
        while self.has_room and not self._leaving:
            try:
                packet = self.child.receive(socket.MSG_DONTWAIT)
            except BlockingIOError:
                self._listen(True)
                return
            if packet is None:
                self._leave()
                return
            self.assign(packet)
        self._listen(False)

    def _listen(self, listening: bool) -> None:
        if listening and not self._listening:
            self.loop.add_reader(self.child.work.fileno(), self._take)
        elif self._listening and not listening:
            self.loop.remove_reader(self.child.work.fileno())
        self._listening = listening

    def _leave(self) -> None:
        self._listen(False)
        self._leaving = True
        if self.busy:
            self.child.leaving()
        else:
            self._over.set()

    def released(self, member: _Member) -> None:
        super().released(member)
        if not self._leaving:
            if not self._listening:
                self._take()
        elif not self.busy:
            self._over.set()

    def open(self, index: int) -> _Member:
        return _Member(self.child, index, self._thread_done)

    def _thread_done(self, member: _Member) -> None:
        """A thread has run its packet, and says so."""
        self.loop.call_soon_threadsafe(self.released, member, context=self._context)

    # Running them

    def start(self, member: _Member, packet: Packet) -> None:
        message, sentence = unpack(packet[1][0][3]), packet[1][0][4]
        if sentence is None and self._is_native(message.task):
            member.packet, member.position = packet, 0
            self._advance(member)
        else:
            member.thread.start(member.lane, packet)

    def _is_native(self, name: str) -> bool:
        """Is the task of that name a coroutine function?"""
        native = self._native.get(name)
        if native is None:
            task = self.child.app.tasks.get(name)
            native = task is not None and inspect.iscoroutinefunction(task.run)
            self._native[name] = native
        return native

    def _advance(self, member: _Member) -> None:
        """Start the next task of a packet, each in an asyncio task of its own."""
        lane, (how, items) = member.lane, member.packet
        position = member.position
        if position == len(items):
            lane.flush()
        elif lane.begin(items[position][0], how == SHORT):
            member.position += 1
            coroutine = Interruptible(self._run(member, items[position]))
            task = self.loop.create_task(coroutine)
            member.current = coroutine, task
            return
        else:
            lane.give_back(items[position:])
            lane.flush()
        self.released(member)

    async def _run(self, member: _Member, item: Any) -> None:
        try:
            await member.lane.serve_one(item)
        except BaseException as exc:  # SystemExit and its like
            self.child.quit(member.lane, exc)
        member.current = None
        # Not in the context of the task that has ended: the next one is to find nothing of it.
        self.loop.call_soon(self._advance, member, context=self._context)

    def _on_limit(self) -> None:
        for member in self.lanes:
            member.interrupt()
        if not (self._listening or self._leaving):
            self._take()  # it may be wider now
