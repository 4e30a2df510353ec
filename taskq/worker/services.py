"""The services of one worker: started in order, stopped in reverse."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from taskq.exceptions import ServiceError, TaskQError
from taskq.services import Service, installed_service

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.worker.service import Worker

logger = logging.getLogger("taskq.worker")

STOP_TIMEOUT = 10.0
"""Seconds that one service has to stop."""


class ServiceGroup:
    """Starts and stops services.

    Args:
        services: the services, in the order in which they start.
    """

    def __init__(self, services: Sequence[Service]) -> None:
        self._services = services
        self._started: list[Service] = []

    async def start(self, worker: Worker) -> None:
        """Start all of them; if one cannot, stop those that have started.

        Raises:
            ServiceError: one has raised something.
            TaskQError: one has raised that.
        """
        for service in self._services:
            try:
                await service.start(worker)
            except Exception as exc:
                await self.stop()
                if isinstance(exc, TaskQError):
                    raise
                logger.critical("service %s cannot start", service.name, exc_info=exc)
                raise ServiceError(
                    f"service {service.name} cannot start: {type(exc).__name__}: {exc}"
                ) from exc
            self._started.append(service)

    def runs(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """What runs while the worker works, by a name of each."""
        for number, service in enumerate(self._started):
            if type(service).run is not Service.run:
                # Two services may have one name.
                yield f"service {service.name} ({number})", service.run()

    async def stop(self) -> None:
        """Stop all that have started, the last one first."""
        while self._started:
            service = self._started.pop()
            try:
                async with asyncio.timeout(STOP_TIMEOUT):
                    await service.stop()
            except TimeoutError:
                logger.error("service %s has not stopped in %g s", service.name, STOP_TIMEOUT)
            except Exception:
                logger.exception("service %s has not stopped in order", service.name)


class Running(Service):
    """Something that runs beside the worker and has no start and no end.

    Args:
        name: what to call it.
        function: gives the coroutine.
    """

    def __init__(self, name: str, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.name = name
        self._function = function

    async def run(self) -> None:  # noqa: D102
        await self._function()


def services_of(
    app: TaskQ, running: Mapping[str, Callable[[], Coroutine[Any, Any, None]]]
) -> list[Service]:
    """The services of a worker: those of the settings, of the app's code, and others.

    Raises:
        ImproperlyConfigured: a setting names one that is not there.
    """
    named = [installed_service(name) for name in app.conf.worker_services]
    return [*named, *app.services, *(Running(name, f) for name, f in running.items())]
