"""Running all that is queued, here and now."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from taskq import exceptions, states
from taskq.canvas.chord import CHORD_TASK
from taskq.context import running
from taskq.exceptions import TaskQError
from taskq.execution import Report, TaskRunner
from taskq.execution.report import Sentence
from taskq.message import TaskMessage
from taskq.request import Request
from taskq.testing.apps import queue_names
from taskq.testing.worker import WorkerHere
from taskq.worker.pool.solo import SoloPool

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.brokers.base import Consumer
    from taskq.routing import Queue
    from taskq.task import Task
    from taskq.worker.dispatcher import Dispatcher
    from taskq.worker.job import Job
    from taskq.worker.parts import Parts
    from taskq.worker.pool.base import Pool, PoolEvents
    from taskq.worker.pool.nursery import Nursery

_PAUSE = 0.01
_QUIET = 3
"""Looks at the queues, one after the other, that must find nothing."""


class Ran(NamedTuple):
    """One run of a task, or its end without one: expired, revoked, unknown.

    Attributes:
        name: the task's name.
        id: its id.
        args: positional arguments.
        kwargs: keyword arguments.
        state: how it ended; ``RETRY`` if another run follows.
        result: what it returned or raised.
        retries: how often it had been retried before.
    """

    name: str
    id: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    state: str
    result: Any
    retries: int


class _NotingRunner(TaskRunner):
    """Keeps what ran, in that order."""

    def __init__(self, app: TaskQ, hostname: str, pool: _PoolHere) -> None:
        super().__init__(app, hostname, on_start=pool._started)
        self.ran: list[Ran] = []

    def execute(self, ticket: int, task: Task[..., Any], request: Request) -> tuple[Report, Any]:
        report, value = super().execute(ticket, task, request)
        self._note(request, report.state, value)
        return report, value

    def pronounce(
        self, ticket: int, message: TaskMessage, queue: str, sentence: Sentence
    ) -> Report:
        report = super().pronounce(ticket, message, queue, sentence)
        error = getattr(exceptions, sentence.error)(sentence.text)
        self._note_unrun(message, queue, sentence.state, error)
        return report

    def refuse(self, ticket: int, message: TaskMessage, queue: str, exc: Exception) -> Report:
        self._note_unrun(message, queue, states.FAILURE, exc)
        return super().refuse(ticket, message, queue, exc)

    def _note_unrun(self, message: TaskMessage, queue: str, state: str, error: Exception) -> None:
        try:
            request = self._opener.open(message, queue, 0)
        except TaskQError:
            request = Request(message)
        self._note(request, state, error)

    def _note(self, request: Request, state: str, value: Any) -> None:
        if request.task != CHORD_TASK:  # how chords are done is nobody's concern
            self.ran.append(
                Ran(
                    request.task or "",
                    request.id or "",
                    tuple(request.args),
                    dict(request.kwargs),
                    state,
                    value,
                    request.retries,
                )
            )


class _PoolHere(SoloPool):
    """Runs tasks in the thread that calls `work`."""

    def __init__(self, app: TaskQ, hostname: str) -> None:
        super().__init__(app, hostname)
        self._runner = self.noting = _NotingRunner(app, hostname, self)
        self.interrupted: KeyboardInterrupt | None = None

    async def start(self, events: PoolEvents) -> None:
        self._events = events
        self._loop = asyncio.get_running_loop()

    def _run(self, job: Job) -> Report:
        try:
            return super()._run(job)
        except KeyboardInterrupt as exc:  # meant for the test run, not for the task
            self.interrupted = exc
            raise

    def end(self) -> None:
        """Let `work` return."""
        self._jobs.put(None)


class _Drainer(WorkerHere):
    """A worker that stops when nothing is left to run."""

    def __init__(self, app: TaskQ, queues: Sequence[str], ignore_delays: bool) -> None:
        super().__init__(app, queues=queues, services={"drain": self._until_empty})
        self.pool = _PoolHere(app, self.hostname)
        self._drained = queues
        self._ignore_delays = ignore_delays
        self._dispatcher: Dispatcher | None = None
        self.error: BaseException | None = None

    def _make_pool(self, nursery: Nursery | None) -> Pool:
        return self.pool

    def _parts(self, consumer: Consumer, queues: Sequence[Queue], pool: Pool) -> Parts:
        parts = super()._parts(consumer, queues, pool)
        parts.dispatcher.rates = None  # nobody waits an hour for the second task of a test
        self._dispatcher = parts.dispatcher
        return parts

    async def _until_empty(self) -> None:
        quiet = 0
        while quiet < _QUIET:
            await asyncio.sleep(_PAUSE)
            quiet = quiet + 1 if await self._looks_empty() else 0
        self.stop()
        await asyncio.Event().wait()  # what ends by itself is taken to have failed

    async def _looks_empty(self) -> bool:
        before = self._activity()
        if before[0] or await asyncio.to_thread(self._has_work):
            return False
        # What ran while the queues were looked at may have filled one that was empty then.
        return self._activity() == before

    def _activity(self) -> tuple[int, int]:
        """How many tasks are here, and how many have ended."""
        assert self._dispatcher is not None
        return self._dispatcher.in_flight, self._dispatcher.totals.total()

    def _has_work(self) -> bool:
        broker = self.app.broker
        if self._ignore_delays:
            for name in self._drained:
                broker.hasten(name)
        depths = [broker.depth(name) for name in self._drained]
        return any(d.ready or d.leased or (d.delayed and self._ignore_delays) for d in depths)

    def run_aside(self) -> None:
        """`run`, in a thread of its own."""
        try:
            self.run()
        except BaseException as exc:  # raised in the thread that drains
            self.error = exc
        finally:
            self.pool.end()


def drain(
    app: TaskQ,
    *,
    queues: Sequence[str] | None = None,
    ignore_delays: bool = False,
    throw: bool = False,
    timeout: float | None = 60.0,
) -> list[Ran]:
    """Run all that is queued in this thread, and what follows from it, until nothing is left.

    A worker does it that lives for this call: what is stored, sent and settled is what a worker
    from the command line stores, sends and settles.  Rate limits are not looked at.

    Args:
        app: whose tasks.
        queues: run only what is in these; all that the app or its broker knows, by default.
        ignore_delays: do not wait for what is not due yet, such as retries with a countdown, but
            run it as well; otherwise it is left where it is.
        throw: raise what the first task raised that has failed, when all is done.
        timeout: seconds after which it is given up; None waits for ever.

    Returns:
        What ran, in that order.

    Raises:
        TimeoutError: tasks are left after that time, such as one that always retries at once.
        ImproperlyConfigured: the broker cannot do without delays.
        RuntimeError: there is an event loop in this thread: ``await adrain(app)`` instead.
        TaskQError: the worker could not start.
    """
    _check_thread()
    names = list(queues) if queues is not None else queue_names(app, app.broker)
    if ignore_delays:
        for name in names:
            app.broker.hasten(name)
    with app.conf.override(worker_health=None, worker_services=()):
        drainer = _Drainer(app, names, ignore_delays)
    thread = threading.Thread(target=drainer.run_aside, name="taskq-drain", daemon=True)
    expired = threading.Event()
    watch = threading.Timer(timeout or 0, _give_up, (drainer, expired))
    watch.daemon = True
    thread.start()
    if timeout is not None:
        watch.start()
    token = running.set(None)  # a test is no task, whatever it is called from
    try:
        drainer.pool.work()
    finally:
        running.reset(token)
        watch.cancel()
        drainer.stop(cold=True)
        thread.join()
    if drainer.pool.interrupted is not None:
        raise drainer.pool.interrupted
    if drainer.error is not None:
        raise drainer.error
    if expired.is_set():
        raise _too_long(drainer, timeout)
    ran = drainer.pool.noting.ran
    failed = next((run for run in ran if run.state == states.FAILURE), None)
    if throw and failed is not None:
        raise failed.result
    return ran


async def adrain(
    app: TaskQ,
    *,
    queues: Sequence[str] | None = None,
    ignore_delays: bool = False,
    throw: bool = False,
    timeout: float | None = 60.0,
) -> list[Ran]:
    """`drain` for code on an event loop, which goes on meanwhile: tasks run in another thread."""
    return await asyncio.to_thread(
        drain, app, queues=queues, ignore_delays=ignore_delays, throw=throw, timeout=timeout
    )


def _check_thread() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("drain() would block the event loop of this thread: await adrain() instead")


def _give_up(drainer: _Drainer, expired: threading.Event) -> None:
    expired.set()
    drainer.stop(cold=True)
    drainer.pool.end()


def _too_long(drainer: _Drainer, timeout: float | None) -> TimeoutError:
    last = drainer.pool.noting.ran[-3:]
    names = ", ".join(f"{run.name} ({run.state})" for run in last) or "nothing"
    return TimeoutError(f"tasks are left after {timeout:g} seconds; what ran last: {names}")
