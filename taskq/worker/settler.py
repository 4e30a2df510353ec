"""The settler: gathers what has ended and writes it, in batches and in one step each.

Whatever it is given stays in its hands until it is written: while the store is away the
leases are kept, no more work is fetched, and nothing runs twice because of it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from taskq.brokers.base import Broker, Consumer, Fate, Settlement
from taskq.exceptions import OperationalError

if TYPE_CHECKING:
    from taskq.backends.base import Backend, Outcome
    from taskq.worker.job import Job

logger = logging.getLogger("taskq.worker")

BATCH = 256
"""Settlements in one step at most: enough to make the step cheap, few enough to be quick."""
MAX_BYTES = 64 * 1024 * 1024
"""Bytes of unwritten outcomes above which no more work is fetched."""
_FIRST_PAUSE, _LAST_PAUSE = 0.1, 5.0


class Settler:
    """Writes settlements, in the order in which they come.

    Args:
        broker: publishes follow-ups where they are not part of the step.
        consumer: settles deliveries.
        backend: stores outcomes where they are not part of the step.
        settled: called with the jobs whose settlements have been written.
    """

    def __init__(
        self,
        broker: Broker,
        consumer: Consumer,
        backend: Backend,
        settled: Callable[[Sequence[Job]], None],
    ) -> None:
        self._broker = broker
        self._consumer = consumer
        self._backend = backend
        self._settled = settled
        self._one_step = broker.settles_into(backend)
        self._waiting: list[tuple[Settlement, Job | None, int]] = []
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._bytes = 0
        self._away = False

    @property
    def overloaded(self) -> bool:
        """Is more waiting to be written than should be held in memory?"""
        return self._bytes > MAX_BYTES

    def add(self, settlement: Settlement, job: Job | None = None) -> None:
        """Write a settlement soon.

        Args:
            settlement: what to write.
            job: the job that is over with it.
        """
        size = _size(settlement)
        self._waiting.append((settlement, job, size))
        self._bytes += size
        self._idle.clear()
        self._arrived.set()

    async def run(self) -> None:
        """Write what comes, until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                batch = self._waiting[:BATCH]
                await self._write([settlement for settlement, _, _ in batch])
                # Only now: until it is written it is the settler's.
                del self._waiting[: len(batch)]
                self._bytes -= sum([size for _, _, size in batch])
                self._settled([job for _, job, _ in batch if job is not None])
            self._idle.set()

    async def finished(self) -> None:
        """Wait until everything is written."""
        await self._idle.wait()

    async def _write(self, batch: list[Settlement]) -> None:
        """Write a batch, however long the store is away."""
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._step(batch)
            except OperationalError as exc:
                self._tell_away(exc)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, _LAST_PAUSE)
            except Exception as exc:
                if len(batch) > 1:
                    logger.warning("outcomes cannot be written together", exc_info=True)
                    for settlement in batch:
                        await self._write([settlement])
                    return
                batch = _without_what_fails(batch[0], exc)
                if not batch:
                    return
            else:
                self._tell_back()
                return

    async def _step(self, batch: list[Settlement]) -> None:
        if self._one_step:
            await self._consumer.settle(batch)
            return
        # Elsewhere the order makes it safe: what follows is sent first, members of chords are
        # counted and the outcome is stored next, and only then the message is forgotten.  If this
        # process dies in between, the message comes again; its follow-ups carry the same keys.
        # Of what is stored the outcome is the last: whoever finds a success does nothing more.
        follow_ups = [message for item in batch for message in item.follow_ups]
        if follow_ups:
            await self._broker.apublish(follow_ups)
        parts = [item.part for item in batch if item.part is not None]
        if parts:
            complete = await asyncio.to_thread(self._backend.add_parts, parts)
            if complete:
                await self._broker.apublish([part.done for part in complete])
        outcomes = [outcome for item in batch for outcome in item.outcomes()]
        if self._backend.addressed:
            outcomes = [_addressed(outcome, item) for item in batch for outcome in item.outcomes()]
        if outcomes:
            await asyncio.to_thread(self._backend.store, outcomes)
        rest = [
            replace(item, outcome=None, follow_ups=(), further=(), part=None)
            for item in batch
            if not item.acknowledged
        ]
        if rest:
            await self._consumer.settle(rest)

    def _tell_away(self, exc: OperationalError) -> None:
        if not self._away:
            self._away = True
            logger.error("cannot write outcomes, and holds them until it can: %s", exc)

    def _tell_back(self) -> None:
        if self._away:
            self._away = False
            logger.warning("outcomes can be written again")


def _without_what_fails(settlement: Settlement, error: Exception) -> list[Settlement]:
    """What can be written in place of a settlement that cannot.

    Less of it each time: first without the messages that follow, then without the part in a
    chord, then without the outcome.
    The message becomes a dead letter, which says why; at last nothing is left to write, and
    the message comes again when its lease ends.
    """
    message = settlement.delivery.message
    logger.error(
        "Task %s[%s]: its settlement (%s) cannot be written",
        message.task,
        message.id,
        settlement.fate.value,
        exc_info=error,
    )
    reason = settlement.reason if settlement.fate is Fate.DEAD else f"it is {settlement.fate.value}"
    reason = f"{reason}; that cannot be written: {type(error).__name__}: {error}"
    if settlement.follow_ups:
        return [replace(settlement, fate=Fate.DEAD, follow_ups=(), reason=reason)]
    if settlement.part is not None:
        return [replace(settlement, fate=Fate.DEAD, part=None, reason=reason)]
    if settlement.outcome is not None:
        return [replace(settlement, fate=Fate.DEAD, outcome=None, reason=reason)]
    return []


def _addressed(outcome: Outcome, settlement: Settlement) -> Outcome:
    """The outcome, to be sent to whoever has sent the message."""
    return replace(outcome, reply_to=outcome.reply_to or settlement.delivery.message.reply_to)


def _size(settlement: Settlement) -> int:
    outcome = settlement.outcome
    size = len(outcome.payload) if outcome is not None else 0
    for message in settlement.follow_ups:
        size += len(message.body)
    return size
