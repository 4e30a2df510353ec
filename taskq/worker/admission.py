"""Admission: what is decided about a delivery on its headers alone, before it waits."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from taskq import signals
from taskq.brokers.base import Delivery, Settlement
from taskq.canvas.chord import CHORD_TASK
from taskq.control.stamps import revoked_by
from taskq.exceptions import (
    ContentDisallowed,
    InvalidTaskError,
    TaskRevokedError,
    WorkerLostError,
)
from taskq.message import to_timestamp
from taskq.worker.job import Job, Verdict

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.task import Task
    from taskq.worker.fates import Fates


_NO_LIMITS: list[float | None] = [None, None]


class Admission:
    """Lets deliveries in, or says what becomes of them instead.

    Args:
        app: whose tasks and settings.
        fates: writes the outcomes of those that are not let in.
        time_limit: the worker's hard limit in seconds, for tasks without one.
        soft_time_limit: its soft limit.

    Attributes:
        revoked: the ids of revoked tasks, each with the signal for one that runs.
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
        self.revoked: Mapping[str, str] = {}

    @property
    def limits(self) -> tuple[float | None, float | None]:
        """The hard and soft limit, in seconds, of tasks without one."""
        return self._hard, self._soft

    def judge(self, delivery: Delivery) -> Job | Settlement:
        """A job to run, or to tell the end of, or the settlement of what must not be read."""
        message = delivery.message
        headers = message.headers
        task = self._app.tasks.get(message.task)
        if task is None:
            return self._unknown(delivery)
        if message.content_type not in self._accept:
            return self._fates.bury_unread(
                delivery,
                ContentDisallowed(
                    f"content type {message.content_type!r} is not in accept_content "
                    f"({', '.join(sorted(self._accept))})"
                ),
            )
        if delivery.deliveries > self._max_deliveries:
            error = WorkerLostError(
                f"delivered {delivery.deliveries} times without an end "
                f"(task_max_deliveries is {self._max_deliveries})"
            )
            return self._ended(delivery, task, self._fates.bury(delivery, error))
        try:
            expires, (hard, soft) = _expiry(headers), _limits(headers)
        except InvalidTaskError as exc:
            return self._ended(delivery, task, self._fates.bury(delivery, exc))
        if self.revoked and revoked_by(self.revoked, headers) is not None:
            return self._ended(delivery, task, self.revoke(task, delivery))
        if expires is not None and expires <= time.time():
            signals.task_revoked.send(
                task, request=message, terminated=False, signum=None, expired=True
            )
            verdict = self._fates.drop(delivery, TaskRevokedError("expired"), "expired")
            return self._ended(delivery, task, verdict)
        job = self._job(delivery, task)
        job.hard_limit = hard or task.time_limit or self._hard
        job.soft_limit = soft or task.soft_time_limit or self._soft
        job.early = not (self._acks_late if task.acks_late is None else task.acks_late)
        return job

    def revoke(self, task: Task[..., Any], delivery: Delivery, terminated: bool = False) -> Verdict:
        """The end of a task that is not to be run any more, or has been ended while it ran."""
        key = revoked_by(self.revoked, delivery.message.headers) if terminated else None
        signal = self.revoked[key] if key is not None else None
        signals.task_revoked.send(
            task, request=delivery.message, terminated=terminated, signum=signal, expired=False
        )
        how = "terminated" if terminated else "revoked"
        return self._fates.drop(delivery, TaskRevokedError(how), how)

    def _job(self, delivery: Delivery, task: Task[..., Any]) -> Job:
        job = Job(self._next_ticket, delivery, task)
        self._next_ticket += 1
        return job

    def _ended(self, delivery: Delivery, task: Task[..., Any], verdict: Verdict) -> Job:
        """A job that is not run: a process only tells whoever must know that it has ended."""
        job = self._job(delivery, task)
        job.verdict = verdict
        verdict.unstarted = True
        return job

    def _unknown(self, delivery: Delivery) -> Job:
        message = delivery.message
        error = self._app.tasks.unknown(message.task)
        signals.task_unknown.send(
            self._app, message=message, exc=error, name=message.task, id=message.id
        )
        # A task must stand for the one that is not there; which one is of no matter.
        return self._ended(delivery, self._app.tasks[CHORD_TASK], self._fates.bury(delivery, error))


def _expiry(headers: Mapping[str, Any]) -> float | None:
    """When it is to be dropped if it has not started, as Unix time."""
    expires = headers.get("expires")
    if expires is None:
        return None
    try:
        return to_timestamp(expires)
    except (AttributeError, TypeError, ValueError) as exc:
        raise InvalidTaskError(
            f"the header expires={expires!r} is no moment: ISO 8601 text is needed"
        ) from exc


def _limits(headers: Mapping[str, Any]) -> Sequence[float | None]:
    """The call's own hard and soft limit, in seconds."""
    limits: Any = headers.get("timelimit") or _NO_LIMITS
    if limits == _NO_LIMITS:
        return _NO_LIMITS
    if not isinstance(limits, Sequence) or len(limits) != 2 or not all(map(_is_limit, limits)):
        raise InvalidTaskError(
            f"the header timelimit={limits!r} is no pair of limits: [hard, soft] is needed, each "
            "in seconds or null"
        )
    return limits


def _is_limit(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and value >= 0)
