"""The worker: starts everything in order, and stops it in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from taskq import signals
from taskq.canvas.chord import SHARED_CHORDS_QUEUE
from taskq.exceptions import ImproperlyConfigured, OperationalError, TaskQError
from taskq.routing import Broadcast, Queue
from taskq.task.limits import check_limits
from taskq.worker.autoscale import Bounds
from taskq.worker.dispatcher import Dispatcher
from taskq.worker.halting import STOPPING, Halt, SignalHandlers, remapped
from taskq.worker.loops import loop_factory
from taskq.worker.parts import Parts, Wishes, make_parts
from taskq.worker.patience import begin, declare
from taskq.worker.pool.base import Pool
from taskq.worker.pool.nursery import Nursery
from taskq.worker.pool.options import ChildOptions
from taskq.worker.pool.program import AppSource
from taskq.worker.pools import make_pool, plan_pool, prepare_pool
from taskq.worker.privileges import refuse_pickle_as_root
from taskq.worker.processors import processors
from taskq.worker.services import ServiceGroup, services_of
from taskq.worker.stacks import dump_stacks

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.brokers.base import Consumer
    from taskq.worker.health import WorkerHealth

logger = logging.getLogger("taskq.worker")


class Worker:
    """Consumes queues and runs their tasks, until it is told to stop.

    Args:
        app: the app.
        concurrency: tasks at a time; the number of processors by default.
        pool: prefork, threads, asyncio, eventlet, gevent, solo, or one that is installed.
        processes: multiplies the concurrency: so many processes, each with that many tasks.
        hostname: the worker's name; ``taskq@<host>`` by default.
        queues: names of queues to consume; those of the settings by default.
        exclude_queues: names of queues not to consume.
        time_limit: hard limit in seconds, for tasks without one.
        soft_time_limit: soft limit in seconds, likewise.
        max_tasks_per_child: tasks after which a child is replaced.
        max_memory_per_child: resident memory in KiB after which it is.
        prefetch_multiplier: messages held for each task at a time, at least; 1 is no more than
            that.
        app_spec: the app as ``-A`` names it, for children that must start afresh.
        overrides: settings that the command line changed, for the same.
        logfile: the file to which the log goes, for the same.
        autoscale: the most and the least tasks at a time, between which the pool scales itself;
            it begins with the least.
        can_restart: HUP stops it to be started anew, and `restarts` tells whoever called `run`.
        services: what else runs beside the worker, by name: functions that give coroutines, which
            run until they are cancelled. One that raises ends the worker.

    Raises:
        ImproperlyConfigured: an option has a value that makes no sense.
    """

    def __init__(
        self,
        app: TaskQ,
        *,
        concurrency: int | None = None,
        pool: str | None = None,
        processes: int | None = None,
        hostname: str | None = None,
        queues: Sequence[str] | None = None,
        exclude_queues: Sequence[str] = (),
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
        max_tasks_per_child: int | None = None,
        max_memory_per_child: int | None = None,
        prefetch_multiplier: int | None = None,
        app_spec: str | None = None,
        overrides: dict[str, str] | None = None,
        logfile: str | None = None,
        autoscale: tuple[int, int] | None = None,
        can_restart: bool = False,
        services: Mapping[str, Callable[[], Coroutine[Any, Any, None]]] | None = None,
    ) -> None:
        conf = app.conf
        self.app = app
        self.concurrency = concurrency or conf.worker_concurrency or processors()
        self.pool_name = pool or conf.worker_pool
        self._bounds = Bounds(*autoscale) if autoscale else None
        self.plan = plan_pool(
            self.pool_name, self.concurrency, processes or conf.worker_processes, self._bounds
        )
        self.concurrency = self.plan.size
        self.hostname = hostname or f"taskq@{socket.gethostname()}"
        self._names = queues
        self._excluded = exclude_queues
        self._limits = time_limit, soft_time_limit
        check_limits(
            time_limit or conf.task_time_limit, soft_time_limit or conf.task_soft_time_limit
        )
        self._options = ChildOptions(
            self.hostname,
            max_tasks_per_child or conf.worker_max_tasks_per_child,
            max_memory_per_child or conf.worker_max_memory_per_child,
            # Results' texts are for the log, and for events.
            logger.isEnabledFor(logging.INFO) or conf.worker_send_task_events,
        )
        self._multiplier = (
            conf.worker_prefetch_multiplier if prefetch_multiplier is None else prefetch_multiplier
        )
        self._app_spec = app_spec
        self._overrides = overrides or {}
        self._logfile = logfile
        self._health = _health(conf.worker_health)
        first = [self._health] if self._health else []
        self._services = ServiceGroup([*first, *services_of(app, services or {})])
        self._halt = Halt(conf.worker_soft_shutdown_timeout, can_restart)
        remapped(signal.SIGTERM)  # a mistake in it is to be told now
        self._ready = threading.Event()
        self._nursery: Nursery | None = None
        self._prepared = False
        # Two containers may have the same host name, and both the pid 1.
        self._unique = f"{self.hostname}.{os.getpid()}.{secrets.token_hex(4)}"

    # Before the event loop

    def queues(self) -> list[Queue]:
        """The queues that it consumes.

        Raises:
            QueueNotFound: one that was asked for is not declared and must be.
        """
        router = self.app.router
        names = self._names or [queue.name for queue in self.app.queues()]
        found = [router.queue(name) for name in names if name not in self._excluded]
        if not found:
            raise ImproperlyConfigured("no queue is left to consume: check -Q, -X and task_queues")
        if self.app.conf.celery_interop and self.app.backend.shares_chords:
            found.append(router.queue(SHARED_CHORDS_QUEUE))
        return [q.for_consumer(self._unique) if isinstance(q, Broadcast) else q for q in found]

    def prepare(self) -> None:
        """Load the tasks, and start what forks processes; `run` does it if nobody has.

        For those who run the worker in a thread: it is better to fork before there is one.
        """
        refuse_pickle_as_root(self.app)
        self.app.load_modules()
        signals.worker_init.send(self)
        self._nursery = self._start_nursery()
        self._prepared = True

    def run(self) -> int:
        """Work until stopped; blocks.  Signals are heard on the main thread only.

        Returns:
            The exit status: 0 if nothing was lost.
        """
        if not self._prepared:
            self.prepare()
        # Thousands of jobs in flight are no garbage: the collector need not look for it among
        # them at every turn.
        gc.set_threshold(50_000, 20, 50)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            status = runner.run(self._main(self._nursery))
        signals.worker_shutdown.send(self)
        return status

    def _start_nursery(self) -> Nursery | None:
        signals.worker_before_create_process.send(self)
        source = None
        if self._app_spec is not None:
            level = logging.getLogger().level
            source = AppSource(self._app_spec, self._overrides, sys.path, level, self._logfile)
        return prepare_pool(self.app, self.plan, self._options, source)

    # On the event loop

    async def _main(self, nursery: Nursery | None) -> int:
        self._halt.attach()
        try:
            await self._services.start(self)
        except BaseException:
            if nursery is not None:
                nursery.close()
            raise
        try:
            return await self._work(nursery)
        finally:
            await self._services.stop()

    async def _work(self, nursery: Nursery | None) -> int:
        pool = self._make_pool(nursery)
        queues = self.queues()
        broker, backend = self.app.broker, self.app.backend
        try:
            await declare(broker, queues, self.app.conf)
            lease = self.app.conf.broker_lease
            consumer = broker.consumer(queues, lease=lease, backend=backend)
        except BaseException:
            if nursery is not None:
                nursery.close()
            raise
        parts = self._parts(consumer, queues, pool)
        handlers: dict[int, Callable[[int], None]] = {
            **dict.fromkeys(STOPPING, self._halt.on_signal),
            signal.SIGUSR1: lambda _: dump_stacks(pool),
        }
        with SignalHandlers(handlers):
            await pool.start(parts.dispatcher)
            return await self._serve(parts, self._tasks(parts, queues, consumer), pool, consumer)

    def _make_pool(self, nursery: Nursery | None) -> Pool:
        return make_pool(self.app, self.plan, self._options, nursery)

    def _parts(self, consumer: Consumer, queues: Sequence[Queue], pool: Pool) -> Parts:
        """What the worker is made of; nothing of it runs yet."""
        wishes = Wishes(
            self._multiplier, self._limits, self._bounds, self._options.max_tasks, self._unique
        )
        return make_parts(self.app, self.hostname, self.stop, wishes, consumer, queues, pool)

    def _tasks(
        self, parts: Parts, queues: Sequence[Queue], consumer: Consumer
    ) -> dict[str, asyncio.Task[None]]:
        """Let all parts and services run."""
        runs = {**parts.runs(self.app, queues, consumer), **dict(self._services.runs())}
        return {name: asyncio.create_task(run, name=name) for name, run in runs.items()}

    async def _serve(
        self,
        parts: Parts,
        tasks: dict[str, asyncio.Task[None]],
        pool: Pool,
        consumer: Consumer,
    ) -> int:
        """From ready to stopped; the order of the lines is the order of the shutdown."""
        dispatcher, events, node = parts.dispatcher, parts.events, parts.node
        if self.app.conf.worker_send_task_events:
            events.enable()
        if control := tasks.get("control"):
            await node.until_it_listens(control)
        await begin(consumer, self.app.conf)
        self._ready.set()
        if self._health is not None:
            self._health.works(dispatcher)
        signals.worker_ready.send(self)
        logger.info("%s ready.", self.hostname)
        stopping = asyncio.create_task(self._halt.asked())
        broken = asyncio.create_task(self._watch_over(tasks, dispatcher))
        await asyncio.wait([stopping, broken], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if self._health is not None:
            self._health.stops()
        signals.worker_shutting_down.send(
            self.hostname,
            sig=self._halt.signal,
            how="Cold" if self._halt.is_cold else "Warm",
            exitcode=0,
        )
        # 1. Nothing new; what the consumer is just receiving goes back when it closes.
        await _cancel(tasks.pop("fetch"))
        for name in [name for name in tasks if name.startswith("service ")]:
            await _cancel(tasks.pop(name))
        # 2. What has not been started goes back at once, for others to run.
        dispatcher.give_back()
        # 3. What is running ends, within the grace.
        if not dispatcher.failure:
            await self._drain(dispatcher)
        # 4. What is still running is stopped, and goes back.
        if dispatcher.in_flight:
            logger.warning("%d unfinished tasks are given back", dispatcher.in_flight)
            dispatcher.abort()
        # 5. All of that is written; leases are kept until it is.
        status = await self._write_out(dispatcher, tasks)
        # 6. Only now the consumer closes, and the processes end.
        await node.finish()
        await events.close()
        for name in reversed(list(tasks)):
            await _cancel(tasks.pop(name))
        broken.cancel()
        try:
            await consumer.close()
        except OperationalError as exc:
            logger.error("cannot give back what was received, until its leases end: %s", exc)
            status = 1
        await pool.stop()
        logger.info("%s stopped.", self.hostname)
        return status

    async def _drain(self, dispatcher: Dispatcher) -> None:
        """Wait for what is running: for the grace period, or until the stop becomes cold."""
        waits = [
            asyncio.create_task(dispatcher.idle()),
            asyncio.create_task(self._halt.no_more_time()),
        ]
        timeout = self.app.conf.worker_shutdown_timeout
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            await _cancel(wait)

    async def _write_out(self, dispatcher: Dispatcher, tasks: dict[str, asyncio.Task[None]]) -> int:
        """Wait until everything is settled; a third signal, or a dead settler, ends the wait."""
        failure, dispatcher.failure = dispatcher.failure, ""
        idle = asyncio.create_task(dispatcher.idle())
        at_once = asyncio.create_task(self._halt.at_once())
        await asyncio.wait([idle, at_once, tasks["settle"]], return_when=asyncio.FIRST_COMPLETED)
        await _cancel(idle)
        at_once.cancel()
        if dispatcher.in_flight:
            logger.error(
                "%d outcomes could not be written; their tasks run again when their leases end",
                dispatcher.in_flight,
            )
        return 1 if failure or dispatcher.in_flight else 0

    async def _watch_over(
        self, tasks: dict[str, asyncio.Task[None]], dispatcher: Dispatcher
    ) -> None:
        """Return when the worker cannot go on: a service has died, or the pool is broken."""
        ended: set[asyncio.Task[None]] = set()
        while not dispatcher.failure:
            done, _ = await asyncio.wait(
                {*tasks.values()} - ended, timeout=1.0, return_when=asyncio.FIRST_COMPLETED
            )
            ended |= done
            for task in done:
                if not task.cancelled() and (exc := task.exception()) is not None:
                    if isinstance(exc, TaskQError):  # it says by itself what is wrong
                        dispatcher.failure = f"{task.get_name()}: {exc}"
                        logger.debug("%s", dispatcher.failure, exc_info=exc)
                        continue
                    logger.critical("the worker's %s has failed", task.get_name(), exc_info=exc)
                    dispatcher.failure = f"{task.get_name()}: {exc!r}"
        logger.critical("the worker stops: %s", dispatcher.failure)

    # From outside

    def stop(self, cold: bool = False) -> None:
        """Ask it to stop; can be called from any thread.

        Args:
            cold: do not wait for what is running, but give it back.
        """
        self._halt.stop(cold)

    def restart(self) -> None:
        """Ask it to stop, warmly, and to be started anew; can be called from any thread."""
        self._halt.restart()

    @property
    def restarts(self) -> bool:
        """Has it stopped to be started anew?"""
        return self._halt.restarts

    def wait_ready(self, timeout: float | None = None) -> bool:
        """Block another thread until the worker consumes; False if the time is over."""
        return self._ready.wait(timeout)


def _health(address: str | None) -> WorkerHealth | None:
    """What answers probes, if a setting says where."""
    if not address:
        return None
    # http.server is for those who are probed.
    from taskq.worker.health import WorkerHealth

    return WorkerHealth(address)


async def _cancel(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait until it has ended; its own error has been told already."""
    task.cancel()
    await asyncio.wait([task])
