"""Records of runs, for brokers that do not lease by the clock.

RabbitMQ hands a message on when its connection is lost, and when a task runs longer than its
``consumer_timeout``, though the task may well go on running here.  So whatever runs for longer
than half a lease is noted in the result store, and renewed with the leases.  A message that has
been delivered before is looked up there first: it waits while the record is alive, and is
dropped when that says that the run has ended, or when its result is stored.

A message can also be in its queue twice: see ``twins``.

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
from taskq.worker.twins import (
    claim_of,
    is_copy,
    is_suspect,
    was_claimed_by_another,
    without_twins,
)

if TYPE_CHECKING:
    from taskq.backends.base import Backend
    from taskq.brokers.base import Broker
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

    def warn(self, broker: Broker) -> None:
        """Say what cannot be known, where a broker and this store go ill together."""
        if not broker.leases_by_clock and not self._backend.remembers:
            logger.warning(
                "the result store keeps nothing: a task that runs for longer than RabbitMQ's "
                "consumer_timeout (30 minutes), or while a connection is lost, may be run by "
                "another worker as well"
            )

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
        if not any(map(is_suspect, deliveries)):
            return deliveries, ()
        suspects, twins = without_twins(deliveries, is_here)
        try:
            known = await self._look_up(suspects)
        except (OperationalError, BackendError) as exc:
            logger.error("cannot look up what was delivered before, and waits: %s", exc)
            ends = {id(d): _later(d, _AWAY) for d in suspects if d.deliveries > 1}
        else:
            ends = {id(d): end for d in suspects if (end := self._judge(d, known)) is not None}
        for twin in twins:
            ends[id(twin)] = _sent_twice(twin)
        return [d for d in deliveries if id(d) not in ends], list(ends.values())

    async def _look_up(self, suspects: Sequence[Delivery]) -> dict[str, Outcome]:
        """What is known of them; what must be claimed has been, by them or by others."""
        if not suspects or not self._backend.remembers:
            return {}
        claims = [claim for d in suspects if (claim := claim_of(d)) is not None]
        if claims:
            # Imported by those who consume.
            import asyncio

            await asyncio.to_thread(self._backend.store, claims)
        ids = [*map(_record_id, suspects), *(d.message.id for d in suspects)]
        return await self._backend.afetch([*ids, *(claim.task_id for claim in claims)])

    def _judge(self, delivery: Delivery, known: dict[str, Outcome]) -> Settlement | None:
        record = known.get(_record_id(delivery))
        outcome = known.get(delivery.message.id)
        if was_claimed_by_another(delivery, known):
            return _sent_twice(delivery)
        if is_copy(delivery) and delivery.deliveries == 1:
            return self._judge_copy(delivery, record is not None or outcome is not None)
        for found in (record, outcome):
            if found is not None and found.state == states.SUCCESS:
                logger.info("%s was delivered again, and has succeeded", _label(delivery))
                return Settlement(delivery, Fate.DONE)
        if record is not None and delivery.deliveries > 1:
            return self._wait_for(record, delivery)
        return None

    def _judge_copy(self, delivery: Delivery, is_known: bool) -> Settlement | None:
        if is_known:
            return _sent_twice(delivery)
        if self._backend.remembers and delivery.message.due is None:
            # The other one is perhaps running, and is known of as soon as that is noted.
            return _later(delivery, self._lease)
        return None

    def _wait_for(self, record: Outcome, delivery: Delivery) -> Settlement | None:
        """Let a delivery wait for the run of which there is a record, if that goes on."""
        run = _read(record)
        left = run.until - time.time()
        if left <= 0:
            return None
        logger.warning("%s runs in %s, and waits", _label(delivery), run.worker)
        return _later(delivery, min(left, self._lease))

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
        if not jobs or not self._backend.remembers:
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


def _record_id(delivery: Delivery) -> str:
    return f"taskq-run-{delivery.identity}"


def _label(delivery: Delivery) -> str:
    return f"Task {delivery.message.task}[{delivery.message.id}]"


def _sent_twice(delivery: Delivery) -> Settlement:
    logger.info("%s was sent twice", _label(delivery))
    return Settlement(delivery, Fate.DONE)


def _later(delivery: Delivery, delay: float) -> Settlement:
    return Settlement(delivery, Fate.REQUEUE, unused=True, delay=max(delay, 0.1))


def _read(record: Outcome) -> _Record:
    try:
        return msgspec.json.decode(record.payload, type=_Record)
    except msgspec.DecodeError:
        return _Record("another worker", 0.0)
