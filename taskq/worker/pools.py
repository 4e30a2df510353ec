"""Which pool a worker has, how large it is, and what it starts with."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taskq.brokers.memory import MemoryBroker
from taskq.exceptions import ImproperlyConfigured
from taskq.worker.autoscale import Bounds
from taskq.worker.pool.base import Pool
from taskq.worker.pool.executors.registry import find_executor
from taskq.worker.pool.nursery import Nursery, start_nursery
from taskq.worker.pool.options import ChildOptions
from taskq.worker.pool.processes import ProcessPool
from taskq.worker.pool.program import AppSource
from taskq.worker.pool.relay import Relay
from taskq.worker.pool.solo import SoloPool

if TYPE_CHECKING:
    from taskq.app import TaskQ

logger = logging.getLogger("taskq.worker")

_CAPACITY = 256
"""Processes to which a pool can grow that was started with fewer."""
_SPARE = 4
"""Processes of many tasks for which there is room while others still end."""


@dataclass(frozen=True)
class PoolPlan:
    """A pool of N processes with M tasks at a time in each.

    Attributes:
        name: as for ``-P``.
        processes: N.
        width: M.
        lanes: to what M can grow.
    """

    name: str
    processes: int
    width: int
    lanes: int

    @property
    def size(self) -> int:
        """How many tasks it runs at a time."""
        return self.processes * self.width


def plan_pool(
    name: str, concurrency: int, processes: int | None = None, bounds: Bounds | None = None
) -> PoolPlan:
    """Divide a number of tasks at a time among processes.

    Args:
        name: as for ``-P``.
        concurrency: ``-c``: processes of prefork, tasks in each process elsewhere.
        processes: ``--processes``, which multiplies it.
        bounds: between what the pool scales itself, instead.

    Raises:
        ImproperlyConfigured: there is no such pool, or it cannot be that large.
    """
    if concurrency < 1:
        raise ImproperlyConfigured(f"concurrency={concurrency}: at least 1 is needed")
    if processes is not None and processes < 1:
        raise ImproperlyConfigured(f"processes={processes}: at least 1 is needed")
    if name == "solo":
        if bounds:
            raise ImproperlyConfigured("the solo pool always runs one task: it cannot autoscale")
        return PoolPlan(name, 1, 1, 1)
    if find_executor(name).single:
        return PoolPlan(name, bounds.minimum if bounds else concurrency * (processes or 1), 1, 1)
    processes = processes or 1
    if bounds is None:
        return PoolPlan(name, processes, concurrency, 2 * concurrency)
    width, widest = (-(-count // processes) for count in (bounds.minimum, bounds.maximum))
    return PoolPlan(name, processes, width, widest)


def prepare_pool(
    app: TaskQ, plan: PoolPlan, options: ChildOptions, source: AppSource | None
) -> Nursery | None:
    """Start what forks the processes of a pool, before there is an event loop.

    Args:
        app: the app, loaded.
        plan: the pool.
        options: what its processes must know; the plan is filled in.
        source: how programs load the app, if anything says so.

    Raises:
        ImproperlyConfigured: it cannot be started like this.
    """
    if plan.name == "solo":
        return None
    options.pool, options.lanes = plan.name, plan.lanes
    options.relay = isinstance(app.broker, MemoryBroker)
    # Slots beyond those in use cost nothing, and the pool can grow into them.
    spare = max(_CAPACITY, plan.processes) if plan.lanes == 1 else 2 * plan.processes + _SPARE
    patched = bool(find_executor(plan.name).bootstrap)
    return start_nursery(app, spare, options, source, not patched and _must_start_afresh(source))


def _must_start_afresh(source: AppSource | None) -> bool:
    """Do threads forbid children that are copies of this process?"""
    others = [t.name for t in threading.enumerate() if t is not threading.current_thread()]
    if not others:
        return False
    if source is None:
        logger.warning(
            "threads are running that children will not have: %s. Start the worker with "
            "`taskq -A` instead, or start them after it",
            ", ".join(others),
        )
        return False
    logger.warning(
        "importing the app started threads (%s): children start afresh, and each imports "
        "the app for itself; start threads in worker_process_init to avoid it",
        ", ".join(others),
    )
    return True


def make_pool(app: TaskQ, plan: PoolPlan, options: ChildOptions, nursery: Nursery | None) -> Pool:
    """The pool itself, on the event loop."""
    if nursery is None:
        return SoloPool(app, options.hostname, options.verbose, plan.size)
    relay = Relay(app.broker, app.backend) if options.relay else None
    alone_from = app.conf.task_max_crashes - 1
    return ProcessPool(nursery, plan.processes, plan.width, relay, alone_from)
