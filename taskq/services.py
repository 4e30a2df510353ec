"""Services: what starts and stops with a worker.

    @app.service
    async def connection_pool(worker):
        pool = await connect()
        yield                        # the worker works
        await pool.close()

They run in the worker's own process, on its event loop, and not in the processes that run tasks.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from taskq.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from taskq.worker.service import Worker

ENTRY_POINTS = "taskq.services"
"""Third parties offer a service under this group: name = "module:Service"."""

Span = Callable[["Worker"], AsyncIterator[Any]]
Loop = Callable[["Worker"], Coroutine[Any, Any, None]]
T = TypeVar("T")


class Service:
    """Override what you need.

    Attributes:
        name: what the log calls it; the name of the class by default.
    """

    name = ""

    async def start(self, worker: Worker) -> None:
        """Called before the worker takes its first message.

        What it raises keeps the worker from starting.

        Args:
            worker: has `app`, `hostname`, `queues` and `stop`.
        """

    async def run(self) -> None:
        """Runs while the worker works, and is cancelled when it is to stop.

        It may return earlier.  What it raises ends the worker.
        """

    async def stop(self) -> None:
        """Called when nothing runs any more and all is written, in the reverse order of starts.

        What it raises is logged.
        """


class _SpanService(Service):
    """An asynchronous generator: what stands before its ``yield`` starts, the rest stops."""

    def __init__(self, name: str, function: Span) -> None:
        self.name = name
        self._open = asynccontextmanager(function)
        self._span: AbstractAsyncContextManager[Any] | None = None

    async def start(self, worker: Worker) -> None:
        self._span = self._open(worker)
        await self._span.__aenter__()

    async def stop(self) -> None:
        if self._span is not None:
            await self._span.__aexit__(None, None, None)


class _LoopService(Service):
    """A coroutine function that runs until it is cancelled."""

    def __init__(self, name: str, function: Loop) -> None:
        self.name = name
        self._function = function

    async def start(self, worker: Worker) -> None:
        self._worker = worker

    async def run(self) -> None:
        await self._function(self._worker)


def make_service(source: Any, name: str = "") -> Service:
    """A service for one worker.

    Args:
        source: a `Service` or a class of such; an ``async def`` function of a worker, with one
            ``yield`` in it or without.
        name: what to call it, if it has no name.

    Raises:
        ImproperlyConfigured: it is none of these.
    """
    if isinstance(source, type) and issubclass(source, Service):
        source = source()
    if isinstance(source, Service):
        source.name = source.name or name or type(source).__name__
        return source
    name = name or getattr(source, "__name__", "")
    if inspect.isasyncgenfunction(source):
        return _SpanService(name, source)
    if inspect.iscoroutinefunction(source):
        return _LoopService(name, source)
    raise ImproperlyConfigured(
        f"{source!r} is no service: give a subclass of taskq.services.Service, or an async def "
        "function that takes the worker"
    )


class Services:
    """The services that an app's code has: `TaskQ.services`."""

    def __init__(self) -> None:
        self._sources: list[Any] = []

    def add(self, source: T) -> T:
        """Have every worker of the app start and stop this.

        Args:
            source: a `Service`, or a class of such of which each worker makes its own; an
                ``async def`` function of a worker: with one ``yield`` in it, before which it
                starts and after which it stops, or without one, to be cancelled in the end.

        Returns:
            The same, so that it can decorate.

        Raises:
            ImproperlyConfigured: it is none of these.
        """
        make_service(source) if not isinstance(source, type) else _check_class(source)
        self._sources.append(source)
        return source

    def __iter__(self) -> Iterator[Service]:
        """New ones for a worker."""
        return map(make_service, self._sources)

    def __len__(self) -> int:
        return len(self._sources)


def _check_class(source: type) -> None:
    if not issubclass(source, Service):
        raise ImproperlyConfigured(f"{source!r} is no subclass of taskq.services.Service")


def installed_service(name: str) -> Service:
    """A service that a package offers, or that a setting names.

    Args:
        name: an entry point of the group `ENTRY_POINTS`, or ``module:Class``.

    Raises:
        ImproperlyConfigured: there is none, or it is no service.
    """
    # importlib.metadata is slow to import, and only who names services needs it.
    from importlib.metadata import EntryPoint, entry_points

    found = list(entry_points(group=ENTRY_POINTS, name=name))
    if not found and ":" not in name:
        known = ", ".join(sorted(entry_points(group=ENTRY_POINTS).names)) or "none"
        raise ImproperlyConfigured(
            f"worker_services: there is no service {name!r}. Installed packages offer: {known}; "
            "one of your own is named as module:Class"
        )
    entry = found[0] if found else EntryPoint(name, name, ENTRY_POINTS)
    try:
        source = entry.load()
    except (ImportError, AttributeError) as exc:
        raise ImproperlyConfigured(
            f"worker_services: {entry.value} cannot be loaded: {exc}"
        ) from exc
    return make_service(source, name.partition(":")[2] or name)
