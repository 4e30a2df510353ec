"""What a worker keeps up beside its work: leases, and the knowledge of what is revoked."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from taskq.exceptions import BackendError, OperationalError

if TYPE_CHECKING:
    from taskq.brokers.base import Consumer
    from taskq.worker.dispatcher import Dispatcher

logger = logging.getLogger("taskq.worker")

_PAUSE = 1.0


async def keep_leases(dispatcher: Dispatcher, consumer: Consumer, lease: float) -> None:
    """Renew the leases of all that is in flight, until cancelled.

    Args:
        dispatcher: has it.
        consumer: renews them.
        lease: seconds that a lease lasts.
    """
    pause = lease / 3
    while True:
        await asyncio.sleep(pause)
        pause = lease / 3
        mine = dispatcher.deliveries()
        if not mine:
            continue
        try:
            lost = await consumer.extend(mine)
        except OperationalError as exc:
            logger.error("cannot renew leases, and tries again: %s", exc)
            pause = min(_PAUSE, lease / 10)
            continue
        for delivery in lost:
            dispatcher.lease_lost(delivery)
        try:
            await dispatcher.note_runs()
        except (OperationalError, BackendError) as exc:
            logger.error("cannot note what runs here: %s", exc)


async def keep_revoked(dispatcher: Dispatcher, consumer: Consumer) -> None:
    """Learn which tasks are revoked from now on, until cancelled."""
    await dispatcher.knows_revoked.wait()
    while True:
        try:
            dispatcher.revoke(await consumer.revocations())
        except OperationalError as exc:  # fetching fails as well, and tells
            logger.debug("cannot learn which tasks are revoked: %s", exc)
            await asyncio.sleep(_PAUSE)
