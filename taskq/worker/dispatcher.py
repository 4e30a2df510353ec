"""The dispatcher: owns what is in flight, from the consumer to the pool and back.

All of its state belongs to the worker's event loop and is touched nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from taskq import signals
from taskq.brokers.base import Consumer, Delivery, Fate, Settlement
from taskq.control.stamps import revoked_by
from taskq.exceptions import BackendError, OperationalError
from taskq.worker.backlog import Backlog
from taskq.worker.pool.base import Loss
from taskq.worker.window import Window

if TYPE_CHECKING:
    from taskq.backends.base import Outcome
    from taskq.execution import Report
    from taskq.worker.admission import Admission
    from taskq.worker.events import WorkerEvents
    from taskq.worker.fates import Fates
    from taskq.worker.job import Job, Verdict
    from taskq.worker.pool.base import Pool
    from taskq.worker.rates import RateLimits
    from taskq.worker.runs import Runs
    from taskq.worker.settler import Settler

logger = logging.getLogger("taskq.worker")

_HEAD = 64
_FETCH = 256
"""Deliveries fetched at a time: more would keep the loop from answering the children."""
_PAUSE = 1.0


class Dispatcher:
    """Fetches, admits, hands to the pool, and hands what comes back to the settler.

    Args:
        consumer: where deliveries come from.
        admission: judges them.
        fates: judges how they ended.
        pool: runs them.
        window: how many to hold.

    Attributes:
        runs: keeps records of what runs, where others must know of it.
        failed_at: when fetching failed last, by the monotonic clock; 0 if something has been
            fetched since.
        failure: why the worker cannot go on, if it cannot.
        attempts: how often a broker is tried that is away; None is without end.
        knows_revoked: set when the consumer has told which tasks are revoked.
        totals: how many of each task have ended here.
        events: is told what happens to tasks, while anybody wants to know.
        rates: how many of each task may start; None is no limit.
    """

    def __init__(
        self, consumer: Consumer, admission: Admission, fates: Fates, pool: Pool, window: Window
    ) -> None:
        self._consumer = consumer
        self._admission = admission
        self._fates = fates
        self._pool = pool
        self._window = window
        self._backlog = Backlog()
        self._jobs: dict[int, Job] = {}
        self._changed = asyncio.Event()
        self.knows_revoked = asyncio.Event()
        self._running = 0
        self._early = 0
        self._aborted = False
        self._verbose = logger.isEnabledFor(logging.INFO)
        self.runs: Runs | None = None
        self.failed_at = 0.0
        self.attempts: int | None = None
        self.failure = ""
        self.totals: Counter[str] = Counter()
        self.events: WorkerEvents | None = None
        self.rates: RateLimits | None = None

    def connect(self, settler: Settler) -> None:
        """Where settlements go; the settler in turn tells `settled`."""
        self._settler = settler

    def deliveries(self) -> list[Delivery]:
        """All deliveries whose leases must be kept."""
        return [job.delivery for job in self._jobs.values() if not job.acknowledged]

    def jobs(self) -> list[Job]:
        """All that is in flight."""
        return list(self._jobs.values())

    # Fetching

    async def fetch(self) -> None:
        """Fetch deliveries while there is room, until cancelled."""
        away = 0
        while True:
            room = self._room()
            if room < min(max(1, self._window.size // 4), _FETCH):
                self._changed.clear()
                await self._changed.wait()
                continue
            try:
                if not self.knows_revoked.is_set():  # nothing is run that must not be
                    self.revoke(await self._consumer.revocations())
                    self.knows_revoked.set()
                deliveries = await self._consumer.receive(min(room, _FETCH))
            except (OperationalError, BackendError) as exc:
                if not self.failed_at:
                    logger.error("cannot consume, and tries again until it can: %s", exc)
                self.failed_at = time.monotonic()
                away += 1
                if self.attempts is not None and away > self.attempts:
                    self.failure = f"the broker is away, and was tried {away} times: {exc}"
                    return
                await asyncio.sleep(_PAUSE)
                continue
            if self.failed_at:
                logger.warning("consuming again")
                self.failed_at = 0.0
                away = 0
            self.admit(await self._sift(deliveries))

    async def _sift(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Leave out what runs, or has run, elsewhere."""
        if self.runs is None:
            return deliveries
        may_run, others = await self.runs.sift(deliveries, lambda d: self._twin(d) is not None)
        for settlement in others:
            self._settler.add(settlement)
        return may_run

    def _room(self) -> int:
        if self._settler.overloaded:
            return 0
        return self._window.size - len(self._jobs)

    def admit(self, deliveries: Sequence[Delivery]) -> None:
        """Take deliveries in, or settle them at once."""
        for delivery in deliveries:
            if delivery.deliveries > 1 and self._rejoin(delivery):
                continue
            verdict = self._admission.judge(delivery)
            if isinstance(verdict, Settlement):
                self._settler.add(verdict)
                if self.events is not None:
                    self.events.refused(verdict)
                continue
            wait = self._turn(verdict)
            if wait is None:
                continue
            if verdict.verdict is None:
                if self._verbose:
                    logger.info("Task %s received", verdict.label)
                if signals.task_received.receivers:
                    signals.task_received.send(self, request=verdict)
            if self.events is not None:
                self.events.received(verdict)
            self._jobs[verdict.ticket] = verdict
            if wait:
                self._backlog.hold(verdict)
                asyncio.get_running_loop().call_later(wait, self._turn_has_come, verdict)
            else:
                self._backlog.add(verdict)
        self.has_room()

    def _turn(self, job: Job) -> float | None:
        """Seconds until its rate limit lets a job start; None if it went back for so long."""
        if not self.rates or job.verdict is not None:
            return 0.0
        may_wait = len(self._backlog.held) < max(1, self._window.size // 4)
        wait, is_taken = self.rates.take(job.task.name, may_wait)
        if is_taken:
            return wait
        # Never started: this delivery does not count.
        self._settler.add(Settlement(job.delivery, Fate.REQUEUE, unused=True, delay=wait))
        return None

    def _turn_has_come(self, job: Job) -> None:
        if self._backlog.release(job):
            self.has_room()

    def _rejoin(self, delivery: Delivery) -> bool:
        """A message that comes again while it is still at work here settles that work."""
        job = self._twin(delivery)
        if job is None:
            return False
        logger.warning("Task %s was delivered again while it is here", job.label)
        job.delivery = delivery
        return True

    def _twin(self, delivery: Delivery) -> Job | None:
        """The job of the same message, if there is one here."""
        headers = delivery.message.headers
        for job in self._jobs.values():
            mine = job.delivery.message.headers
            if (
                not job.given_back
                and mine["id"] == headers["id"]
                and job.delivery.queue == delivery.queue
                # A retry, and what takes a task's place, have its id and are here while its own
                # settlement is being written.
                and mine.get("retries") == headers.get("retries")
                and mine.get("replaced_task_nesting") == headers.get("replaced_task_nesting")
            ):
                return job
        return None

    # The pool

    def has_room(self) -> None:
        """Offer waiting jobs to the pool."""
        if self._aborted:
            for job in self._backlog.drain():
                self._end(job, self._fates.of_loss(job, Loss.UNSTARTED, "the worker was stopped"))
        while self._backlog:
            head = self._backlog.head(_HEAD)
            if head[0].early and not head[0].acknowledged:
                if self._early + self._running >= self._pool.size:
                    return
                self._backlog.drop(1)
                self._early += 1
                self._settler.add(_acknowledgement(head[0]), head[0])
                continue
            ready = next(
                (i for i, job in enumerate(head) if job.early and not job.acknowledged), len(head)
            )
            taken = self._pool.offer(head[:ready])
            if not taken:
                return
            self._running += taken
            self._backlog.drop(taken)

    def resized(self) -> None:
        """The pool runs more or fewer at a time: hold as many as that needs."""
        self._window.fit(self._pool.size)
        self._changed.set()

    def finished(self, job: Job, report: Report) -> None:
        """The pool has a report."""
        self._running -= 1
        self.totals[job.task.name] += 1
        if self.events is not None:
            self.events.finished(job, report)
        self._settle(job, self._fates.of_report(job, report))

    def lost(self, job: Job, loss: Loss, detail: str) -> None:
        """The pool has no report, and never will."""
        self._running -= 1
        if job.terminated and loss is Loss.CRASHED and job.verdict is None:
            self._end(job, self._admission.revoke(job.task, job.delivery, terminated=True))
        else:
            self._end(job, self._fates.of_loss(job, loss, detail))

    def _settle(self, job: Job, settlement: Settlement) -> None:
        # What is given back can be here again before the settler says that it is written.
        job.given_back = settlement.fate is Fate.REQUEUE
        if job.noted and self.runs is not None:
            self.runs.end(job, settlement)
        self._settler.add(settlement, job)

    def _end(self, job: Job, end: Settlement | Verdict) -> None:
        """Settle a job that has no report; first let the pool tell whoever must know."""
        if isinstance(end, Settlement):
            if self.events is not None and end.fate is Fate.REQUEUE and not end.unused:
                self.events.given_back(job)
            self._settle(job, end)
            return
        if self.events is not None and job.verdict is None:
            self.events.condemned(job, end)
        end.settlement.acknowledged = job.acknowledged
        if self._aborted and end.unstarted:
            # Whoever gets it next tells of its end.
            self._settle(job, Settlement(job.delivery, Fate.REQUEUE, unused=True))
        elif self._aborted:
            self._settle(job, end.settlement)
        else:
            job.verdict, job.early = end, False
            self._backlog.add_first(job)

    def progressed(self, job: Job, outcome: Outcome) -> None:
        """A running task has a state to store."""
        self._settler.add(Settlement(job.delivery, Fate.DONE, outcome, acknowledged=True))

    def broken(self, reason: str) -> None:
        """The pool is of no more use; the worker reads why in `failure`."""
        self.failure = reason
        self._changed.set()

    def settled(self, jobs: Sequence[Job]) -> None:
        """The settler has written these."""
        count = 0
        for job in jobs:
            if job.early and not job.acknowledged:
                job.acknowledged = True
                self._early -= 1
                self._backlog.add_first(job)
            else:
                self._jobs.pop(job.ticket, None)
                count += 1
        self._window.note(count)
        self._changed.set()
        self.has_room()

    # Revoked tasks

    def revoke(self, revoked: Mapping[str, str]) -> None:
        """Run none of these tasks; end those that run, where a signal says so."""
        self._admission.revoked = revoked
        if not revoked:
            return
        for job in list(self._jobs.values()):
            if job.verdict is not None:
                continue
            key = revoked_by(revoked, job.delivery.message.headers)
            if key is None:
                continue
            if self._backlog.remove(job):
                self._end(job, self._admission.revoke(job.task, job.delivery))
            elif revoked[key] and not job.terminated:
                job.terminated = self._pool.terminate(job)
        self.has_room()

    # Leases

    async def note_runs(self) -> None:
        """Let other workers know what runs here, where they must; the store's errors pass."""
        if self.runs is not None:
            await self.runs.note(self._pool.running())

    def lease_lost(self, delivery: Delivery) -> None:
        """Somebody else has it now, or has finished it: do not start it here."""
        for job in list(self._jobs.values()):
            if job.delivery is delivery and self._backlog.remove(job):
                logger.warning("Task %s is another worker's now", job.label)
                del self._jobs[job.ticket]

    # Stopping

    def give_back(self, queues: Collection[str] | None = None) -> None:
        """Hand back what has not been started; what is acknowledged must still run.

        Args:
            queues: only what is of these queues; otherwise all.
        """
        for job in self._backlog.drain():
            if (
                job.acknowledged
                or (job.verdict is not None and not job.verdict.unstarted)
                or (queues is not None and job.delivery.queue not in queues)
            ):
                self._backlog.add(job)
            else:
                job.early = False  # what is settled now is all of it
                self._settle(job, Settlement(job.delivery, Fate.REQUEUE, unused=True))

    def abort(self) -> None:
        """Stop what is running, and hand all back; what is acknowledged has failed."""
        self._aborted = True
        self._pool.abort()
        self.has_room()

    async def idle(self) -> None:
        """Wait until nothing is in flight any more."""
        while self._jobs and not self.failure:
            self._changed.clear()
            await self._changed.wait()
        await self._settler.finished()

    @property
    def running(self) -> int:
        """How many jobs the pool has."""
        return self._running

    @property
    def waiting(self) -> int:
        """How many could run if the pool had room."""
        return len(self._backlog)

    @property
    def in_flight(self) -> int:
        """How many deliveries are here."""
        return len(self._jobs)


def _acknowledgement(job: Job) -> Settlement:
    """Settles a delivery before it runs: ``acks_late=False``."""
    return Settlement(job.delivery, Fate.DONE)
