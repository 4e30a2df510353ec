"""A lane of a child: it runs the tasks of one packet at a time, one after the other.

A child has as many lanes as it runs tasks at a time, each with a slot of its own.  Reports go
out when a packet is done, and within one of many short tasks in batches; until then they lie
in the slot, where the parent can read them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from taskq.execution import Invoke, Report, Sentence, TaskRunner
from taskq.message import TaskMessage, unpack

if TYPE_CHECKING:
    from taskq.backends.base import Outcome
    from taskq.worker.pool.child import Child
    from taskq.worker.pool.slots import Slot

WorkItem = tuple[int, str, int, bytes, Sentence | None]
"""The pool's number, queue, deliveries, packed message, and a sentence to tell instead of a run."""
ONE_REPORT = b"\xdd\x00\x00\x00\x01"
"""The head of an array of one, in MessagePack."""
MAX_HELD = 64
"""Reports that a lane keeps back at most."""
MAX_HOLD = 0.005
"""Seconds that a lane keeps a report back at most, while it runs short tasks."""

_encode = msgspec.msgpack.Encoder().encode


class Lane:
    """Runs packets.

    Args:
        child: whose lane it is.
        slot: its place in shared memory.
        invoke: calls a task's function, as `TaskRunner` wants it.
    """

    def __init__(self, child: Child, slot: Slot, invoke: Invoke | None = None) -> None:
        self.slot = slot
        self._child = child
        self._limited = child.is_limited
        self._held_since = 0.0
        options = child.options
        self._runner = TaskRunner(
            child.app, options.hostname, invoke, options.verbose, self._send_state
        )

    def take(self, items: list[WorkItem]) -> None:
        """Note a packet that has been received; to be done before anything else is."""
        self.slot.take(items[0][0], items[-1][0])

    def serve(self, short: bool, items: list[WorkItem]) -> None:
        """Run the tasks of a packet that has been noted.

        Raises:
            SystemExit: a task has left; it stands in the slot.
        """
        runner = self._runner
        for index, item in enumerate(items):
            if not self.begin(item[0], short):
                self.give_back(items[index:])
                break
            number, queue, deliveries, packed, sentence = item
            message = unpack(packed)
            if sentence is None:
                report = runner.run(number, message, queue, deliveries)
            else:
                report = runner.pronounce(number, message, queue, sentence)
            self.end(report, message, queue)
        self.flush()

    async def serve_one(self, item: WorkItem) -> None:
        """Run a task that has begun and is a coroutine function, on the running event loop."""
        number, queue, deliveries, packed, _ = item
        message = unpack(packed)
        report = await self._runner.run_async(number, message, queue, deliveries)
        self.end(report, message, queue)

    def begin(self, number: int, short: bool) -> bool:
        """Note that a task begins; False if it must not, and the rest goes back."""
        slot, now = self.slot, time.monotonic()
        held = slot.held_count
        if held and (not short or held >= MAX_HELD or now - self._held_since > MAX_HOLD):
            self.flush()
        # First it is noted, then it is looked whether it may be: of the two sides of a recall
        # at least one sees the other.
        slot.begin(number, now)
        if slot.is_recalled(number) or (self._limited and not self._child.may_begin()):
            slot.end()
            return False
        return True

    def end(self, report: Report, message: TaskMessage, queue: str) -> None:
        """Keep or send the report of the task that has begun."""
        try:
            encoded = _encode(report)
        except Exception as exc:  # a header of a follow-up, for example
            encoded = _encode(self._runner.withdraw(report.ticket, message, queue, exc))
        slot = self.slot
        if len(encoded) > slot.room():
            self.flush()
        if len(encoded) > slot.capacity:
            self._child.send(ONE_REPORT + encoded)
        else:
            if not slot.held_count:
                self._held_since = time.monotonic()
            slot.hold(encoded)
        slot.end()

    def give_back(self, items: list[WorkItem]) -> None:
        """Hand back the rest of a packet, for others to run."""
        self._child.send(_encode(("back", [item[0] for item in items])))

    def flush(self) -> None:
        """Send the reports that are held."""
        if self.slot.held_count:
            self._child.send(self.slot.sending())
            self.slot.sent()

    def _send_state(self, outcome: Outcome) -> None:
        """Tell the parent at once of a state on the way, such as STARTED."""
        self._child.send(_encode(("state", self.slot.number, outcome)))
