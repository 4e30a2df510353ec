"""Records of runs, for brokers that do not lease by the clock.

RabbitMQ hands a message on when its connection is lost, and when a task runs longer than its
``consumer_timeout``, though the task may well go on running here.  So whatever runs for longer
than half a lease is noted in the result store, and renewed with the leases.  A message that has
been delivered before is looked up there first: it waits while the record is alive, and is
dropped when that says that the run has ended, or when its result is stored.

The records are kept like results, under ids of their own, so that every store can keep them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from taskq import states
from taskq.backends.base import Outcome
from taskq.brokers.base import Delivery, Fate, Settlement
from taskq.exceptions import BackendError, OperationalError

if TYPE_CHECKING:
    from taskq.backends.base import Backend
    from taskq.worker.job import Job
    from taskq.worker.pool.base import Running

logger = logging.getLogger("taskq.worker")

_RUNNING = "RUNNING"
"""The state of a record whose run goes on; not a state of tasks."""
_AWAY = 5.0
"""Seconds after which a message is looked up again that could not be."""


class _Record(msgspec.Struct):
    worker: str
    until: float


class Runs:
    """Notes long runs of this worker, and knows those of others.

    Args:
        backend: where they are noted.
        worker: this worker's name, which no other has.
        lease: seconds for which a record holds.
    """

    def __init__(self, backend: Backend, worker: str, lease: float) -> None:
        self._backend = backend
        self._worker = worker
        self._lease = lease

    # What comes

    async def sift(
        self, deliveries: Sequence[Delivery], is_here: Callable[[Delivery], bool]
    ) -> tuple[Sequence[Delivery], Sequence[Settlement]]:
        """Tell what may run from what runs, or has run, elsewhere.

        Args:
            deliveries: what has come.
            is_here: does that very message run in this worker?

        Returns:
            What may run, and how the others are settled.
        """
        if not any(map(_is_suspect, deliveries)):
            return deliveries, ()
        suspects, twins = _without_twins(deliveries, is_here)
        ids = [*map(_record_id, suspects), *(d.message.id for d in suspects)]
        try:
            known = await self._backend.afetch(ids)
        except (OperationalError, BackendError) as exc:
            logger.error("cannot look up what was delivered before, and waits: %s", exc)
            ends = {id(d): _later(d, _AWAY) for d in suspects if d.deliveries > 1}
        else:
            ends = {id(d): end for d in suspects if (end := self._judge(d, known)) is not None}
        for twin in twins:
            logger.info("Task %s[%s] was sent twice", twin.message.task, twin.message.id)
            ends[id(twin)] = Settlement(twin, Fate.DONE)
        return [d for d in deliveries if id(d) not in ends], list(ends.values())

    def _judge(self, delivery: Delivery, known: dict[str, Outcome]) -> Settlement | None:
        label = f"{delivery.message.task}[{delivery.message.id}]"
        record = known.get(_record_id(delivery))
        outcome = known.get(delivery.message.id)
        if record is not None and record.state == states.SUCCESS:
            logger.info("Task %s was delivered again, and has ended", label)
            return Settlement(delivery, Fate.DONE)
        if outcome is not None and outcome.state == states.SUCCESS:
            logger.info("Task %s was delivered again, and has succeeded", label)
            return Settlement(delivery, Fate.DONE)
        if record is not None and delivery.deliveries > 1:
            left = _read(record).until - time.time()
            if left > 0:
                logger.warning("Task %s runs in %s, and waits", label, _read(record).worker)
                return _later(delivery, min(left, self._lease))
        return None

    # What runs

    async def note(self, running: Sequence[Running]) -> None:
        """Note what has run for long, and renew what was noted.

        Raises:
            OperationalError: the store cannot be reached.
        """
        now = time.monotonic()
        jobs = [
            one.job
            for one in running
            if one.job.delivery.identity and now - one.since > self._lease / 2
        ]
        if not jobs:
            return
        # Imported by those who consume.
        import asyncio

        record = msgspec.json.encode(_Record(self._worker, time.time() + self._lease))
        outcomes = [Outcome(_record_id(job.delivery), _RUNNING, record) for job in jobs]
        await asyncio.to_thread(self._backend.store, outcomes)
        for job in jobs:
            job.noted = True

    def end(self, job: Job, settlement: Settlement) -> None:
        """Let a settlement say as well that the run is over, if it was noted."""
        if job.noted and settlement.fate is not Fate.REQUEUE:
            over = msgspec.json.encode(_Record(self._worker, 0.0))
            outcome = Outcome(_record_id(job.delivery), states.SUCCESS, over)
            settlement.further = (*settlement.further, outcome)


def _without_twins(
    deliveries: Sequence[Delivery], is_here: Callable[[Delivery], bool]
) -> tuple[list[Delivery], list[Delivery]]:
    """What must be looked up, and what is only the second copy of a message that is here.

    A step that follows a task is published a second time when a worker has died between that
    and the acknowledgement of the task; both copies have one key, and often arrive together.
    """
    suspects: list[Delivery] = []
    twins: list[Delivery] = []
    keys: set[str] = set()
    for delivery in deliveries:
        once = delivery.message.once
        if not _is_suspect(delivery):
            continue
        if once is None or delivery.deliveries > 1:
            if not is_here(delivery):
                suspects.append(delivery)
        elif once in keys or is_here(delivery):
            twins.append(delivery)
        else:
            suspects.append(delivery)
        if once is not None:
            keys.add(once)
    return suspects, twins


def _is_suspect(delivery: Delivery) -> bool:
    """May it have run before, or run at this moment?"""
    if not delivery.identity:
        return False
    return delivery.deliveries > 1 or delivery.message.once is not None


def _record_id(delivery: Delivery) -> str:
    return f"taskq-run-{delivery.identity}"


def _later(delivery: Delivery, delay: float) -> Settlement:
    return Settlement(delivery, Fate.REQUEUE, unused=True, delay=max(delay, 0.1))


def _read(record: Outcome) -> _Record:
    try:
        return msgspec.json.decode(record.payload, type=_Record)
    except msgspec.DecodeError:
        return _Record("another worker", 0.0)
