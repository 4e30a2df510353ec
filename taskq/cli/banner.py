"""What a worker says about itself before it starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from taskq import __version__
from taskq.builtin_tasks import is_builtin
from taskq.stores.urls import hide_password

if TYPE_CHECKING:
    from taskq.routing import Queue
    from taskq.worker.service import Worker

_SHOWN_ABOVE = {"broker_url", "result_backend", "worker_concurrency", "worker_pool"}


def banner(worker: Worker, app_spec: str | None, with_tasks: bool) -> str:
    """The worker, its app, broker, queues and tasks, and the settings that are not defaults.

    Args:
        worker: it.
        app_spec: how ``-A`` names the app; None where a program has given the command itself.
        with_tasks: name the tasks too.
    """
    return "\n".join(_lines(worker, app_spec, with_tasks)) + "\n"


def _lines(worker: Worker, app_spec: str | None, with_tasks: bool) -> Iterator[str]:
    app = worker.app
    results = app.conf.result_backend
    system = os.uname()
    yield f"{worker.hostname}  taskq {__version__}  ({system.sysname} {system.release})"
    yield ""
    yield f"  app          {app.main or '?'}" + (f" (-A {app_spec})" if app_spec else "")
    yield f"  broker       {hide_password(app.conf.broker_url)}"
    yield f"  results      {hide_password(results) if results else 'in the broker'}"
    yield f"  concurrency  {worker.concurrency} ({worker.pool_name})"
    yield "  queues       " + "\n               ".join(map(_describe, worker.queues()))
    changed = {
        name: value for name, value in app.conf.changed().items() if name not in _SHOWN_ABOVE
    }
    if changed:
        yield "  settings     " + "\n               ".join(
            f"{name} = {value!r}  ({app.conf.source(name)})" for name, value in changed.items()
        )
    if with_tasks:
        names = sorted(name for name in app.tasks if not is_builtin(name))
        yield "  tasks        " + ("\n               ".join(names) or "none")


def _describe(queue: Queue) -> str:
    exchange = queue.exchange
    if not exchange.name:
        return queue.name
    return f"{queue.name} (exchange {exchange.name} of type {exchange.type}, {queue.routing_key})"
