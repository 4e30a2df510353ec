"""How many messages a worker holds at a time."""

from __future__ import annotations

import time

HORIZON = 0.1
"""Seconds of work that a worker holds in advance, at the speed it has just shown."""
MAXIMUM = 4000
_SAMPLE = 0.05


class Window:
    """Grows with the speed of the tasks, so that nobody has to tune a prefetch count.

    A worker of long tasks holds a few of them (``worker_prefetch_multiplier`` for each
    task that it runs at a time) and leaves the rest to others; one of short tasks holds
    enough that its children never wait for the broker.  With a multiplier of 1 nothing is
    held that does not run, so that no task waits behind another while a worker is idle.

    Args:
        multiplier: messages held for each task at a time, however slow they are; 0 holds as
            many as are there.
        tasks: tasks that run at a time.
    """

    def __init__(self, multiplier: int, tasks: int = 1) -> None:
        self._multiplier = multiplier
        self._minimum = multiplier * tasks or MAXIMUM
        self._rate = 0.0
        self._done = 0
        self._since = time.monotonic()
        self.size = self._minimum

    def fit(self, tasks: int) -> None:
        """So many tasks run at a time from now on."""
        self._minimum = self._multiplier * tasks or MAXIMUM
        self._adjust()

    def note(self, count: int) -> None:
        """So many have just been settled."""
        self._done += count
        now = time.monotonic()
        elapsed = now - self._since
        if elapsed >= _SAMPLE:
            self._rate = (self._rate + self._done / elapsed) / 2
            self._done, self._since = 0, now
            self._adjust()

    @property
    def is_fair(self) -> bool:
        """Is nothing to be held that does not run?"""
        return self._multiplier == 1

    def _adjust(self) -> None:
        if self.is_fair:
            self.size = self._minimum
            return
        self.size = max(self._minimum, min(MAXIMUM, int(self._rate * HORIZON)))
