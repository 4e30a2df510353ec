"""How long a worker waits for a broker that is away."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from taskq.exceptions import OperationalError

if TYPE_CHECKING:
    from taskq.brokers.base import Broker, Consumer
    from taskq.routing import Queue
    from taskq.settings import Settings

logger = logging.getLogger("taskq.worker")

_PAUSE = 1.0
"""Seconds between two attempts."""


def connection_attempts(conf: Settings) -> int | None:
    """How often a broker is tried again that is away; None is without end."""
    return (conf.broker_connection_max_retries or None) if conf.broker_connection_retry else 0


async def declare(broker: Broker, queues: Sequence[Queue], conf: Settings) -> None:
    """Declare a worker's queues when it starts, which is the first time that it needs the broker.

    Raises:
        OperationalError: the broker is away, and is not to be waited for any longer.
    """
    attempts = connection_attempts(conf) if conf.broker_connection_retry_on_startup else 0
    for count in itertools.count():
        try:
            await asyncio.to_thread(broker.declare, queues)
            return
        except OperationalError as exc:
            if attempts is not None and count >= attempts:
                raise
            if not count:
                logger.error("cannot begin, and tries again until it can: %s", exc)
        await asyncio.sleep(_PAUSE)


async def begin(consumer: Consumer, conf: Settings) -> None:
    """Have the queues of this worker alone, before it says that it is ready.

    What is sent to them earlier is nobody's.  If the broker has gone away meanwhile, whoever
    fetches tells so, and tries again.
    """
    try:
        async with asyncio.timeout(conf.broker_connection_timeout):
            await consumer.begin()
    except (OperationalError, TimeoutError):
        pass
