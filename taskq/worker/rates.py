"""Rate limits: how many tasks of one name this worker may start.

What is over the limit does not wait here, where it would take the place of others: it goes
back to the broker until its turn comes.  Only what is due within a second is kept, and of
that no more than a part of what the worker may hold.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from taskq.exceptions import ImproperlyConfigured
from taskq.task.rates import parse_rate

if TYPE_CHECKING:
    from taskq.app import TaskQ

SOON = 1.0
"""Seconds that a task may wait here for its turn."""
LATER = 60.0
"""Seconds after which a task that went back is looked at again: its limit may have changed."""
_CATCH_UP = 0.05
"""Seconds by which starts that were late may be made up for."""


class _Turns:
    """The turns of one task.

    Args:
        rate: how many in a second.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._interval = 1 / rate
        self._next = 0.0
        self._last_back = 0.0

    def take(self, now: float, may_wait: bool) -> tuple[float, bool]:
        """Seconds until a turn, and whether it has been taken."""
        wait = self._next - now
        if wait <= 0:
            catch_up = min(_CATCH_UP, self._interval)
            self._next = max(self._next, now - catch_up) + self._interval
            return 0.0, True
        if wait <= SOON and may_wait:
            self._next += self._interval
            return wait, True
        # Those that go back come again one after the other, at about the time of their turn.
        self._last_back = max(self._last_back + self._interval, self._next)
        wait = self._last_back - now
        return (wait if wait <= LATER else random.uniform(LATER / 2, LATER)), False


class RateLimits:
    """The limits of a worker.

    Args:
        app: whose tasks and settings.
    """

    def __init__(self, app: TaskQ) -> None:
        self._app = app
        self._turns: dict[str, _Turns] = {}
        conf = app.conf
        if conf.worker_disable_rate_limits:
            return
        default = parse_rate(conf.task_default_rate_limit)
        for name, task in app.tasks.items():
            rate = default if task.rate_limit is None else parse_rate(task.rate_limit)
            self._set(name, rate)

    def __bool__(self) -> bool:
        return bool(self._turns)

    def set(self, name: str, limit: str | float | None) -> float | None:
        """Give a task another limit from now on.

        Args:
            name: the task.
            limit: such as ``10/s``; None or 0 is none.

        Returns:
            How many in a second, or None.

        Raises:
            ImproperlyConfigured: there is no such task, or the limit cannot be read.
        """
        rate = parse_rate(limit)
        if name not in self._app.tasks:
            raise ImproperlyConfigured(str(self._app.tasks.unknown(name)))
        self._app.tasks[name].rate_limit = limit or 0
        self._set(name, rate)
        return rate

    def _set(self, name: str, rate: float | None) -> None:
        if rate is None:
            self._turns.pop(name, None)
        else:
            self._turns[name] = _Turns(rate)

    def take(self, name: str, may_wait: bool) -> tuple[float, bool]:
        """Take a turn for a task.

        Args:
            name: the task.
            may_wait: it may be kept for a moment.

        Returns:
            Seconds until its turn, and whether it has one; without, it is to be given back for
            so long.
        """
        turns = self._turns.get(name)
        return turns.take(time.monotonic(), may_wait) if turns is not None else (0.0, True)
