"""Autoscaling: a pool that grows while tasks wait for it, and shrinks when it is long idle."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from taskq.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from taskq.worker.dispatcher import Dispatcher
    from taskq.worker.pool.base import Pool

logger = logging.getLogger("taskq.worker")

LOOK = 1.0
"""Seconds between two looks."""
PATIENCE = 30.0
"""Seconds for which a part of the pool has had nothing to do before it is taken away."""


class Bounds:
    """Between which sizes a pool may be.

    Args:
        maximum: tasks at a time at most.
        minimum: at least.

    Raises:
        ImproperlyConfigured: there is nothing between them.
    """

    def __init__(self, maximum: int, minimum: int) -> None:
        if not 1 <= minimum <= maximum:
            raise ImproperlyConfigured(
                f"autoscale={maximum},{minimum}: write the most and the least tasks at a time, "
                "such as 10,2"
            )
        self.maximum = maximum
        self.minimum = minimum


class Autoscaler:
    """Looks at what runs and what waits, and makes the pool larger or smaller.

    It grows at once, up to double its size at each look, and shrinks only to what it has
    needed at some time within the last half minute, so that it does not go up and down.

    Args:
        pool: the pool.
        dispatcher: knows what runs and what waits.
        bounds: between which sizes.
    """

    def __init__(self, pool: Pool, dispatcher: Dispatcher, bounds: Bounds) -> None:
        self._pool = pool
        self._dispatcher = dispatcher
        self._bounds = bounds
        self._needed: list[tuple[float, int]] = []

    def update(self, maximum: int | None = None, minimum: int | None = None) -> Bounds:
        """Scale between other sizes from now on; None leaves one as it is.

        Raises:
            ImproperlyConfigured: there is nothing between them.
        """
        before = self._bounds
        self._bounds = Bounds(maximum or before.maximum, minimum or before.minimum)
        self.look(time.monotonic())
        return self._bounds

    async def run(self) -> None:
        """Look every second, until cancelled."""
        while True:
            await asyncio.sleep(LOOK)
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """Compare the pool's size with what is needed."""
        size, bounds = self._pool.size, self._bounds
        running, waiting = self._dispatcher.running, self._dispatcher.waiting
        needed = min(bounds.maximum, max(bounds.minimum, running + waiting))
        self._needed = [(at, count) for at, count in self._needed if now - at < PATIENCE]
        self._needed.append((now, needed))
        if size < bounds.minimum:
            self._resize(bounds.minimum)
        elif size > bounds.maximum:
            self._resize(bounds.maximum)
        elif needed > size and running >= size:
            self._resize(min(needed, 2 * size))
        elif now - self._needed[0][0] >= PATIENCE - 2 * LOOK:
            most = max(count for _, count in self._needed)
            if most < size:
                self._resize(most)

    def _resize(self, size: int) -> None:
        change = size - self._pool.size
        logger.info("the pool scales from %d to %d at a time", self._pool.size, size)
        try:
            if change > 0:
                self._pool.grow(change)
            else:
                self._pool.shrink(-change)
        except ImproperlyConfigured as exc:
            logger.error("the pool cannot scale to %d at a time: %s", size, exc)
