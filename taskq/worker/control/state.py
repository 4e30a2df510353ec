"""What commands of remote control can see of a worker, and do to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.worker.admission import Admission
    from taskq.worker.autoscale import Autoscaler
    from taskq.worker.consuming import Consuming
    from taskq.worker.dispatcher import Dispatcher
    from taskq.worker.events import WorkerEvents
    from taskq.worker.pauses import Pauses
    from taskq.worker.pool.base import Pool
    from taskq.worker.window import Window


@dataclass(slots=True)
class WorkerState:
    """A worker, as its commands get it for their first argument.

    Whatever is not thread-safe here belongs to the worker's event loop: a command of one's
    own that is a plain function runs in a thread, and should keep to `app`, `hostname` and
    `stop`.

    Attributes:
        app: the app.
        hostname: the worker's name.
        stop: asks the worker to stop, from any thread.
        dispatcher: knows what is in flight.
        pool: runs tasks.
        admission: knows what is revoked, and the limits.
        consuming: the worker's queues.
        pauses: which of them are paused.
        window: how many messages it holds.
        events: tells events, while that is on.
        started: when it started, by the monotonic clock.
        limits: its hard and soft time limit, for tasks without one.
        max_tasks: tasks after which a process is replaced.
        autoscaler: makes the pool larger and smaller, if anything does.
    """

    app: TaskQ
    hostname: str
    stop: Callable[[], None]
    dispatcher: Dispatcher
    pool: Pool
    admission: Admission
    consuming: Consuming
    pauses: Pauses
    window: Window
    events: WorkerEvents
    started: float
    limits: tuple[float | None, float | None] = (None, None)
    max_tasks: int | None = None
    autoscaler: Autoscaler | None = None
