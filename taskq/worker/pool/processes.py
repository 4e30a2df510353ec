"""The pool of processes: N children, each of which runs M tasks at a time.

Prefork is N children of one task each; with threads, coroutines or green threads it is usually
one child of M.  What a child does with its tasks is its executor's business: here they are
lanes, each with a slot in shared memory.

All children take packets from one shared socket: the kernel hands each packet to whichever
child is free, so that nobody assigns work and nothing waits behind a long task.  What is in
the socket is beyond the reach of a priority or a revoke; so it holds next to nothing, and
more only of tasks that are known to be short.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from taskq import states
from taskq.backends.base import Outcome
from taskq.exceptions import ImproperlyConfigured
from taskq.execution import Report
from taskq.worker.pool.base import Loss, Pool, PoolEvents, Running
from taskq.worker.pool.bundles import bundle
from taskq.worker.pool.child import ALONE, LONG, SHORT
from taskq.worker.pool.crew import Crew
from taskq.worker.pool.handle import ChildHandle, how_it_ended
from taskq.worker.pool.in_flight import InFlight, Packet
from taskq.worker.pool.limits import Enforcer
from taskq.worker.pool.losses import Search, left_behind
from taskq.worker.pool.nursery import Exited, Nursery
from taskq.worker.pool.pace import Pace
from taskq.worker.pool.packets import send
from taskq.worker.pool.relay import Relay
from taskq.worker.pool.watch import Watch

if TYPE_CHECKING:
    from taskq.worker.job import Job
    from taskq.worker.pool.slots import Slot

logger = logging.getLogger("taskq.worker")

_REPORTS = 0xDD
_OVERDUE = 0.005
"""Seconds after which a short task is no longer taken to be one."""
_HELD_UP = 0.05
"""Seconds after which what waits behind it in its packet goes to others."""
_LOOK = 0.02

_encode = msgspec.msgpack.Encoder().encode
_decode_reports = msgspec.msgpack.Decoder(list[Report]).decode
_decode_state = msgspec.msgpack.Decoder(tuple[str, int, Outcome]).decode
_decode_back = msgspec.msgpack.Decoder(tuple[str, list[int]]).decode
_decode_kind = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


class ProcessPool(Pool):
    """N processes, M tasks at a time in each.

    Args:
        nursery: forks the children; started before the event loop.
        processes: how many children.
        width: how many tasks at a time in each.
        relay: answers children that reach the broker through the parent.
        alone_from: so often a message may crash its child in company; after that it runs alone
            in one, so that nobody is blamed for what another has done.
    """

    def __init__(
        self,
        nursery: Nursery,
        processes: int,
        width: int = 1,
        relay: Relay | None = None,
        alone_from: int = 2,
    ) -> None:
        self._nursery = nursery
        self._size = processes * width
        self._single = nursery.lanes == 1
        self._alone_from = max(1, alone_from)
        self._relay = relay
        self._crew = Crew(nursery, processes, width, self._read)
        self._sent = InFlight()
        self._search = Search(self._crew, self._sent, nursery.work, self._read_out, self._give_back)
        self._limits = Enforcer()
        self._pace = Pace()
        self._all_gone = asyncio.Event()

    @property
    def size(self) -> int:
        return self._size

    def running(self) -> list[Running]:
        found = []
        for child in self._crew.children.values():
            for slot in child.slots:
                # In this order: a task that ends meanwhile is not given another one's time.
                number, since = slot.number, slot.started
                entry = self._sent.jobs.get(number)
                # A new child may be at work before the nursery has told its process id.
                if entry is not None and child.pid:
                    found.append(Running(entry[0], child.pid, since))
        return found

    def pids(self) -> list[int]:
        return self._crew.pids()

    async def start(self, events: PoolEvents) -> None:
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._watch = Watch(self._loop, self._look)
        self._loop.add_reader(self._nursery.control.fileno(), self._on_news)
        self._crew.fill()

    # How many children

    def grow(self, count: int = 1) -> None:
        lanes = self._nursery.lanes
        most = self._nursery.slots.count if self._single else self._crew.processes * lanes
        if self._size + count > most:
            raise ImproperlyConfigured(
                f"{self._size} and {count} more tasks at a time are more than this worker can "
                f"have, which is {most}: start another worker"
            )
        self._resize(self._size + count)
        self._events.has_room()

    def shrink(self, count: int = 1) -> None:
        if count >= self._size:
            raise ImproperlyConfigured(
                f"{count} of {self._size} tasks at a time cannot be taken away: one must be left"
            )
        self._resize(self._size - count)

    def _resize(self, size: int) -> None:
        self._size = size
        if self._single:
            self._crew.resize(size)
        else:
            self._crew.widen(-(-size // self._crew.processes))
        self._watch.wake()
        self._events.resized()

    def restart(self) -> None:
        self._crew.restart()
        self._watch.wake()

    # Giving work

    def offer(self, jobs: Sequence[Job]) -> int:
        taken = 0
        while taken < len(jobs) and not self._crew.closed:
            name = jobs[taken].task.name
            short = self._pace.is_short(name)
            # Long tasks only when a lane is free; of short ones a little lies in reach.
            ahead = self._crew.processes * (self._pace.packets(name) - 1) if short else 0
            if self._sent.packets >= self._size + ahead:
                break
            group = bundle(jobs, taken, self._pace.bundle(name) if short else 1)
            items = [
                job.work_item(number) for number, job in enumerate(group, self._sent.next_number)
            ]
            packet = _encode((self._how(group[0], short), items))
            try:
                send(self._nursery.work, packet)
            except BlockingIOError:
                self._loop.add_writer(self._nursery.work.fileno(), self._on_writable)
                break
            except OSError as exc:
                if exc.errno not in (errno.EPIPE, errno.ECONNRESET):
                    raise
                break  # the nursery is gone, and its end is on the way to _on_news
            # What may be held behind a short task, and what has a limit, is looked after.
            watched = short or any(job.is_limited for job in group)
            self._sent.add(group, watched)
            if watched:
                self._watch.wake()
            taken += len(group)
        return taken

    def _how(self, job: Job, short: bool) -> int:
        if not self._single and job.delivery.crashes >= self._alone_from:
            return ALONE
        return SHORT if short else LONG

    def _on_writable(self) -> None:
        self._loop.remove_writer(self._nursery.work.fileno())
        self._events.has_room()

    # Taking answers

    def _read(self, child: ChildHandle) -> None:
        """Read all that a child has sent."""
        while True:
            try:
                packet = child.receiver.receive()
            except (BlockingIOError, ConnectionError):
                return
            if not packet:
                self._loop.remove_reader(child.answers.fileno())
                return  # its end is told by the nursery
            if packet[0] == _REPORTS:
                self._take(_decode_reports(packet))
            else:
                self._answer(child, bytes(packet))

    def _read_out(self, child: ChildHandle) -> None:
        """Read all that a child has sent, and what its lanes hold."""
        self._read(child)
        for slot in child.slots:
            self._rescue(slot)

    def _take(self, reports: list[Report]) -> None:
        """Pass reports on; those that were read from the slot before are not new."""
        for report in reports:
            job = self._sent.forget(report.ticket)
            if job is None:
                continue
            report.ticket = job.ticket
            self._pace.note(job.task.name, report.runtime)
            # Not of one that comes once more, so that whoever must know is told of its end.
            if job.terminated and job.verdict is None and report.state != states.SUCCESS:
                self._events.lost(job, Loss.CRASHED, "it was terminated")
            else:
                self._events.finished(job, report)
        self._events.has_room()

    def _answer(self, child: ChildHandle, packet: bytes) -> None:
        kind = msgspec.msgpack.decode(_decode_kind(packet)[0])
        if kind == "state":
            _, number, outcome = _decode_state(packet)
            if number in self._sent.jobs:
                self._events.progressed(self._sent.jobs[number][0], outcome)
        elif kind == "back":
            self._give_back(_decode_back(packet)[1], "its child takes no more")
        elif kind == "leaving":
            # What it still runs may take long: another one takes its place at once.
            child.leaving = child.surplus = True
            self._crew.fill()
        elif self._relay is not None:
            self._relay.answer(child.answers, packet)

    def _give_back(self, numbers: Iterable[int], why: str) -> None:
        for number in numbers:
            job = self._sent.forget(number)
            if job is not None:
                self._events.lost(job, Loss.UNSTARTED, why)
        self._events.has_room()

    # Watching over limits, and over reports that are held too long

    def _look(self) -> float | None:
        """See what the children do; tells in how many seconds to look again."""
        now = time.monotonic()
        pause, seen = 1.0, 0
        for child in self._crew.children.values():
            for slot in child.slots:
                number = slot.number
                entry = self._sent.jobs.get(number) if number else None
                if entry is None or not entry[1].watched:
                    continue
                seen += 1
                running = now - slot.started
                if running > _OVERDUE:
                    self._rescue(slot)
                if running > _HELD_UP:
                    self._unblock(slot, entry[1])
                pause = min(pause, self._limits.limit(child, slot, number, entry[0], running))
        if self._limits.is_busy:
            pause = min(pause, self._limits.end_harder(now, self._sent.jobs))
        if self._crew.is_dismissing:
            self._crew.usher_out()
            pause = min(pause, _LOOK)
        elif not self._sent.watched and not self._limits.is_busy:
            return None
        # Until all that matters is seen running, look often.
        return min(pause, _LOOK) if seen < self._sent.watched else pause

    def _rescue(self, slot: Slot) -> None:
        """Take the reports that a lane holds while it is busy for longer than expected."""
        held = slot.held()
        if held is not None:
            self._take(_decode_reports(held))

    def _unblock(self, slot: Slot, packet: Packet) -> None:
        """Take back what waits in a packet behind a task that is not as short as expected.

        The child is told first.  If it is seen in the same task at a later look, it has not
        begun the next one and never will; otherwise it hands the rest back by itself.
        """
        number = slot.number
        if packet.open < 2 or not number:
            return
        if slot.recalled == number:
            rest = range(number + 1, slot.taken[1] + 1)
            self._give_back(rest, "the task before it in its packet takes long")
        else:
            slot.recall(number)

    def terminate(self, job: Job) -> bool:
        for child in self._crew.children.values():
            for slot in child.slots:
                number = slot.number
                entry = self._sent.jobs.get(number) if number else None
                if entry is None or entry[0] is not job or child.killed:
                    continue
                logger.warning("Task %s is terminated", job.label)
                job.terminated = True
                self._limits.end(child, slot, number, alone=self._single)
                self._watch.wake()
                return True
        return False

    # The children's ends

    def _on_news(self) -> None:
        while True:
            try:
                news = self._nursery.receive()
            except BlockingIOError:
                return
            except ConnectionError:
                news = None
            if news is None:
                self._loop.remove_reader(self._nursery.control.fileno())
                self._nursery_gone()
                return
            event, pidfd = news
            if isinstance(event, Exited):
                self._on_exit(event)
            else:
                self._crew.on_born(event, pidfd)

    def _on_exit(self, event: Exited) -> None:
        child = self._crew.by_pid(event.pid)
        if child is None:
            return
        self._read_out(child)
        self._crew.close(child)
        worked = child.has_taken
        detail = how_it_ended(child.pid, event.status)
        for job, loss in left_behind(child, self._sent):
            self._events.lost(job, loss, detail)
        if self._crew.closed:
            if not self._crew.children:
                self._all_gone.set()
            return
        if event.status and not worked and not child.killed:
            # One that cannot even start would be started again in a tight loop.
            logger.error("a child did not start: %s", detail)
            self._crew.fill_later()
        self._crew.fill()
        self._search.start()
        self._events.has_room()

    def _nursery_gone(self) -> None:
        if not self._crew.closed:
            self.abort()
            self._events.broken("the process that forks the children has died, and they with it")
        self._crew.close_all()
        self._all_gone.set()

    # Stopping

    def abort(self) -> None:
        self._crew.closed = True
        for child in self._crew.children.values():
            child.killed = True
            child.signal(signal.SIGKILL)
            self._read_out(child)
        self._give_back(list(self._sent.jobs), "the worker was stopped")

    async def stop(self) -> None:
        self._crew.closed = True
        self._watch.stop()
        # With nobody left to send, the children read the end of the socket and leave.
        self._loop.remove_writer(self._nursery.work.fileno())
        self._nursery.work.close()
        try:
            async with asyncio.timeout(10):
                if self._crew.children:
                    await self._all_gone.wait()
        except TimeoutError:
            logger.warning("children did not end in time: %s", self.pids())
        self._loop.remove_reader(self._nursery.control.fileno())
        await asyncio.to_thread(self._nursery.close)
        self._crew.close_all()
