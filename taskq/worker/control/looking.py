"""The commands that look at a worker; `taskq.control.commands` says what they are called."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from taskq.control.mailbox import jsonable
from taskq.control.stamps import is_stamp
from taskq.settings.secrets import masked
from taskq.stores.urls import hide_password
from taskq.worker.control.arguments import texts
from taskq.worker.control.requests import job_info, scheduled_info

if TYPE_CHECKING:
    from taskq.routing import Queue
    from taskq.worker.control.state import WorkerState
    from taskq.worker.job import Job

_MOST = 1000
"""Messages that are shown of each queue at most."""


def ping(state: WorkerState) -> Any:
    return {"ok": "pong"}


def clock(state: WorkerState) -> Any:
    return {"clock": state.app.clock.value}


def hello(state: WorkerState, from_node: str, revoked: Any = None) -> Any:
    """Celery's mingle; revoked tasks need no exchange, since the broker keeps them."""
    return {"revoked": {}, "clock": state.app.clock.forward()}


def active(state: WorkerState, safe: bool | None = None) -> Any:
    return [job_info(one.job, state.hostname, one) for one in state.pool.running()]


def reserved(state: WorkerState, safe: bool | None = None) -> Any:
    running = {id(one.job) for one in state.pool.running()}
    return [job_info(job, state.hostname) for job in _shown(state) if id(job) not in running]


def _shown(state: WorkerState) -> Iterable[Job]:
    """What is in flight, but for what has ended and is only to be told of."""
    return (job for job in state.dispatcher.jobs() if job.verdict is None)


async def scheduled(state: WorkerState, safe: bool | None = None) -> Any:
    """Messages that are not due lie in the broker, for whichever worker comes first."""
    broker, found = state.app.broker, []
    for name in state.consuming.names():
        found += await asyncio.to_thread(broker.scheduled, name, _MOST)
    return [scheduled_info(message, state.hostname) for message in found]


def query_task(state: WorkerState, ids: str | Sequence[str]) -> Any:
    wanted = {*texts("ids", ids)}
    running = {one.job.id: one for one in state.pool.running()}
    return {
        job.id: (
            "active" if job.id in running else "reserved",
            job_info(job, state.hostname, running.get(job.id)),
        )
        for job in _shown(state)
        if job.id in wanted
    }


def revoked(state: WorkerState) -> Any:
    return [task_id for task_id in state.admission.revoked if not is_stamp(task_id)]


def registered(
    state: WorkerState, taskinfoitems: Sequence[str] | None = None, builtins: bool = False
) -> Any:
    tasks = state.app.tasks
    names = [name for name in sorted(tasks) if builtins or not name.startswith(_BUILT_IN)]
    return [_described(name, tasks[name], taskinfoitems or ()) for name in names]


_BUILT_IN = ("taskq.", "celery.")


def _described(name: str, task: Any, attributes: Sequence[str]) -> str:
    values = {attribute: getattr(task, attribute, None) for attribute in attributes}
    shown = [f"{attribute}={value}" for attribute, value in values.items() if value is not None]
    return f"{name} [{' '.join(shown)}]" if shown else name


def active_queues(state: WorkerState) -> Any:
    return [
        _queue_info(queue, queue.name in state.pauses.names) for queue in state.consuming.queues
    ]


def _queue_info(queue: Queue, paused: bool) -> dict[str, Any]:
    exchange = queue.exchange
    return {
        "name": queue.name,
        "exchange": {
            "name": exchange.name,
            "type": exchange.type,
            "durable": exchange.durable,
            "auto_delete": exchange.auto_delete,
        },
        "routing_key": queue.routing_key,
        "durable": queue.durable,
        "exclusive": queue.exclusive,
        "auto_delete": queue.auto_delete,
        "alias": None,
        "bindings": [
            {"exchange": bound.exchange.name, "routing_key": bound.routing_key}
            for bound in queue.all_bindings()
        ],
        "max_length": queue.max_length,
        "message_ttl": queue.message_ttl,
        "expires": queue.expires,
        "paused": paused,
    }


def conf(state: WorkerState, with_defaults: bool = False, include_defaults: bool = False) -> Any:
    settings = state.app.conf
    values = settings.changed()
    if with_defaults or include_defaults:
        values = {name: masked(name, settings[name]) for name in settings}
    return jsonable(values)


async def report(state: WorkerState) -> Any:
    return {"ok": await asyncio.to_thread(state.app.bugreport)}


def stats(state: WorkerState) -> Any:
    return {
        "total": dict(state.dispatcher.totals),
        "pid": os.getpid(),
        "clock": str(state.app.clock.value),
        "uptime": round(time.monotonic() - state.started),
        "pool": _pool_info(state),
        "broker": _broker_info(state),
        "prefetch_count": state.window.size,
        "rusage": _resources(),
    }


def _pool_info(state: WorkerState) -> dict[str, Any]:
    pool = state.pool
    hard, soft = state.limits
    return {
        "implementation": f"{type(pool).__module__}:{type(pool).__name__}",
        "max-concurrency": pool.size,
        "processes": pool.pids() or [os.getpid()],
        "max-tasks-per-child": state.max_tasks or "N/A",
        "put-guarded-by-semaphore": False,
        "timeouts": [soft or 0, hard or 0],
    }


def _broker_info(state: WorkerState) -> dict[str, Any]:
    settings = state.app.conf
    first, *others = settings.broker_url.split(";")
    url = urlsplit(first)
    try:
        port = url.port
    except ValueError:  # several servers, with a port each
        port = None
    return {
        "transport": url.scheme,
        "hostname": url.hostname,
        "port": port,
        "userid": url.username,
        "virtual_host": url.path.removeprefix("/") or "/",
        "ssl": url.scheme.endswith("s") and url.scheme != "kombu+sqs",
        "connect_timeout": settings.broker_connection_timeout,
        "transport_options": jsonable(masked("", settings.broker_transport_options)),
        "heartbeat": None,
        "login_method": None,
        "uri_prefix": None,
        "failover_strategy": settings.broker_failover_strategy,
        "alternates": [hide_password(other) for other in others],
        "insist": False,
    }


_RUSAGE = (
    *("utime", "stime", "maxrss", "ixrss", "idrss", "isrss", "minflt", "majflt", "nswap"),
    *("inblock", "oublock", "msgsnd", "msgrcv", "nsignals", "nvcsw", "nivcsw"),
)


def _resources() -> dict[str, Any]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {name: getattr(usage, f"ru_{name}") for name in _RUSAGE}


def memdump(state: WorkerState, samples: int = 10) -> Any:
    """Resident memory now, as the kernel counts it."""
    children = {str(pid): _resident(pid) for pid in state.pool.pids()}
    mine = _resident(os.getpid())
    return {
        "rss": {"worker": mine, "processes": children},
        "total": mine + sum(children.values()),
        "unit": "KiB",
    }


def _resident(pid: int) -> int:
    """Resident memory in KiB; 0 if the process has just ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024
