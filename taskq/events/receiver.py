"""Listening to events."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from taskq.brokers.notices import Notice
from taskq.events.event import Event, events_channel, read_events
from taskq.exceptions import DecodeError, ImproperlyConfigured, OperationalError
from taskq.message import new_id

if TYPE_CHECKING:
    from taskq.app import TaskQ

logger = logging.getLogger("taskq.events")

Handler = Callable[[Event], Any]

_PAUSE = 1.0
"""Seconds after which a broker that is away is asked again."""
_STEP = 1.0
"""Seconds after which `EventReceiver.should_stop` is looked at."""


class EventReceiver:
    """Hears events, and hands each to a handler.

        receiver = app.events.Receiver(handlers={"task-failed": tell_somebody})
        receiver.capture()

    Args:
        connection: accepted for Celery's sake.
        handlers: functions by the type of event; ``*`` stands for all other types.
        routing_key: which events, by a pattern of their types with dots, such as ``task.#``.
        node_id: names the listener; no two may have the same name.
        app: whose events.
        more: accepted for Celery's sake.

    Attributes:
        should_stop: set it to end `capture` within a second.
    """

    def __init__(
        self,
        connection: Any = None,
        handlers: Mapping[str, Handler] | None = None,
        routing_key: str = "#",
        node_id: str | None = None,
        app: TaskQ | None = None,
        **more: Any,
    ) -> None:
        if app is None:
            raise ImproperlyConfigured("which app's events? app.events.Receiver(...) names it")
        self._app = app
        self.handlers: Mapping[str, Handler] = {} if handlers is None else handlers
        self.routing_key = routing_key
        self.node_id = node_id or new_id()
        self.should_stop = False

    def process(self, type: str, event: Event) -> None:
        """Hand an event to its handler."""
        handler = self.handlers.get(type) or self.handlers.get("*")
        if handler is not None:
            handler(event)

    def capture(
        self, limit: int | None = None, timeout: float | None = None, wakeup: bool = True
    ) -> None:
        """Hear events and hand them to their handlers.

        A broker that goes away is waited for, and what is told meanwhile is missed.

        Args:
            limit: events after which to return.
            timeout: seconds without an event after which to give up.
            wakeup: have workers tell at once that they are there.

        Raises:
            TimeoutError: there was no event for so long.
            ImproperlyConfigured: the broker has no events.
            OperationalError: the broker cannot be reached at the beginning.
        """
        for event in self.itercapture(limit, timeout, wakeup):
            self.process(event["type"], event)

    def itercapture(
        self, limit: int | None = None, timeout: float | None = None, wakeup: bool = True
    ) -> Iterator[Event]:
        """`capture` as an iterator: the caller gets each event, and handlers none."""
        conf, count = self._app.conf, 0
        channel = events_channel(conf)
        name = f"{conf.event_queue_prefix}.{self.node_id}"
        with self._app.broker.subscribe(channel, [self.routing_key], name=name) as subscription:
            if wakeup:
                self.wakeup_workers()
            last = time.monotonic()
            while not self.should_stop and (limit is None or count < limit):
                left = _STEP if timeout is None else last + timeout - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"no event for {timeout:g} seconds")
                try:
                    notices = subscription.receive(min(left, _STEP))
                except OperationalError as exc:
                    logger.warning("events are missed until the broker is back: %s", exc)
                    time.sleep(_PAUSE)
                    continue
                for event in self._events(notices):
                    last = time.monotonic()
                    count += 1
                    yield event
                    if count == limit:
                        return

    async def aitercapture(self, wakeup: bool = True) -> AsyncIterator[Event]:
        """Events for code on an event loop, until the loop over them is left."""
        # asyncio is imported by those who use it: it doubles the time to import taskq.
        import asyncio

        conf = self._app.conf
        subscription = await self._app.broker.asubscribe(
            events_channel(conf),
            [self.routing_key],
            name=f"{conf.event_queue_prefix}.{self.node_id}",
        )
        async with subscription:
            if wakeup:
                await asyncio.to_thread(self.wakeup_workers)
            while not self.should_stop:
                try:
                    notices = await subscription.receive()
                except OperationalError as exc:
                    logger.warning("events are missed until the broker is back: %s", exc)
                    await asyncio.sleep(_PAUSE)
                    continue
                for event in self._events(notices):
                    yield event

    def wakeup_workers(self) -> None:
        """Have workers tell at once that they are there."""
        try:
            self._app.control.heartbeat()
        except (OperationalError, ImproperlyConfigured) as exc:
            logger.debug("workers cannot be asked for a heartbeat: %s", exc)

    def _events(self, notices: list[Notice]) -> Iterator[Event]:
        for notice in notices:
            try:
                events = read_events(notice)
            except DecodeError as exc:
                logger.warning("something is left alone that is no event: %s", exc)
                continue
            for event in events:
                yield self._received(event)

    def _received(self, event: Event) -> Event:
        """An event with what this side adds to it."""
        clock = self._app.clock
        if event["type"] == "task-sent":
            # A caller hears of no other clock: its own orders nothing.
            event["clock"] = max(clock.value - 1, 0)
        elif "clock" in event:
            clock.adjust(event["clock"])
        else:
            event["clock"] = clock.forward()
        event["local_received"] = time.time()
        return event
