"""The commands that steer a worker; `taskq.control.commands` says what they are called."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from signal import Signals
from typing import TYPE_CHECKING, Any

from taskq.control.stamps import stamp_keys
from taskq.exceptions import ImproperlyConfigured
from taskq.worker.control.arguments import text, texts

if TYPE_CHECKING:
    from taskq.worker.control.state import WorkerState

logger = logging.getLogger("taskq.worker")


def ok(text: str) -> dict[str, str]:
    """A reply that all is well."""
    return {"ok": text}


# Queues


async def add_consumer(
    state: WorkerState,
    queue: str,
    exchange: str | None = None,
    exchange_type: str | None = None,
    routing_key: str | None = None,
    **options: Any,
) -> Any:
    text("queue", queue)
    added = await state.consuming.add(queue, exchange, exchange_type, routing_key, options)
    state.pauses.look_soon()
    return ok(f"add consumer {queue}" if added else f"already consuming from {queue}")


async def cancel_consumer(state: WorkerState, queue: str) -> Any:
    if not await state.consuming.cancel(text("queue", queue)):
        raise ImproperlyConfigured(
            f"does not consume queue {queue!r}, but {', '.join(state.consuming.names()) or 'none'}"
        )
    return ok(f"no longer consuming from {queue}")


def look_at_pauses(state: WorkerState) -> Any:
    state.pauses.look_soon()
    return ok("looks")


# Tasks


async def revoke(
    state: WorkerState,
    task_id: str | Sequence[str],
    terminate: bool = False,
    signal: str | None = None,
) -> Any:
    ids = texts("task_id", task_id)
    await _revoke(state, ids, terminate, signal)
    if terminate:
        return ok(f"terminate: tasks {', '.join(ids)}")
    return ok(f"tasks {', '.join(ids)} flagged as revoked")


async def terminate(state: WorkerState, signal: str | None, task_id: str | Sequence[str]) -> Any:
    return await revoke(state, task_id, True, signal)


async def revoke_by_stamped_headers(
    state: WorkerState,
    headers: Mapping[str, Any] | Iterable[str],
    terminate: bool = False,
    signal: str | None = None,
) -> Any:
    named = _named(headers)
    await _revoke(state, stamp_keys(named), terminate, signal)
    return ok(f"headers {named} flagged as revoked")


def _named(headers: Mapping[str, Any] | Iterable[str]) -> dict[str, Any]:
    """Stamps by name; as a command line gives them they are ``name=value``."""
    if isinstance(headers, Mapping):
        return {str(name): value for name, value in headers.items()}
    named: dict[str, list[str]] = {}
    for item in texts("headers", headers):
        name, equals, value = item.partition("=")
        if not equals:
            raise ImproperlyConfigured(f"{item!r} is no stamp: write name=value")
        named.setdefault(name, []).append(value)
    return named


async def _revoke(
    state: WorkerState, keys: Sequence[str], terminate: bool, signal: str | None
) -> None:
    name = _signal_name(signal or "SIGTERM")
    expires = state.app.conf.worker_revoke_expires
    await asyncio.to_thread(state.app.broker.revoke, keys, expires, name if terminate else "")


def _signal_name(signal: str | int) -> str:
    text = str(signal).upper()
    if text.isdigit():
        try:
            return Signals(int(text)).name
        except ValueError:
            raise ImproperlyConfigured(f"signal={signal!r}: there is none of that number") from None
    name = text if text.startswith("SIG") else f"SIG{text}"
    if name not in Signals.__members__:
        raise ImproperlyConfigured(f"signal={signal!r}: there is none; SIGTERM is one")
    return name


def time_limit(state: WorkerState, task_name: str, hard: Any = None, soft: Any = None) -> Any:
    if text("task_name", task_name) not in state.app.tasks:
        raise ImproperlyConfigured(str(state.app.tasks.unknown(task_name)))
    hard, soft = _seconds("hard", hard), _seconds("soft", soft)
    if hard and soft and soft >= hard:
        raise ImproperlyConfigured(f"soft={soft:g}: it must be below hard={hard:g}")
    task = state.app.tasks[task_name]
    task.time_limit, task.soft_time_limit = hard, soft
    logger.warning("time limits of %s: soft=%s hard=%s", task_name, soft, hard)
    return ok("time limits set successfully")


def _seconds(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ImproperlyConfigured(f"{name}={value!r} is no number of seconds")
    return float(value) or None


# Events


def enable_events(state: WorkerState) -> Any:
    if not state.events.enable():
        return ok("task events already enabled")
    logger.info("events are enabled by remote control")
    return ok("task events enabled")


def disable_events(state: WorkerState) -> Any:
    if not state.events.disable():
        return ok("task events already disabled")
    logger.info("events are disabled by remote control")
    return ok("task events disabled")


def heartbeat(state: WorkerState) -> Any:
    return ok("heartbeat sent" if state.events.heartbeat() else "events are disabled")


# The pool, and the worker


def pool_grow(state: WorkerState, n: Any = 1) -> Any:
    state.pool.grow(_count("n", n))
    return ok("pool will grow")


def pool_shrink(state: WorkerState, n: Any = 1) -> Any:
    state.pool.shrink(_count("n", n))
    return ok("pool will shrink")


def pool_restart(
    state: WorkerState, modules: Any = None, reload: bool = False, reloader: Any = None
) -> Any:
    if modules or reload:
        raise ImproperlyConfigured(
            "the pool's processes are copies of one that has the app loaded, and cannot load "
            "modules anew: restart the worker"
        )
    state.pool.restart()
    return ok("reload started")


def autoscale(state: WorkerState, max: Any = None, min: Any = None) -> Any:
    if state.autoscaler is None:
        raise ImproperlyConfigured(
            "this worker does not scale itself: start it with --autoscale, or use pool_grow and "
            "pool_shrink"
        )
    bounds = state.autoscaler.update(
        None if max is None else _count("max", max), None if min is None else _count("min", min)
    )
    return ok(f"autoscale now max={bounds.maximum} min={bounds.minimum}")


def rate_limit(state: WorkerState, task_name: str, rate_limit: Any) -> Any:
    rates = state.dispatcher.rates
    if rates is None or state.app.conf.worker_disable_rate_limits:
        raise ImproperlyConfigured("rate limits are off: worker_disable_rate_limits is set")
    if rates.set(text("task_name", task_name), rate_limit) is None:
        logger.warning("rate limit of %s: none", task_name)
        return ok("rate limit disabled successfully")
    logger.warning("rate limit of %s: %s", task_name, rate_limit)
    return ok("new rate limit set successfully")


def shutdown(state: WorkerState, msg: str = "") -> Any:
    logger.warning("remote control asks for a shutdown%s", f": {msg}" if msg else "")
    state.stop()
    return ok("shutting down")


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ImproperlyConfigured(f"{name}={value!r}: a number from 1 on is needed")
    return value
