"""Admission: what is decided about a delivery on its headers alone, before it waits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from taskq import signals
from taskq.brokers.base import Delivery, Settlement
from taskq.exceptions import ContentDisallowed, TaskRevokedError, WorkerLostError
from taskq.message import to_timestamp
from taskq.worker.job import Job

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.worker.fates import Fates


class Admission:
    """Lets deliveries in, or says what becomes of them instead.

    Args:
        app: whose tasks and settings.
        fates: writes the outcomes of those that are not let in.
        time_limit: the worker's hard limit in seconds, for tasks without one.
        soft_time_limit: its soft limit.
    """

    def __init__(
        self,
        app: TaskQ,
        fates: Fates,
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
    ) -> None:
        conf = app.conf
        self._app = app
        self._fates = fates
        self._accept = app.serializers.content_types(conf.accept_content)
        self._max_deliveries = conf.task_max_deliveries
        self._max_crashes = conf.task_max_crashes
        self._acks_late = conf.task_acks_late
        self._hard = conf.task_time_limit if time_limit is None else time_limit
        self._soft = conf.task_soft_time_limit if soft_time_limit is None else soft_time_limit
        self._next_ticket = 1

    def judge(self, delivery: Delivery) -> Job | Settlement:
        """A job to run, or the settlement of a delivery that must not run."""
        message = delivery.message
        headers = message.headers
        task = self._app.tasks.get(message.task)
        if task is None:
            return self._unknown(delivery)
        if message.content_type not in self._accept:
            return self._fates.bury(
                delivery,
                ContentDisallowed(
                    f"content type {message.content_type!r} is not in accept_content "
                    f"({', '.join(sorted(self._accept))})"
                ),
            )
        if delivery.deliveries > self._max_deliveries:
            return self._fates.bury(
                delivery,
                WorkerLostError(
                    f"delivered {delivery.deliveries} times without an end "
                    f"(task_max_deliveries is {self._max_deliveries})"
                ),
            )
        expires = headers.get("expires")
        if expires is not None and to_timestamp(expires) <= time.time():
            signals.task_revoked.send(
                task, request=message, terminated=False, signum=None, expired=True
            )
            return self._fates.drop(delivery, TaskRevokedError("expired"), "expired")
        job = Job(self._next_ticket, delivery, task)
        self._next_ticket += 1
        hard, soft = headers.get("timelimit") or (None, None)
        job.hard_limit = hard or task.time_limit or self._hard
        job.soft_limit = soft or task.soft_time_limit or self._soft
        job.early = not (self._acks_late if task.acks_late is None else task.acks_late)
        return job

    def _unknown(self, delivery: Delivery) -> Settlement:
        message = delivery.message
        error = self._app.tasks.unknown(message.task)
        signals.task_unknown.send(
            self._app, message=message, exc=error, name=message.task, id=message.id
        )
        return self._fates.bury(delivery, error)
