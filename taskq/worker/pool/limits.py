"""Time limits, and the end of tasks that are to be ended, in processes that run them."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Container
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskq.worker.job import Job
    from taskq.worker.pool.handle import ChildHandle
    from taskq.worker.pool.slots import Slot

logger = logging.getLogger("taskq.worker")

_AGAIN = 1.0
"""Seconds between two soft limits for the same task: the first may have been swallowed."""
_GENTLE = 1.0
"""Seconds that a task in a process with others has to end by itself."""
_SOON = 0.001


class Enforcer:
    """Ends tasks that take too long, or are to take no longer."""

    def __init__(self) -> None:
        self._ending: dict[int, tuple[ChildHandle, float]] = {}

    @property
    def is_busy(self) -> bool:
        """Was some task told to end, and has not yet?"""
        return bool(self._ending)

    def limit(self, child: ChildHandle, slot: Slot, number: int, job: Job, running: float) -> float:
        """Apply a job's time limits.

        Args:
            child: the process that runs it.
            slot: the place of its lane.
            number: the pool's number for the job.
            job: the job.
            running: seconds since it started.

        Returns:
            Seconds until the next limit.
        """
        pause = _AGAIN
        if job.hard_limit is not None:
            left = job.hard_limit - running
            if left <= 0:
                if not child.killed:
                    logger.error("Hard time limit (%ss) exceeded for %s", job.hard_limit, job.label)
                    job.timed_out = True
                    _kill(child)
                return pause
            pause = min(pause, left)
        if job.soft_limit is not None:
            due = job.warned + _AGAIN if job.warned else job.soft_limit
            if running >= due:
                # Again and again: `except Exception` may have swallowed it.
                job.warned = running
                due = running + _AGAIN
                slot.limit(number)
                child.signal(signal.SIGUSR1)
            pause = min(pause, due - running)
        return max(pause, _SOON)

    def end(self, child: ChildHandle, slot: Slot, number: int, alone: bool) -> None:
        """End a task.

        Args:
            child: the process that runs it.
            slot: the place of its lane.
            number: the pool's number for it.
            alone: nothing else runs in that process; otherwise it is ended gently at first, for
                the sake of the others.
        """
        if alone:
            _kill(child)
        else:
            slot.end_it(number)
            child.signal(signal.SIGUSR1)
            self._ending[number] = child, time.monotonic() + _GENTLE

    def end_harder(self, now: float, known: Container[int]) -> float:
        """Kill the processes of tasks that did not end when they were told to.

        Args:
            now: the time, by the monotonic clock.
            known: the numbers of jobs that have not ended.

        Returns:
            Seconds until the next one is due.
        """
        for number, (child, deadline) in list(self._ending.items()):
            if number not in known:
                del self._ending[number]
            elif now >= deadline and not child.killed:
                _kill(child)
        return max(_SOON, min((end - now for _, end in self._ending.values()), default=1.0))


def _kill(child: ChildHandle) -> None:
    child.killed = True
    child.signal(signal.SIGKILL)
