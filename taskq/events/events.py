"""``app.events``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from taskq.events.receiver import EventReceiver, Handler
from taskq.events.sender import EventDispatcher
from taskq.events.state import State as EventState

if TYPE_CHECKING:
    from taskq.app import TaskQ


class Events:
    """What `TaskQ.events` offers.

    Args:
        app: whose events.
    """

    def __init__(self, app: TaskQ) -> None:
        self._app = app

    def Receiver(  # noqa: N802 - Celery's name
        self,
        connection: Any = None,
        handlers: Mapping[str, Handler] | None = None,
        routing_key: str = "#",
        node_id: str | None = None,
        **more: Any,
    ) -> EventReceiver:
        """A listener; see `EventReceiver`."""
        return EventReceiver(connection, handlers, routing_key, node_id, self._app, **more)

    def State(self, *args: Any, **options: Any) -> EventState:  # noqa: N802 - Celery's name
        """What is known of workers and tasks by their events; see `taskq.events.State`."""
        return EventState(*args, **options)

    def Dispatcher(  # noqa: N802 - Celery's name
        self,
        connection: Any = None,
        hostname: str | None = None,
        enabled: bool = True,
        **more: Any,
    ) -> EventDispatcher:
        """Tells events; see `EventDispatcher`."""
        return EventDispatcher(self._app, hostname, enabled)

    @cached_property
    def dispatcher(self) -> EventDispatcher:
        """Tells events of this process."""
        return EventDispatcher(self._app)

    @contextmanager
    def default_dispatcher(
        self, hostname: str | None = None, enabled: bool = True, **more: Any
    ) -> Iterator[EventDispatcher]:
        """A dispatcher for the length of a block, as Celery's programs ask for it."""
        yield EventDispatcher(self._app, hostname, enabled)

    def send(self, type: str, hostname: str | None = None, **fields: Any) -> bool:
        """Tell one event; see `EventDispatcher.send`."""
        if hostname is None:
            return self.dispatcher.send(type, **fields)
        return EventDispatcher(self._app, hostname).send(type, **fields)
