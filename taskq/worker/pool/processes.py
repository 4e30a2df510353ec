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
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from taskq import states
from taskq.backends.base import Outcome
from taskq.exceptions import ImproperlyConfigured
from taskq.execution import Report
from taskq.worker.pool.base import Loss, Pool, PoolEvents, Running
from taskq.worker.pool.child import ALONE, LONG, SHORT
from taskq.worker.pool.handle import ChildHandle, how_it_ended
from taskq.worker.pool.limits import Enforcer
from taskq.worker.pool.nursery import Exited, Nursery
from taskq.worker.pool.pace import Pace
from taskq.worker.pool.packets import LARGE, Receiver, send, unread
from taskq.worker.pool.relay import Relay
from taskq.worker.pool.watch import Watch

if TYPE_CHECKING:
    from taskq.worker.job import Job
    from taskq.worker.pool.slots import Slot

logger = logging.getLogger("taskq.worker")

ALONE_FROM = 3
"""From this delivery on a message travels alone: it may be what kills its process."""
_REPORTS = 0xDD
_OVERDUE = 0.005
"""Seconds after which a short task is no longer taken to be one."""
_HELD_UP = 0.05
"""Seconds after which what waits behind it in its packet goes to others."""
_LOOK = 0.02
_GRACE = 0.2
"""Seconds in which a living child has surely noted the packet that it has taken."""
_RESPAWN_DELAY = 1.0

_encode = msgspec.msgpack.Encoder().encode
_WAKE_UP = _encode((LONG, []))
_decode_reports = msgspec.msgpack.Decoder(list[Report]).decode
_decode_state = msgspec.msgpack.Decoder(tuple[str, int, Outcome]).decode
_decode_back = msgspec.msgpack.Decoder(tuple[str, list[int]]).decode
_decode_kind = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


@dataclass(slots=True, eq=False)
class _Packet:
    """What was sent together: how many jobs of it are open, and whether to look after them."""

    open: int
    watched: bool


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
        self._processes = processes
        self._width = width
        self._size = processes * width
        self._single = nursery.lanes == 1
        self._alone_from = max(1, alone_from)
        self._relay = relay
        self._children: dict[int, ChildHandle] = {}  # by slot
        self._by_pid: dict[int, ChildHandle] = {}
        self._delayed = 0
        self._dismissed = 0
        self._limits = Enforcer()
        # By number in the order of sending, which is not that of the jobs' tickets: the urgent
        # ones go first.  Children know jobs by these numbers, and slots speak of them.
        self._jobs: dict[int, tuple[Job, _Packet]] = {}
        self._next_number = 1
        self._packets = 0
        self._watched = 0
        self._pace = Pace()
        self._stopping = False
        self._all_gone = asyncio.Event()

    @property
    def size(self) -> int:
        return self._size

    def running(self) -> list[Running]:
        found = []
        for child in self._children.values():
            for slot in child.slots:
                # In this order: a task that ends meanwhile is not given another one's time.
                number, since = slot.number, slot.started
                entry = self._jobs.get(number)
                # A new child may be at work before the nursery has told its process id.
                if entry is not None and child.pid:
                    found.append(Running(entry[0], child.pid, since))
        return found

    def pids(self) -> list[int]:
        return [child.pid for child in self._children.values() if child.pid]

    async def start(self, events: PoolEvents) -> None:
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._watch = Watch(self._loop, self._look)
        self._loop.add_reader(self._nursery.control.fileno(), self._on_news)
        self._fill()

    # How many children

    def grow(self, count: int = 1) -> None:
        most = self._nursery.slots.count if self._single else self._processes * self._nursery.lanes
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
            self._processes = size
            self._thin_out()
            self._fill()
        else:
            self._width = -(-size // self._processes)
            for child in self._children.values():
                self._widen(child)
                child.signal(signal.SIGUSR1)  # it looks at its width again
        self._events.resized()

    def _thin_out(self) -> None:
        """Have those children make way that are too many."""
        # First those that do nothing: they make way at once.
        children = sorted(self._children.values(), key=lambda child: bool(child.slot.number))
        staying = [child for child in children if not child.surplus]
        for child in staying[: max(0, len(staying) - self._processes)]:
            child.surplus = True
            self._dismiss(child)

    def _widen(self, child: ChildHandle) -> None:
        """Tell a child how many lanes it may use, and keep an eye on all of them."""
        first = child.index * self._nursery.lanes
        for lane in range(len(child.slots), self._width):
            child.slots.append(self._nursery.slots.slot(first + lane))
        child.slot.width = self._width

    def restart(self) -> None:
        for child in self._children.values():
            self._dismiss(child)

    def _dismiss(self, child: ChildHandle) -> None:
        if not child.slot.leaves:
            child.slot.dismiss()
            self._dismissed += 1
            self._watch.wake()

    def _usher_out(self) -> None:
        """Wake children that are to make way, and wait for work without knowing of it.

        Any child may take such a packet, and those that are to stay ignore it: so it is done
        again until all are gone.
        """
        for child in self._children.values():
            if child.slot.leaves and child.may_be_idle:
                try:
                    send(self._nursery.work, _WAKE_UP)
                except OSError:
                    return  # full: nobody is idle; or closed, which they will notice

    def _fill(self, delayed: int = 0) -> None:
        """Start as many children as are missing."""
        self._delayed -= delayed
        if self._stopping:
            return
        missing = self._processes - self._delayed
        missing -= sum(not child.surplus for child in self._children.values())
        # While some that are surplus still run, there may be no slot for all of them.
        free = (i for i in range(self._nursery.capacity) if i not in self._children)
        for index in list(islice(free, max(0, missing))):
            self._spawn(index)

    def _spawn(self, index: int) -> None:
        slots = self._nursery.slots.slots(index, self._nursery.lanes)[: self._width]
        for slot in slots:
            slot.clear()
        slots[0].width = self._width
        answers = self._nursery.spawn(index)
        answers.setblocking(False)
        child = ChildHandle(index, slots, answers, Receiver(answers))
        self._children[index] = child
        self._loop.add_reader(answers.fileno(), self._read, child)

    # Giving work

    def offer(self, jobs: Sequence[Job]) -> int:
        taken = 0
        while taken < len(jobs) and not self._stopping:
            name = jobs[taken].task.name
            short = self._pace.is_short(name)
            # Long tasks only when a lane is free; of short ones a little lies in reach.
            ahead = self._processes * (self._pace.packets(name) - 1) if short else 0
            if self._packets >= self._size + ahead:
                break
            bundle = self._bundle(jobs, taken) if short else jobs[taken : taken + 1]
            items = [job.work_item(number) for number, job in enumerate(bundle, self._next_number)]
            packet = _encode((self._how(bundle[0], short), items))
            try:
                send(self._nursery.work, packet)
            except BlockingIOError:
                self._loop.add_writer(self._nursery.work.fileno(), self._on_writable)
                break
            except OSError as exc:
                if exc.errno not in (errno.EPIPE, errno.ECONNRESET):
                    raise
                break  # the nursery is gone, and its end is on the way to _on_news
            self._sent(bundle, short)
            taken += len(bundle)
        return taken

    def _how(self, job: Job, short: bool) -> int:
        if not self._single and job.delivery.crashes >= self._alone_from:
            return ALONE
        return SHORT if short else LONG

    def _sent(self, bundle: Sequence[Job], short: bool) -> None:
        # What may be held behind a short task, and what has a limit, is looked after.
        packet = _Packet(len(bundle), short or any(map(_is_limited, bundle)))
        self._packets += 1
        for job in bundle:
            self._jobs[self._next_number] = (job, packet)
            self._next_number += 1
        if packet.watched:
            self._watched += len(bundle)
            self._watch.wake()

    def _bundle(self, jobs: Sequence[Job], start: int) -> Sequence[Job]:
        """The jobs of the next packet, all of one short task."""
        task, size, end = jobs[start].task, 0, start
        for job in jobs[start : start + self._pace.bundle(task.name)]:
            delivery = job.delivery
            size += len(delivery.packed)
            if job.task is not task or size > LARGE or delivery.deliveries >= ALONE_FROM:
                break
            end += 1
        return jobs[start : max(end, start + 1)]

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

    def _take(self, reports: list[Report]) -> None:
        """Pass reports on; those that were read from the slot before are not new."""
        for report in reports:
            job = self._forget(report.ticket)
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

    def _forget(self, number: int) -> Job | None:
        entry = self._jobs.pop(number, None)
        if entry is None:
            return None
        job, packet = entry
        packet.open -= 1
        self._packets -= packet.open == 0
        self._watched -= packet.watched
        return job

    def _answer(self, child: ChildHandle, packet: bytes) -> None:
        kind = msgspec.msgpack.decode(_decode_kind(packet)[0])
        if kind == "state":
            _, number, outcome = _decode_state(packet)
            if number in self._jobs:
                self._events.progressed(self._jobs[number][0], outcome)
        elif kind == "back":
            self._give_back(_decode_back(packet)[1], "its child takes no more")
        elif kind == "leaving":
            # What it still runs may take long: another one takes its place at once.
            child.leaving = child.surplus = True
            self._fill()
        elif self._relay is not None:
            self._relay.answer(child.answers, packet)

    def _give_back(self, numbers: Iterable[int], why: str) -> None:
        for number in numbers:
            job = self._forget(number)
            if job is not None:
                self._events.lost(job, Loss.UNSTARTED, why)
        self._events.has_room()

    # Watching over limits, and over reports that are held too long

    def _look(self) -> float | None:
        """See what the children do; tells in how many seconds to look again."""
        now = time.monotonic()
        pause, seen = 1.0, 0
        for child in self._children.values():
            for slot in child.slots:
                number = slot.number
                entry = self._jobs.get(number) if number else None
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
            pause = min(pause, self._limits.end_harder(now, self._jobs))
        if self._dismissed:
            self._usher_out()
            pause = min(pause, _LOOK)
        elif not self._watched and not self._limits.is_busy:
            return None
        # Until all that matters is seen running, look often.
        return min(pause, _LOOK) if seen < self._watched else pause

    def _rescue(self, slot: Slot) -> None:
        """Take the reports that a lane holds while it is busy for longer than expected."""
        held = slot.held()
        if held is not None:
            self._take(_decode_reports(held))

    def _unblock(self, slot: Slot, packet: _Packet) -> None:
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
        for child in self._children.values():
            for slot in child.slots:
                number = slot.number
                entry = self._jobs.get(number) if number else None
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
                child = self._children[event.slot]
                child.pid, child.pidfd = event.pid, -1 if pidfd is None else pidfd
                self._by_pid[event.pid] = child
                if child.killed:  # before anybody knew whom to signal
                    child.signal(signal.SIGKILL)

    def _on_exit(self, event: Exited) -> None:
        child = self._by_pid.pop(event.pid, None)
        if child is None:
            return
        # It may have left unread what it sent, and unsent what it held.
        self._read(child)
        for slot in child.slots:
            self._rescue(slot)
        self._dismissed -= child.slot.leaves
        self._close(child)
        worked = child.has_taken
        detail = how_it_ended(child.pid, event.status)
        for slot in child.slots:
            self._account_for(child, slot, detail)
        if self._stopping:
            if not self._children:
                self._all_gone.set()
            return
        if event.status and not worked and not child.killed:
            # One that cannot even start would be started again in a tight loop.
            logger.error("a child did not start: %s", detail)
            self._delayed += 1
            self._loop.call_later(_RESPAWN_DELAY, self._fill, 1)
        self._fill()
        self._find_lost(set(self._jobs), set())
        self._events.has_room()

    def _close(self, child: ChildHandle) -> None:
        self._loop.remove_reader(child.answers.fileno())
        child.close()
        del self._children[child.index]

    def _account_for(self, child: ChildHandle, slot: Slot, detail: str) -> None:
        """Tell what became of the jobs that a lane of a dead child had."""
        running = slot.number
        first, last = slot.taken
        for number in range(first, last + 1) if first else ():
            job = self._forget(number)
            if job is None:
                continue
            if number != running:
                self._events.lost(job, Loss.UNSTARTED, detail)
            elif job.timed_out:
                self._events.lost(job, Loss.TIMED_OUT, detail)
            elif job.terminated:
                self._events.lost(job, Loss.CRASHED, detail)
            elif child.killed:  # killed for another task: this one is not to blame
                self._events.lost(job, Loss.UNSTARTED, detail)
            else:
                self._events.lost(job, Loss.CRASHED, detail)
        slot.clear()

    def _find_lost(self, suspects: set[int], missing: set[int]) -> None:
        """Give back jobs that the dead child took from the socket and never noted.

        The socket is first in, first out: what was sent before a packet that has been
        taken, or all of it once the socket is empty, has been taken too.  If it stands in
        no living child's slot and nobody has answered it, it is missing; and lost, if it
        is missing twice, since a living child may be just between taking and noting.
        """
        if self._stopping:
            return
        newest = 0
        for child in list(self._children.values()):
            self._read(child)
            for slot in child.slots:
                self._rescue(slot)
                first, last = slot.taken
                newest = max(newest, last)
                suspects.difference_update(range(first, last + 1))
        suspects &= self._jobs.keys()
        if not suspects:
            return
        if unread(self._nursery.work) == 0:
            newest = max(suspects)
        now_missing = {number for number in suspects if number <= newest}
        self._give_back(sorted(now_missing & missing), "its packet died with a child")
        self._loop.call_later(_GRACE, self._find_lost, suspects, now_missing)

    def _nursery_gone(self) -> None:
        if not self._stopping:
            self.abort()
            self._events.broken("the process that forks the children has died, and they with it")
        for child in list(self._children.values()):
            self._close(child)
        self._all_gone.set()

    # Stopping

    def abort(self) -> None:
        self._stopping = True
        for child in self._children.values():
            child.killed = True
            child.signal(signal.SIGKILL)
            self._read(child)
            for slot in child.slots:
                self._rescue(slot)
        self._give_back(list(self._jobs), "the worker was stopped")

    async def stop(self) -> None:
        self._stopping = True
        self._watch.stop()
        # With nobody left to send, the children read the end of the socket and leave.
        self._loop.remove_writer(self._nursery.work.fileno())
        self._nursery.work.close()
        try:
            async with asyncio.timeout(10):
                if self._children:
                    await self._all_gone.wait()
        except TimeoutError:
            logger.warning("children did not end in time: %s", self.pids())
        self._loop.remove_reader(self._nursery.control.fileno())
        await asyncio.to_thread(self._nursery.close)
        for child in list(self._children.values()):
            self._close(child)


def _is_limited(job: Job) -> bool:
    return job.soft_limit is not None or job.hard_limit is not None
