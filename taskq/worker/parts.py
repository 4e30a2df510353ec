"""What a worker is made of: its parts, made and connected."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from taskq.routing import Broadcast, Queue
from taskq.worker.admission import Admission
from taskq.worker.autoscale import Autoscaler, Bounds
from taskq.worker.chords import ChordKeeper
from taskq.worker.cleaning import keep_clean
from taskq.worker.consuming import Consuming
from taskq.worker.control import Node, WorkerState
from taskq.worker.dispatcher import Dispatcher
from taskq.worker.events import WorkerEvents
from taskq.worker.fates import Fates
from taskq.worker.keeping import keep_leases, keep_revoked
from taskq.worker.patience import connection_attempts
from taskq.worker.pauses import Pauses
from taskq.worker.pool.base import Pool
from taskq.worker.rates import RateLimits
from taskq.worker.runs import Runs
from taskq.worker.settler import Settler
from taskq.worker.window import Window

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.brokers.base import Consumer


class Wishes(NamedTuple):
    """What was said of a worker, and its parts must know.

    Attributes:
        multiplier: messages held for each task at a time, at least.
        limits: its hard and soft time limit, for tasks without one.
        bounds: between what the pool scales itself, if it does.
        max_tasks: tasks after which a process is replaced.
        unique: what the worker's own queues of a broadcast are named after.
    """

    multiplier: int
    limits: tuple[float | None, float | None]
    bounds: Bounds | None
    max_tasks: int | None
    unique: str


class Parts(NamedTuple):
    """The parts."""

    dispatcher: Dispatcher
    settler: Settler
    pauses: Pauses
    events: WorkerEvents
    node: Node
    scaler: Autoscaler | None

    def runs(
        self, app: TaskQ, queues: Sequence[Queue], consumer: Consumer
    ) -> dict[str, Coroutine[Any, Any, None]]:
        """What has to run for the worker to work, by name.

        Args:
            app: the app.
            queues: what is consumed.
            consumer: consumes it.
        """
        conf = app.conf
        runs: dict[str, Coroutine[Any, Any, None]] = {
            "fetch": self.dispatcher.fetch(),
            "settle": self.settler.run(),
            "leases": keep_leases(self.dispatcher, consumer, conf.broker_lease),
            "revoked": keep_revoked(self.dispatcher, consumer),
            "pauses": self.pauses.watch(),
            "cleanup": keep_clean(app.backend),
            "events": self.events.run(),
        }
        if self.scaler is not None:
            runs["autoscale"] = self.scaler.run()
        if conf.worker_enable_remote_control:
            runs["control"] = self.node.serve()
        own = [queue.name for queue in queues if not isinstance(queue, Broadcast)]
        if app.backend.counts and own:
            runs["chords"] = ChordKeeper(app, own[0]).run()
        return runs


def make_parts(
    app: TaskQ,
    hostname: str,
    stop: Callable[[], None],
    wishes: Wishes,
    consumer: Consumer,
    queues: Sequence[Queue],
    pool: Pool,
) -> Parts:
    """Make the parts of a worker; nothing of them runs yet.

    Args:
        app: the app.
        hostname: the worker's name.
        stop: asks the worker to stop.
        wishes: what was said of it.
        consumer: consumes its queues.
        queues: these.
        pool: runs tasks.
    """
    broker, backend = app.broker, app.backend
    fates = Fates(app)
    window = Window(wishes.multiplier, pool.size)
    consumer.is_fair = window.is_fair
    admission = Admission(app, fates, *wishes.limits)
    dispatcher = Dispatcher(consumer, admission, fates, pool, window)
    dispatcher.runs = Runs(backend, hostname, app.conf.broker_lease)
    dispatcher.runs.warn(broker)
    dispatcher.attempts = connection_attempts(app.conf)
    dispatcher.rates = RateLimits(app)
    settler = Settler(broker, consumer, backend, dispatcher.settled)
    dispatcher.connect(settler)
    consuming = Consuming(app, consumer, queues, wishes.unique, dispatcher)
    pauses = Pauses(broker, dispatcher, consuming.names)
    scaler = Autoscaler(pool, dispatcher, wishes.bounds) if wishes.bounds else None
    heartbeat = app.conf.worker_heartbeat_interval
    events = WorkerEvents(app, hostname, dispatcher, pool, heartbeat)
    node = Node(
        WorkerState(
            app,
            hostname,
            stop,
            dispatcher,
            pool,
            admission,
            consuming,
            pauses,
            window,
            events,
            time.monotonic(),
            admission.limits,
            wishes.max_tasks,
            scaler,
        )
    )
    return Parts(dispatcher, settler, pauses, events, node, scaler)
