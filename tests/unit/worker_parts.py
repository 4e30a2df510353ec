"""What tests of the worker's parts have in common."""

from __future__ import annotations

import itertools
from typing import Any

from taskq import Task, TaskQ
from taskq.brokers.base import Delivery
from taskq.message import pack
from taskq.worker.job import Job

_tags = itertools.count(1)


def make_delivery(
    app: TaskQ,
    name: str,
    *args: Any,
    deliveries: int = 1,
    crashes: int = 0,
    queue: str = "q",
    **options: Any,
) -> Delivery:
    message = app.producer.build(name, args, {}, {"queue": queue, **options}, app.tasks.get(name))
    return Delivery(message, pack(message), queue, next(_tags), deliveries, crashes)


def make_job(app: TaskQ, task: Task[..., Any], *args: Any, **options: Any) -> Job:
    delivery = make_delivery(app, task.name, *args, **options)
    return Job(delivery.tag, delivery, task)
