"""The worker's events: gathered in memory, told together, and bounded.

While they are off nothing is gathered, and the dispatcher asks no more than whether they are
on.  While they are on, what is told of a task is a small dictionary; encoding and sending are
done twice a second for all of them.  When a task started is read from the pool at those
moments, since no process tells it: a task that has ended by then is told of with both ends.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from taskq import __version__, signals, states
from taskq.brokers.base import Fate
from taskq.events.event import Event, event_notice, events_channel, utc_offset
from taskq.exceptions import ImproperlyConfigured, OperationalError

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.brokers.base import Settlement
    from taskq.execution import Report
    from taskq.message import TaskMessage
    from taskq.worker.dispatcher import Dispatcher
    from taskq.worker.job import Job, Verdict
    from taskq.worker.pool.base import Pool

logger = logging.getLogger("taskq.worker")

MAX_HELD = 20_000
"""Events that wait to be told at most; past it the oldest are lost."""
_TOGETHER = 500
"""Events in one notice at most."""
_EVERY = 0.5
"""Seconds between two times of telling."""
_EARLIER = 2000
"""Events that are told at once, without waiting for that time."""


class WorkerEvents:
    """Tells what happens in one worker.

    Args:
        app: whose worker.
        hostname: its name.
        dispatcher: knows how many tasks have ended.
        pool: knows what runs.
        heartbeat: seconds between two heartbeats; 0 or None sends none.

    Attributes:
        lost: events that were lost since there were too many of them.
    """

    def __init__(
        self,
        app: TaskQ,
        hostname: str,
        dispatcher: Dispatcher,
        pool: Pool,
        heartbeat: float | None,
    ) -> None:
        self._app = app
        self._hostname = hostname
        self._dispatcher = dispatcher
        self._pool = pool
        self._heartbeat = heartbeat or None
        self._about = {"hostname": hostname, "pid": os.getpid(), "utcoffset": utc_offset()}
        self._channel = events_channel(app.conf)
        self._held: deque[Event] = deque(maxlen=MAX_HELD)
        self._started: set[int] = set()
        self._wake = asyncio.Event()
        self._next_heartbeat = 0.0
        self._away = False
        self.lost = 0

    # On and off

    @property
    def enabled(self) -> bool:
        """Are events told?"""
        return self._dispatcher.events is self

    def enable(self) -> bool:
        """Tell events from now on; False if they were told already."""
        if self.enabled:
            return False
        self._dispatcher.events = self
        # What runs already was told of by nobody.
        self._worker_event("worker-online")
        self._next_heartbeat = time.monotonic() + (self._heartbeat or 0.0)
        self._wake.set()
        return True

    def disable(self) -> bool:
        """Tell none from now on; False if none were told."""
        if not self.enabled:
            return False
        self._worker_event("worker-offline")
        self._dispatcher.events = None
        self._started.clear()
        self._wake.set()
        return True

    # What the dispatcher tells, while they are on

    def received(self, job: Job) -> None:
        """A job has come in: to run, or only for its end to be told."""
        if not job.task.send_events:
            return
        message = job.delivery.message
        self._add("task-received", call_fields(message))
        if job.verdict is not None:
            self.condemned(job, job.verdict)

    def finished(self, job: Job, report: Report) -> None:
        """A job has ended with a report."""
        if job.verdict is not None or not job.task.send_events:
            return
        now = time.time()
        if job.ticket in self._started:
            self._started.discard(job.ticket)
        else:
            self._add("task-started", {"uuid": job.id}, now - report.runtime)
        kind, fields = _end(report)
        if kind:
            self._add(kind, {"uuid": job.id, **fields}, now)

    def condemned(self, job: Job, verdict: Verdict) -> None:
        """A job has ended without a report."""
        self._started.discard(job.ticket)
        if not job.task.send_events:
            return
        sentence = verdict.sentence
        if sentence.state == states.REVOKED:
            terminated = sentence.text == "terminated"
            self._add(
                "task-revoked",
                {
                    "uuid": job.id,
                    "terminated": terminated,
                    "signum": "SIGKILL" if terminated else None,
                    "expired": sentence.text == "expired",
                },
            )
        else:
            exception = f"{sentence.error}({sentence.text!r})"
            self._add("task-failed", {"uuid": job.id, "exception": exception, "traceback": None})

    def given_back(self, job: Job) -> None:
        """A job has been lost and will run again, here or elsewhere."""
        self._started.discard(job.ticket)
        if job.task.send_events:
            self._add("task-rejected", {"uuid": job.id, "requeue": True})

    def refused(self, settlement: Settlement) -> None:
        """A delivery was not let in, and nobody may look into it."""
        message = settlement.delivery.message
        self._add("task-received", call_fields(message))
        self._add("task-failed", {
            "uuid": message.id, "exception": settlement.reason, "traceback": None
        })  # fmt: skip

    def _add(self, kind: str, fields: Event, timestamp: float | None = None) -> None:
        held = self._held
        self.lost += len(held) == MAX_HELD
        fields["type"] = kind
        fields["clock"] = self._app.clock.forward()
        fields["timestamp"] = time.time() if timestamp is None else timestamp
        held.append(fields)
        if len(held) == _EARLIER:
            self._wake.set()

    # The worker itself

    def heartbeat(self) -> bool:
        """Tell at once that the worker is there; False while events are off."""
        if self.enabled:
            self._worker_event("worker-heartbeat")
            self._wake.set()
        return self.enabled

    def _worker_event(self, kind: str) -> None:
        self._add(
            kind,
            {
                "freq": self._heartbeat or 60.0,
                "active": len(self._pool.running()),
                "processed": sum(self._dispatcher.totals.values()),
                "loadavg": [round(load, 2) for load in os.getloadavg()],
                "sw_ident": "py-celery" if self._app.conf.celery_interop else "py-taskq",
                "sw_ver": __version__,
                "sw_sys": platform.system(),
            },
        )
        if kind == "worker-heartbeat" and signals.heartbeat_sent.receivers:
            signals.heartbeat_sent.send(self)

    # Telling

    async def run(self) -> None:
        """Tell what is gathered, until cancelled."""
        while True:
            pause = _EVERY if self.enabled else None
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            if self.enabled:
                self._about["utcoffset"] = utc_offset()  # summer may have begun
                self._look()
            try:
                await self.flush()
            except ImproperlyConfigured as exc:
                logger.warning("no events: %s", exc)
                self._dispatcher.events = None
                self._held.clear()

    def _look(self) -> None:
        """What has started since the last look; and whether a heartbeat is due."""
        now = time.monotonic()
        for one in self._pool.running():
            job = one.job
            if job.ticket not in self._started and job.verdict is None and job.task.send_events:
                self._started.add(job.ticket)
                self._add("task-started", {"uuid": job.id}, time.time() - (now - one.since))
        if self._heartbeat and now >= self._next_heartbeat:
            self._next_heartbeat = now + self._heartbeat
            self._worker_event("worker-heartbeat")

    async def flush(self) -> None:
        """Tell all that is gathered; what cannot be told stays, within bounds."""
        while self._held:
            batch = [self._held.popleft() for _ in range(min(_TOGETHER, len(self._held)))]
            try:
                await self._app.broker.abroadcast(self._notices(batch))
            except OperationalError as exc:
                room = MAX_HELD - len(self._held)
                self.lost += max(0, len(batch) - room)
                self._held.extendleft(reversed(batch[-room:] if room else []))
                logger.log(
                    logging.DEBUG if self._away else logging.INFO, "events cannot be told: %s", exc
                )
                self._away = True
                return
            self._away = False
        if self.lost:
            logger.warning("%d events were lost, since there were too many", self.lost)
            self.lost = 0

    def _notices(self, events: Sequence[Event]) -> list[Any]:
        """Events of tasks together; those of the worker each by itself, as listeners expect."""
        for event in events:
            event.update(self._about)
        mine = [event for event in events if event["type"].startswith("worker-")]
        tasks = [event for event in events if not event["type"].startswith("worker-")]
        groups = [*([event] for event in mine), *([tasks] if tasks else [])]
        return [event_notice(self._channel, self._hostname, group) for group in groups]

    async def close(self) -> None:
        """Say goodbye."""
        if self.disable():
            try:
                async with asyncio.timeout(1):
                    await self.flush()
            except (TimeoutError, ImproperlyConfigured):
                pass


def call_fields(message: TaskMessage) -> Event:
    """What ``task-received`` tells of a message."""
    headers = message.headers
    return {
        "uuid": message.id,
        "name": message.task,
        "args": headers.get("argsrepr"),
        "kwargs": headers.get("kwargsrepr"),
        "root_id": headers.get("root_id"),
        "parent_id": headers.get("parent_id"),
        "retries": headers.get("retries") or 0,
        "eta": headers.get("eta"),
        "expires": headers.get("expires"),
    }


def _end(report: Report) -> tuple[str, Event]:
    """The event that tells of a report; an empty type if there is none."""
    if report.state == states.SUCCESS:
        return "task-succeeded", {"result": report.text, "runtime": report.runtime}
    if report.state == states.RETRY:
        return "task-retried", {"exception": report.text, "traceback": report.traceback}
    if report.state == states.REJECTED:
        return "task-rejected", {"requeue": report.fate is Fate.REQUEUE}
    if report.state == states.FAILURE:
        return "task-failed", {"exception": report.text, "traceback": report.traceback}
    return "", {}
