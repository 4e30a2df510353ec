"""``taskq migrate``: moves messages from one broker to another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click
import msgspec

from taskq.cli.command import Command
from taskq.cli.output import amount
from taskq.cli.session import Session, pass_session
from taskq.cli.types import names

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.brokers.base import Broker, Delivery
    from taskq.message import TaskMessage
    from taskq.routing import Queue

_BATCH = 256
_PATIENCE = 1.0
"""Seconds without a message, after which queues that look empty are."""


@click.command("migrate", cls=Command)
@click.argument("source")
@click.argument("destination")
@click.option("-n", "--limit", type=click.IntRange(min=1), metavar="N", help="Move no more.")
@click.option(
    "-Q", "--queues", type=names, metavar="A,B", help="Only these queues, in place of all."
)
@click.option("-F", "--forever", is_flag=True, help="Go on, with what comes later, until Ctrl-C.")
@pass_session
def migrate(
    session: Session,
    /,
    source: str,
    destination: str,
    limit: int | None,
    queues: tuple[str, ...] | None,
    forever: bool,
) -> None:
    """Move what waits from the broker SOURCE to the broker DESTINATION, both URLs.

    A message is deleted when the other broker has it: one that is interrupted in between is there
    twice, and none is lost. Messages that are not due yet, and dead letters, stay where they are.
    """
    from taskq.brokers.registry import make_broker

    app = session.any_app()
    there, here = make_broker(source, app.conf), make_broker(destination, app.conf)
    try:
        wanted = queues or sorted({*there.queues(), *(queue.name for queue in app.queues())})
        moving = _Moving(app, there, here, [app.router.queue(name) for name in wanted])
        try:
            moved = asyncio.run(moving.run(limit, forever))
        except KeyboardInterrupt:
            moved = moving.moved
        if not session.quiet:
            click.echo(f"moved {amount(moved, 'message')} of {', '.join(wanted)}")
        for name, count in moving.left():
            click.echo(f"{name}: {amount(count, 'message')} not due yet left behind", err=True)
    finally:
        there.close()
        here.close()


class _Moving:
    """Moves messages.

    Args:
        app: whose settings hold for both brokers.
        source: from where.
        destination: to where.
        queues: what is moved.
    """

    def __init__(
        self, app: TaskQ, source: Broker, destination: Broker, queues: Sequence[Queue]
    ) -> None:
        self._app = app
        self._source = source
        self._destination = destination
        self._queues = queues
        self.moved = 0

    async def run(self, limit: int | None, forever: bool) -> int:
        """Move messages until there are none, or so many have been moved.

        Returns:
            How many were moved.
        """
        from taskq.backends.registry import make_backend
        from taskq.brokers.base import Fate, Settlement

        for broker in (self._source, self._destination):
            await asyncio.to_thread(broker.declare, self._queues)
        conf = self._app.conf
        nothing = make_backend("disabled://", conf)
        consumer = self._source.consumer(self._queues, lease=conf.broker_lease, backend=nothing)
        async with consumer:
            while limit is None or self.moved < limit:
                room = _BATCH if limit is None else min(_BATCH, limit - self.moved)
                try:
                    async with asyncio.timeout(_PATIENCE):
                        deliveries = await consumer.receive(room)
                except TimeoutError:
                    if not forever and not await asyncio.to_thread(self._ready):
                        break
                    continue
                # In this order: what is interrupted is there twice, and not lost.
                await self._destination.apublish([_readdressed(one) for one in deliveries])
                await consumer.settle([Settlement(one, Fate.DONE) for one in deliveries])
                self.moved += len(deliveries)
        return self.moved

    def _ready(self) -> bool:
        return any(self._source.depth(queue.name).ready for queue in self._queues)

    def left(self) -> Iterator[tuple[str, int]]:
        """How many messages are not due yet, by queue."""
        for queue in self._queues:
            if count := self._source.depth(queue.name).delayed:
                yield queue.name, count


def _readdressed(delivery: Delivery) -> TaskMessage:
    """A message for the queue in which it lay, whatever had routed it there."""
    message = delivery.message
    retries = message.headers.get("retries") or 0
    return msgspec.structs.replace(
        message,
        exchange="",
        routing_key=delivery.queue,
        # Brokers that know such keys drop the second one of a message that is moved twice.
        once=message.once or f"migrate:{delivery.queue}:{message.id}:{retries}",
    )
