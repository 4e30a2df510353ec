"""Telling events from blocking code: what a program or a task has to tell by itself."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from taskq.events.event import Event, event_notice, events_channel, make_event
from taskq.exceptions import ImproperlyConfigured, OperationalError
from taskq.message import origin

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.brokers.notices import Notice
    from taskq.message import TaskMessage

logger = logging.getLogger("taskq.events")


class EventDispatcher:
    """Tells events at once.  Nobody waits for them: what cannot be told is lost.

    Args:
        app: whose events.
        hostname: who tells them; this process by default.
        enabled: whether to tell them at all.
    """

    def __init__(self, app: TaskQ, hostname: str | None = None, enabled: bool = True) -> None:
        self._app = app
        self.hostname = hostname or origin()
        self.enabled = enabled

    def enable(self) -> None:
        """Tell events from now on."""
        self.enabled = True

    def disable(self) -> None:
        """Tell none from now on."""
        self.enabled = False

    def send(self, type: str, **fields: Any) -> bool:
        """Tell one event.

        Args:
            type: such as ``task-progress``.
            fields: what is to be told, fit for JSON.

        Returns:
            Whether it was told.  The broker may be away, which is no error.

        Raises:
            ImproperlyConfigured: the broker cannot tell anything to everybody.
        """
        if not self.enabled:
            return False
        event = make_event(type, self.hostname, self._app.clock.forward(), fields)
        return self._tell([event])

    def sent(self, messages: Sequence[TaskMessage]) -> None:
        """Tell that tasks have been sent: ``task-sent``."""
        if not self.enabled or not messages:
            return
        clock = self._app.clock
        try:
            self._tell(
                [make_event("task-sent", self.hostname, clock.forward(), sent_fields(message))
                 for message in messages]
            )  # fmt: skip
        except ImproperlyConfigured as exc:
            # Whoever calls a task has asked for no event; one line says why there are none.
            logger.warning("task_send_sent_event: %s", exc)
            self.enabled = False

    async def asent(self, messages: Sequence[TaskMessage]) -> None:
        """`sent` for code on an event loop."""
        # asyncio is imported by those who use it: it doubles the time to import taskq.
        import asyncio

        await asyncio.to_thread(self.sent, messages)

    def _tell(self, events: Sequence[Event]) -> bool:
        try:
            self._app.broker.broadcast([self._notice(events)])
        except OperationalError as exc:
            logger.debug("events are lost: %s", exc)
            return False
        return True

    def _notice(self, events: Sequence[Event]) -> Notice:
        return event_notice(events_channel(self._app.conf), self.hostname, events)

    # It holds no connection of its own.

    def close(self) -> None:
        """For Celery's sake: there is nothing to close."""

    def __enter__(self) -> EventDispatcher:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def sent_fields(message: TaskMessage) -> dict[str, Any]:
    """What ``task-sent`` tells of a message."""
    headers = message.headers
    return {
        "uuid": message.id,
        "root_id": headers.get("root_id"),
        "parent_id": headers.get("parent_id"),
        "name": message.task,
        "args": headers.get("argsrepr"),
        "kwargs": headers.get("kwargsrepr"),
        "retries": headers.get("retries") or 0,
        "eta": headers.get("eta"),
        "expires": headers.get("expires"),
        "queue": message.routing_key if not message.exchange else None,
        "exchange": message.exchange,
        "routing_key": message.routing_key,
    }
