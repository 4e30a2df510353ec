"""Publishing: one call to the broker for all that is to be sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from taskq import signals
from taskq.exceptions import OperationalError
from taskq.message import TaskMessage
from taskq.middleware import MiddlewareStack
from taskq.producer.building import MessageBuilder

if TYPE_CHECKING:
    from taskq.backends.base import Backend
    from taskq.brokers.base import Broker
    from taskq.events import EventDispatcher
    from taskq.routing import Router
    from taskq.serialization import SerializerRegistry
    from taskq.settings import Settings

_POLICY = {"max_retries": 3, "interval_start": 0.0, "interval_step": 0.2, "interval_max": 1.0}
"""What a retry policy says that leaves something out."""


class Producer(MessageBuilder):
    """Builds messages by the app's settings, and publishes them.

    Args:
        conf: the app's settings.
        serializers: the app's serializers.
        router: decides where a call goes.
        broker: gives the broker; asked only when something is published.
        events: gives what tells that tasks were sent, where the settings ask for that.
        middleware: the app's.
        replies: gives the result store, if that sends results to addresses.
    """

    def __init__(
        self,
        conf: Settings,
        serializers: SerializerRegistry,
        router: Router,
        broker: Callable[[], Broker],
        events: Callable[[], EventDispatcher] | None = None,
        middleware: MiddlewareStack | None = None,
        replies: Callable[[], Backend] | None = None,
    ) -> None:
        super().__init__(conf, serializers, router, replies)
        self._broker = broker
        self._events = events
        self._middleware = middleware or MiddlewareStack()
        self._declared: set[str] = {""}

    def publish(
        self,
        messages: Sequence[TaskMessage],
        retry: bool | None = None,
        policy: Mapping[str, float] | None = None,
    ) -> None:
        """Publish in one round trip, again if the broker is away, within the policy's time.

        Raises:
            OperationalError: the broker could not be reached, or refused them.
        """
        if not self._middleware.publishing:
            self._publish(messages, retry, policy)
            return
        self._middleware.publish(messages, lambda found: self._publish(found, retry, policy))

    def _publish(
        self,
        messages: Sequence[TaskMessage],
        retry: bool | None,
        policy: Mapping[str, float] | None,
    ) -> None:
        self.announce(messages)
        self.deliver(messages, retry, policy)

    def deliver(
        self,
        messages: Sequence[TaskMessage],
        retry: bool | None = None,
        policy: Mapping[str, float] | None = None,
    ) -> None:
        """Publish what has been announced already, past all middleware.

        Raises:
            OperationalError: the broker could not be reached, or refused them.
        """
        pauses = self._pauses(retry, policy)
        while True:
            try:
                broker = self._broker()
                self._declare(broker, messages)
                if (replies := self._replies) is not None:
                    replies().expect()
                broker.publish(messages)
                break
            except OperationalError as exc:
                pause = next(pauses, None)
                if pause is None:
                    raise _give_up(exc, messages) from exc
                time.sleep(pause)
        _announce_after(messages)
        if self._conf.task_send_sent_event and self._events is not None:
            self._events().sent(messages)

    async def apublish(
        self,
        messages: Sequence[TaskMessage],
        retry: bool | None = None,
        policy: Mapping[str, float] | None = None,
    ) -> None:
        """`publish` for code on an event loop."""
        if not self._middleware.publishing:
            await self._apublish(messages, retry, policy)
            return
        await self._middleware.apublish(
            messages, lambda found: self._apublish(found, retry, policy)
        )

    async def _apublish(
        self,
        messages: Sequence[TaskMessage],
        retry: bool | None,
        policy: Mapping[str, float] | None,
    ) -> None:
        # asyncio is imported by those who use it: it doubles the time to import taskq.
        import asyncio

        self.announce(messages)
        pauses = self._pauses(retry, policy)
        while True:
            try:
                broker = self._broker()
                if any(message.exchange not in self._declared for message in messages):
                    await asyncio.to_thread(self._declare, broker, messages)
                if (replies := self._replies) is not None:
                    await replies().aexpect()
                await broker.apublish(messages)
                break
            except OperationalError as exc:
                pause = next(pauses, None)
                if pause is None:
                    raise _give_up(exc, messages) from exc
                await asyncio.sleep(pause)
        _announce_after(messages)
        if self._conf.task_send_sent_event and self._events is not None:
            await self._events().asent(messages)

    def announce(self, messages: Sequence[TaskMessage]) -> None:
        """Show messages to middleware and signals before they are sent, in whatever way."""
        for show in self._middleware.messages:
            for message in messages:
                show(message)
        _announce_before(messages)

    def prepare(self, messages: Sequence[TaskMessage]) -> None:
        """What comes before publishing, for those who publish in a step of their own.

        Raises:
            OperationalError: the broker could not be reached.
        """
        self.announce(messages)
        if any(message.exchange not in self._declared for message in messages):
            self._declare(self._broker(), messages)
        if self._replies is not None:
            self._replies().expect()

    def published(self, messages: Sequence[TaskMessage]) -> None:
        """What comes after publishing, for the same."""
        _announce_after(messages)
        if self._conf.task_send_sent_event and self._events is not None:
            self._events().sent(messages)

    def _declare(self, broker: Broker, messages: Sequence[TaskMessage]) -> None:
        """Make the queues of an exchange known before it is first published to."""
        for message in messages:
            name = message.exchange
            if name not in self._declared:
                broker.declare(self._router.bound_to(name))
                self._declared.add(name)

    def _pauses(self, retry: bool | None, policy: Mapping[str, float] | None) -> Any:
        """Seconds to wait before each further attempt."""
        if not (self._conf.task_publish_retry if retry is None else retry):
            return iter(())
        rules = {**_POLICY, **self._conf.task_publish_retry_policy, **(policy or {})}
        return (
            min(rules["interval_start"] + rules["interval_step"] * n, rules["interval_max"])
            for n in range(int(rules["max_retries"] or 0))
        )


def _announce_before(messages: Sequence[TaskMessage]) -> None:
    if not signals.before_task_publish.receivers:
        return
    for message in messages:
        signals.before_task_publish.send(
            message.task,
            body=message.body,
            exchange=message.exchange,
            routing_key=message.routing_key,
            headers=message.headers,
            properties={"priority": message.priority, "reply_to": message.reply_to},
            declare=[],
            retry_policy=None,
        )


def _announce_after(messages: Sequence[TaskMessage]) -> None:
    if not signals.after_task_publish.receivers:
        return
    for message in messages:
        signals.after_task_publish.send(
            message.task,
            body=message.body,
            exchange=message.exchange,
            routing_key=message.routing_key,
            headers=message.headers,
        )


def _give_up(error: OperationalError, messages: Sequence[TaskMessage]) -> OperationalError:
    names = sorted({message.task for message in messages})
    return OperationalError(
        f"cannot send {len(messages)} message(s) of {', '.join(names)}: {error}"
    )
