"""How a job is shown to whoever asks: Celery's fields, which Flower reads."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskq.message import TaskMessage
    from taskq.worker.job import Job
    from taskq.worker.pool.base import Running


def job_info(job: Job, hostname: str, running: Running | None = None) -> dict[str, Any]:
    """A job as `active` and `reserved` show it.

    Arguments are shown as the caller has described them, since the worker's own process never
    opens a body.

    Args:
        job: the job.
        hostname: the worker's name.
        running: where and since when it runs, if it does.
    """
    info = message_info(job.delivery.message, hostname)
    info["acknowledged"] = job.acknowledged
    info["delivery_info"]["redelivered"] = job.delivery.deliveries > 1
    if running is not None:
        info["time_start"] = time.time() - (time.monotonic() - running.since)
        info["worker_pid"] = running.pid
    return info


def message_info(message: TaskMessage, hostname: str) -> dict[str, Any]:
    """A message that is no job yet, in the same form."""
    headers: Mapping[str, Any] = message.headers
    return {
        "id": message.id,
        "name": message.task,
        "args": headers.get("argsrepr"),
        "kwargs": headers.get("kwargsrepr"),
        "type": message.task,
        "hostname": hostname,
        "time_start": None,
        "acknowledged": False,
        "delivery_info": {
            "exchange": message.exchange,
            "routing_key": message.routing_key,
            "priority": message.priority,
            "redelivered": None,
        },
        "worker_pid": None,
    }


def scheduled_info(message: TaskMessage, hostname: str) -> dict[str, Any]:
    """A message that is not due yet, as `scheduled` shows it."""
    eta = None if message.due is None else datetime.fromtimestamp(message.due, UTC).isoformat()
    return {
        "eta": eta,
        "priority": message.priority,
        "request": message_info(message, hostname),
    }
