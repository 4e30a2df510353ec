"""From the name of a pool to its executor."""

from __future__ import annotations

from taskq.exceptions import ImproperlyConfigured
from taskq.worker.pool.executors.base import Executor

ENTRY_POINTS = "taskq.pools"
"""Third parties add a pool under this group: name = "module:Executor"."""
NAMES = ("prefork", "threads", "asyncio", "eventlet", "gevent", "solo")
"""The pools that are there in any case."""


def find_executor(name: str) -> type[Executor]:
    """The executor of a pool that has processes.  What it needs is imported now.

    Raises:
        ImproperlyConfigured: there is no such pool.
    """
    if name == "prefork":
        from taskq.worker.pool.executors.serial import SerialExecutor

        return SerialExecutor
    if name == "threads":
        from taskq.worker.pool.executors.threads import ThreadsExecutor

        return ThreadsExecutor
    if name == "asyncio":
        from taskq.worker.pool.executors.aio import AsyncioExecutor

        return AsyncioExecutor
    if name == "eventlet":
        from taskq.worker.pool.executors.eventlet import EventletExecutor

        return EventletExecutor
    if name == "gevent":
        from taskq.worker.pool.executors.gevent import GeventExecutor

        return GeventExecutor
    return _find_elsewhere(name)


def _find_elsewhere(name: str) -> type[Executor]:
    # importlib.metadata is slow to import, and only pools of third parties need it.
    from importlib.metadata import entry_points

    for entry in entry_points(group=ENTRY_POINTS, name=name):
        found = entry.load()
        if not (isinstance(found, type) and issubclass(found, Executor)):
            raise ImproperlyConfigured(
                f"pool {name!r}: {entry.value} is {found!r}, and no subclass of "
                "taskq.worker.pool.executors.base.Executor"
            )
        return found
    raise ImproperlyConfigured(
        f"there is no pool {name!r}: choose {', '.join(NAMES[:-1])} or {NAMES[-1]}, or install "
        f"the package that has it (entry point {ENTRY_POINTS})"
    )
