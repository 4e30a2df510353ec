"""The prefork pool: one task at a time in each of N child processes.

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

from taskq.backends.base import Outcome
from taskq.exceptions import ImproperlyConfigured
from taskq.execution import Report
from taskq.worker.pool.base import Loss, Pool, PoolEvents, Running
from taskq.worker.pool.handle import ChildHandle, how_it_ended
from taskq.worker.pool.nursery import Exited, Nursery
from taskq.worker.pool.pace import Pace
from taskq.worker.pool.packets import LARGE, Receiver, send, unread
from taskq.worker.pool.relay import Relay
from taskq.worker.pool.watch import Watch

if TYPE_CHECKING:
    from taskq.worker.job import Job

logger = logging.getLogger("taskq.worker")

ALONE_FROM = 3
"""From this delivery on a message travels alone: it may be what kills its process."""
_REPORTS = 0xDD
_OVERDUE = 0.005
"""Seconds after which a short task is no longer taken to be one."""
_HELD_UP = 0.05
"""Seconds after which what waits behind it in its packet goes to others."""
_LOOK = 0.02
_AGAIN = 1.0
"""Seconds between two warnings of one task that its soft limit has passed."""
_GRACE = 0.2
"""Seconds in which a living child has surely noted the packet that it has taken."""
_RESPAWN_DELAY = 1.0

_encode = msgspec.msgpack.Encoder().encode
_WAKE_UP = _encode((False, []))
_decode_reports = msgspec.msgpack.Decoder(list[Report]).decode
_decode_state = msgspec.msgpack.Decoder(tuple[str, int, Outcome]).decode
_decode_back = msgspec.msgpack.Decoder(tuple[str, list[int]]).decode
_decode_kind = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


@dataclass(slots=True, eq=False)
class _Packet:
    """What was sent together: how many jobs of it are open, and whether to look after them."""

    open: int
    watched: bool


class PreforkPool(Pool):
    """N processes, one task at a time in each.

    Args:
        nursery: forks the children; started before the event loop.
        processes: how many children; `grow` can add to them as far as the nursery has slots.
        relay: answers children that reach the broker through the parent.
    """

    def __init__(self, nursery: Nursery, processes: int, relay: Relay | None = None) -> None:
        self._nursery = nursery
        self._processes = processes
        self._relay = relay
        self._children: dict[int, ChildHandle] = {}  # by slot
        self._by_pid: dict[int, ChildHandle] = {}
        self._delayed = 0
        self._dismissed = 0
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
        return self._processes

    def running(self) -> list[Running]:
        found = []
        for child in self._children.values():
            # In this order: a task that ends meanwhile is not given another one's time.
            number, since = child.slot.number, child.slot.started
            entry = self._jobs.get(number)
            if entry is not None:
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
        if self._processes + count > self._nursery.slots.count:
            raise ImproperlyConfigured(
                f"{self._processes} and {count} more processes are more than a worker can have, "
                f"which is {self._nursery.slots.count}: start another worker"
            )
        self._processes += count
        self._fill()
        self._events.resized()
        self._events.has_room()

    def shrink(self, count: int = 1) -> None:
        if count >= self._processes:
            raise ImproperlyConfigured(
                f"{count} of {self._processes} processes cannot be taken away: one must be left"
            )
        self._processes -= count
        # First those that do nothing: they make way at once.
        children = sorted(self._children.values(), key=lambda child: bool(child.slot.number))
        staying = [child for child in children if not child.surplus]
        for child in staying[: max(0, len(staying) - self._processes)]:
            child.surplus = True
            self._dismiss(child)
        self._events.resized()

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
            if child.slot.leaves and not child.slot.number:
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
        free = (i for i in range(self._nursery.slots.count) if i not in self._children)
        for index in list(islice(free, max(0, missing))):
            self._spawn(index)

    def _spawn(self, index: int) -> None:
        slot = self._nursery.slots.slot(index)
        slot.clear()
        answers = self._nursery.spawn(index)
        answers.setblocking(False)
        child = ChildHandle(slot, answers, Receiver(answers))
        self._children[index] = child
        self._loop.add_reader(answers.fileno(), self._read, child)

    # Giving work

    def offer(self, jobs: Sequence[Job]) -> int:
        taken = 0
        while taken < len(jobs) and not self._stopping:
            name = jobs[taken].task.name
            short = self._pace.is_short(name)
            # Long tasks only when a child is idle; of short ones a little lies in reach.
            if self._packets >= self._processes * (self._pace.packets(name) if short else 1):
                break
            bundle = self._bundle(jobs, taken) if short else jobs[taken : taken + 1]
            items = [job.work_item(number) for number, job in enumerate(bundle, self._next_number)]
            packet = _encode((short, items))
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
            if job is not None:
                report.ticket = job.ticket
                self._pace.note(job.task.name, report.runtime)
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
            number = child.slot.number
            entry = self._jobs.get(number)
            if entry is None or not entry[1].watched:
                continue
            seen += 1
            running = now - child.slot.started
            if running > _OVERDUE:
                self._rescue(child)
            if running > _HELD_UP:
                self._unblock(child, entry[1])
            pause = min(pause, self._enforce(child, number, entry[0], running))
        if self._dismissed:
            self._usher_out()
            pause = min(pause, _LOOK)
        elif not self._watched:
            return None
        # Until all that matters is seen running, look often.
        return min(pause, _LOOK) if seen < self._watched else pause

    def _rescue(self, child: ChildHandle) -> None:
        """Take the reports that a child holds while it is busy for longer than expected."""
        held = child.slot.held()
        if held is not None:
            self._take(_decode_reports(held))

    def _unblock(self, child: ChildHandle, packet: _Packet) -> None:
        """Take back what waits in a packet behind a task that is not as short as expected.

        The child is told first.  If it is seen in the same task at a later look, it has not
        begun the next one and never will; otherwise it hands the rest back by itself.
        """
        slot = child.slot
        number = slot.number
        if packet.open < 2 or not number:
            return
        if slot.recalled == number:
            rest = range(number + 1, slot.taken[1] + 1)
            self._give_back(rest, "the task before it in its packet takes long")
        else:
            slot.recall(number)

    def _enforce(self, child: ChildHandle, number: int, job: Job, running: float) -> float:
        """Apply time limits; tells in how many seconds the next one ends."""
        pause = _AGAIN
        if job.hard_limit is not None:
            left = job.hard_limit - running
            if left <= 0:
                self._kill(child, job)
                return pause
            pause = min(pause, left)
        if job.soft_limit is not None:
            due = job.warned + _AGAIN if job.warned else job.soft_limit
            if running >= due:
                # Again and again: `except Exception` may have swallowed it.
                job.warned = running
                due = running + _AGAIN
                child.slot.limit(number)
                child.signal(signal.SIGUSR1)
            pause = min(pause, due - running)
        return max(pause, 0.001)

    def _kill(self, child: ChildHandle, job: Job) -> None:
        if not child.killed:
            logger.error("Hard time limit (%ss) exceeded for %s", job.hard_limit, job.label)
            job.timed_out = child.killed = True
            child.signal(signal.SIGKILL)

    def terminate(self, job: Job) -> bool:
        for child in self._children.values():
            entry = self._jobs.get(child.slot.number)
            if entry is not None and entry[0] is job and not child.killed:
                logger.warning("Task %s is terminated", job.label)
                job.terminated = child.killed = True
                child.signal(signal.SIGKILL)
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
        self._rescue(child)
        self._dismissed -= child.slot.leaves
        self._close(child)
        worked = child.slot.taken[0] > 0
        self._account_for(child, event.status)
        if self._stopping:
            if not self._children:
                self._all_gone.set()
            return
        if event.status and not worked and not child.killed:
            # One that cannot even start would be started again in a tight loop.
            logger.error("a child did not start: %s", how_it_ended(child.pid, event.status))
            self._delayed += 1
            self._loop.call_later(_RESPAWN_DELAY, self._fill, 1)
        self._fill()
        self._find_lost(set(self._jobs), set())
        self._events.has_room()

    def _close(self, child: ChildHandle) -> None:
        self._loop.remove_reader(child.answers.fileno())
        child.close()
        del self._children[child.slot.index]

    def _account_for(self, child: ChildHandle, status: int) -> None:
        """Tell what became of the jobs that a dead child had."""
        detail = how_it_ended(child.pid, status)
        running = child.slot.number
        first, last = child.slot.taken
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
            elif child.killed:  # killed for the task before: this one is not to blame
                self._events.lost(job, Loss.UNSTARTED, detail)
            else:
                self._events.lost(job, Loss.CRASHED, detail)
        child.slot.clear()

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
            self._rescue(child)
            first, last = child.slot.taken
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
            self._rescue(child)
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
