"""The relay as a part of every worker of the project."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from taskq.contrib.django.outbox.relay import Relay
from taskq.services import Service

if TYPE_CHECKING:
    from taskq.worker.service import Worker


class RelayService(Service):
    """Runs a relay on a thread of its own, if the project has an outbox."""

    name = "outbox"

    async def start(self, worker: Worker) -> None:
        """See that there is an outbox, before the worker works."""
        self._relay = Relay(worker.app) if worker.app.conf.outbox else None
        if self._relay is not None:
            await asyncio.to_thread(_checked, self._relay)

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


def _checked(relay: Relay) -> None:
    from django.db import connections

    try:
        relay.check()
    finally:
        connections.close_all()
