"""The relay as a part of every worker of the project."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from django.db import connections

from taskq.contrib.django.outbox.relay import Relay
from taskq.services import Service

if TYPE_CHECKING:
    from taskq.worker.service import Worker


class RelayService(Service):
    """Runs a relay on a thread of its own, if the project has an outbox."""

    name = "outbox"

    async def start(self, worker: Worker) -> None:
        """See that there is an outbox, before the worker works."""
        self._relay: Relay | None = None
        if worker.app.conf.outbox:
            relay = Relay(worker.app)
            # That of a test, in whose thread alone anything is to be seen of it.
            if not _in_memory(connections[relay.alias]):
                await asyncio.to_thread(_checked, relay)
                self._relay = relay

    async def run(self) -> None:
        """Publish what lies in the outbox."""
        if self._relay is None:
            return
        running = asyncio.create_task(asyncio.to_thread(self._relay.run))
        try:
            await asyncio.shield(running)
        finally:
            self._relay.stop()
            await asyncio.wait([running])


def _in_memory(connection: Any) -> bool:
    return connection.vendor == "sqlite" and bool(connection.is_in_memory_db())


def _checked(relay: Relay) -> None:
    try:
        relay.check()
    finally:
        connections.close_all()
