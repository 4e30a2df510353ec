"""A child: takes packets of tasks, runs them, and reports.

It takes work only when it has room, so that nothing ever waits behind a long task.
Reports go out when a packet is done, and within one of many short tasks in batches; until
then they lie in the child's slot, where the parent can read them.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from types import CoroutineType, FrameType
from typing import TYPE_CHECKING, Any

import msgspec

from taskq import signals
from taskq.exceptions import SoftTimeLimitExceeded
from taskq.execution import Sentence, TaskRunner
from taskq.message import unpack
from taskq.worker.pool.coroutines import Driver
from taskq.worker.pool.packets import LARGE, Receiver, send
from taskq.worker.pool.relay import RelayBackend, RelayBroker, RelayClient

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.backends.base import Outcome
    from taskq.worker.pool.slots import Slot

logger = logging.getLogger("taskq.worker")

WorkItem = tuple[int, str, int, bytes, Sentence | None]
"""The pool's number, queue, deliveries, packed message, and a sentence to tell instead of a run."""
ONE_REPORT = b"\xdd\x00\x00\x00\x01"
"""The head of an array of one, in MessagePack."""
MAX_HELD = 64
"""Reports that a child keeps back at most."""
MAX_HOLD = 0.005
"""Seconds that a child keeps a report back at most, while it runs short tasks."""

_decode_work = msgspec.msgpack.Decoder(tuple[bool, list[WorkItem]]).decode
_encode = msgspec.msgpack.Encoder().encode


class ChildOptions(msgspec.Struct, array_like=True):
    """What a child must know of its worker.

    Attributes:
        hostname: the worker's name.
        max_tasks: tasks after which the child makes way for a new one.
        max_memory: resident memory in KiB after which it does.
        verbose: put results' texts into reports, for the log.
        relay: broker and results are reached through the parent.
    """

    hostname: str
    max_tasks: int | None = None
    max_memory: int | None = None
    verbose: bool = False
    relay: bool = False


class Child:
    """The life of one child process, from fork to exit.

    Args:
        app: the app, loaded.
        options: what the worker said.
        slot: this child's place in shared memory.
        work: the socket that all children take packets from.
        answers: this child's own socket to the parent.
    """

    def __init__(
        self,
        app: TaskQ,
        options: ChildOptions,
        slot: Slot,
        work: socket.socket,
        answers: socket.socket,
    ) -> None:
        self._app = app
        self._options = options
        self._slot = slot
        self._work = Receiver(work)
        self._answers = answers
        self._driver = Driver()
        self._running = False
        self._held_since = 0.0
        self._runner = TaskRunner(
            app, options.hostname, self._invoke, options.verbose, self._send_state
        )

    def run(self) -> None:
        """Serve until there is no more work to come, or it is time for a new child."""
        self._set_up()
        done = 0
        while not (self._spent(done) or self._slot.leaves):
            packet = self._work.receive()
            if not packet:
                break
            short, items = _decode_work(packet)
            if not items:
                continue  # it was sent for no more than a look at the slot
            self._slot.take(items[0][0], items[-1][0])
            for index, item in enumerate(items):
                if self._spent(done) or not self._serve(item, short):
                    self._give_back(items[index:])
                    break
                done += 1
            self._flush()
        signals.worker_process_shutdown.send(self._app, pid=os.getpid(), exitcode=0)

    def _set_up(self) -> None:
        if self._options.relay:
            client = RelayClient(self._answers)
            self._app.use(RelayBroker(client), RelayBackend(client))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
            # The parent decides when to stop.  A handler, since what is ignored would
            # stay ignored in the programs that tasks start.
            signal.signal(number, _ignore)
        signal.signal(signal.SIGUSR1, self._on_soft_limit)
        faulthandler.register(signal.SIGUSR2, all_threads=True)
        self._app.on_after_fork.send(self._app)
        signals.worker_process_init.send(self._app)

    def _spent(self, done: int) -> bool:
        limits = self._options
        if limits.max_tasks and done >= limits.max_tasks:
            return True
        if limits.max_memory and done:
            # ru_maxrss is in KiB on Linux (getrusage(2)).
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > limits.max_memory
        return False

    def _serve(self, item: WorkItem, short: bool) -> bool:
        """Run one task and keep or send its report; False if it has been recalled."""
        number, queue, deliveries, packed, sentence = item
        now = time.monotonic()
        held = self._slot.held_count
        if held and (not short or held >= MAX_HELD or now - self._held_since > MAX_HOLD):
            self._flush()
        # First it is noted, then it is looked whether it may be: of the two sides of a recall
        # at least one sees the other.
        self._slot.begin(number, now)
        if self._slot.is_recalled(number):
            self._slot.end()
            return False
        message = unpack(packed)
        if sentence is None:
            report = self._runner.run(number, message, queue, deliveries)
        else:
            report = self._runner.pronounce(number, message, queue, sentence)
        try:
            encoded = _encode(report)
        except Exception as exc:  # a header of a follow-up, for example
            encoded = _encode(self._runner.withdraw(number, message, queue, exc))
        self._keep(encoded)
        self._slot.end()
        return True

    def _give_back(self, items: list[WorkItem]) -> None:
        """Hand back the rest of a packet, for another child to run."""
        send(self._answers, _encode(("back", [item[0] for item in items])))

    def _keep(self, report: bytes) -> None:
        if len(report) > self._slot.room() - LARGE:
            self._flush()
        if len(report) > LARGE:
            send(self._answers, ONE_REPORT + report)
            return
        if not self._slot.held_count:
            self._held_since = time.monotonic()
        self._slot.hold(report)

    def _flush(self) -> None:
        if self._slot.held_count:
            send(self._answers, self._slot.sending())
            self._slot.sent()

    def _send_state(self, outcome: Outcome) -> None:
        """Tell the parent at once of a state on the way, such as STARTED."""
        send(self._answers, _encode(("state", self._slot.number, outcome)))

    # Running the function, under its soft limit

    def _invoke(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        self._running = True
        try:
            value = function(*args, **kwargs)
            if type(value) is CoroutineType:
                value = self._driver.run(value)
            return value
        finally:
            self._running = False

    def _on_soft_limit(self, number: int, frame: FrameType | None) -> None:
        """The parent says that a task has run for too long; only if it still runs."""
        number = self._slot.number
        if self._running and number and self._slot.limited == number:
            if self._driver.running:
                self._driver.interrupt(SoftTimeLimitExceeded())
            else:
                raise SoftTimeLimitExceeded()


def _ignore(number: int, frame: FrameType | None) -> None:
    """Neither the default action nor SIG_IGN, which programs that are started inherit."""
