"""A child: a process that takes packets of tasks, and has an executor run them.

It takes work only when it has room, so that nothing ever waits behind a long task.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import msgspec

from taskq import signals
from taskq.execution import Invoke
from taskq.worker.pool.lane import Lane, WorkItem
from taskq.worker.pool.options import ChildOptions
from taskq.worker.pool.packets import Receiver, Wait, send
from taskq.worker.pool.program import HELD_BACK
from taskq.worker.pool.relay import RelayBackend, RelayBroker, RelayClient

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.worker.pool.executors.base import Executor
    from taskq.worker.pool.slots import Slot

Packet = tuple[int, list[WorkItem]]
"""How it is to be run, and what: `LONG`, `SHORT` or `ALONE`, and the tasks."""
LONG, SHORT, ALONE = range(3)
"""A task that may be long; tasks that are known to be short; one beside which no other runs."""

_decode_work = msgspec.msgpack.Decoder(Packet).decode
_LEAVING = msgspec.msgpack.encode(("leaving",))


class Child:
    """The life of one child process, from fork to exit.

    Args:
        app: the app, loaded.
        options: what the worker said.
        slots: the places of its lanes in shared memory.
        work: the socket that all children take packets from.
        answers: this child's own socket to the parent.

    Attributes:
        options: the same.
        is_limited: it makes way after so many tasks, or so much memory.
    """

    def __init__(
        self,
        app: TaskQ,
        options: ChildOptions,
        slots: Sequence[Slot],
        work: socket.socket,
        answers: socket.socket,
    ) -> None:
        self.app = app
        self.options = options
        self.is_limited = bool(options.max_tasks or options.max_memory)
        self.work = work
        self._slots = slots
        self._slot = slots[0]
        self._receiver = Receiver(work)
        self._answers = answers
        self._taken = self._begun = 0
        self._lock = threading.Lock()

    def run(self, executor: Callable[[Child], Executor]) -> None:
        """Serve until there is no more work to come, or it is time for a new child."""
        self._set_up(executor)
        signals.worker_process_init.send(self.app)
        self._executor.run()
        signals.worker_process_shutdown.send(self.app, pid=os.getpid(), exitcode=0)

    def _set_up(self, executor: Callable[[Child], Executor]) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
            # The parent decides when to stop.  A handler, since what is ignored would
            # stay ignored in the programs that tasks start.
            signal.signal(number, _ignore)
        faulthandler.register(signal.SIGUSR2, all_threads=True)
        self._executor = executor(self)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)
        if self.options.relay:
            client = RelayClient(self._answers, self._executor.wait_readable)
            self.app.use(RelayBroker(client), RelayBackend(client))
        self.app.on_after_fork.send(self.app)

    # Taking work

    def receive(self, flags: int = 0, wait: Wait | None = None) -> Packet | None:
        """The next packet; None when it is time to leave.

        Raises:
            BlockingIOError: there is none, and the flags say not to wait.
        """
        while not (self._slot.leaves or (self.is_limited and self._is_spent(self._taken))):
            packet = self._receiver.receive(flags, wait)
            if not packet:
                return None
            how, items = _decode_work(packet)
            self._taken += len(items)
            if items:  # others were sent for no more than a look at the slot
                return how, items
        return None

    def _is_spent(self, count: int) -> bool:
        limits = self.options
        if limits.max_tasks and count >= limits.max_tasks:
            return True
        if limits.max_memory and count:
            # ru_maxrss is in KiB on Linux (getrusage(2)).
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > limits.max_memory
        return False

    def may_begin(self) -> bool:
        """May one more task run here?  If so, it counts."""
        with self._lock:
            if self._is_spent(self._begun):
                return False
            self._begun += 1
            return True

    @property
    def width(self) -> int:
        """How many tasks it is to run at a time."""
        return self._slot.width

    def lane(self, index: int, invoke: Invoke | None = None) -> Lane:
        """Open one of its lanes."""
        return Lane(self, self._slots[index], invoke)

    # Telling the parent

    def send(self, packet: bytes | memoryview[int]) -> None:
        """Send a packet to the parent."""
        send(self._answers, packet)

    def leaving(self) -> None:
        """Tell that nothing more is taken, while what has been taken still runs."""
        self.send(_LEAVING)

    def quit(self, lane: Lane, exc: BaseException) -> NoReturn:
        """End the process, as a task in this lane wants it; the others are not to blame."""
        for slot in self._slots:
            if slot is not lane.slot and slot.number:
                slot.end()
        status = exc.code if isinstance(exc, SystemExit) and isinstance(exc.code, int) else 1
        if not isinstance(exc, SystemExit):
            traceback.print_exception(exc)
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(status)


def _ignore(number: int, frame: FrameType | None) -> None:
    """Neither the default action nor SIG_IGN, which programs that are started inherit."""
