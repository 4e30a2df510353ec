"""A `Link` by py-amqp."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import amqp
from amqp import spec
from amqp.exceptions import AMQPError

from taskq.exceptions import OperationalError
from taskq.stores.amqp.links import ChannelError, Link, Step
from taskq.stores.amqp.parcels import Arrival
from taskq.stores.amqp.pyamqp.connection import (
    LOST,
    Connection,
    connect,
    hang_up,
    open_channel,
    said,
)
from taskq.stores.amqp.pyamqp.translation import run_step, to_arrival


class PyAmqpLink(Link):
    """A `Link` by py-amqp."""

    _connection: Connection | None = None
    _channel: Any = None

    def open(self) -> None:
        # Heartbeats need somebody who sends them while nothing is published; what is written
        # and not confirmed in time shows as well that nobody is there.
        self._connection, self._channel = connect(self.address, 0)
        self._connection.on_blocked = self._on_blocked
        self._connection.on_unblocked = lambda: self._on_blocked(None)
        self._open_channel(self._channel)

    def _on_blocked(self, reason: str | None) -> None:
        self.blocked = reason

    def _open_channel(self, channel: Any) -> None:
        with self._watched():
            channel.confirm_select()
            confirms = self.confirms = type(self.confirms)()
            channel.events["basic_ack"].add(confirms.on_ack)
            channel.events["basic_nack"].add(confirms.on_nack)
            channel.events["basic_return"].add(self._on_return)

    def _on_return(self, error: AMQPError, exchange: str, key: str, message: Any) -> None:
        self.confirms.on_return(message.properties.get("message_id"), said(error))

    def close(self) -> None:
        hang_up(self._connection)
        self._connection = self._channel = None

    @property
    def alive(self) -> bool:
        return self._connection is not None and bool(self._connection.connected)

    @contextmanager
    def _watched(self) -> Any:
        """Translate py-amqp's errors; a closed channel is opened again."""
        try:
            yield self._channel
        except amqp.exceptions.ChannelError as exc:
            self._reopen()
            raise ChannelError(exc.reply_code or 0, exc.reply_text or "") from exc
        except LOST as exc:
            self.close()
            raise OperationalError(f"the connection to RabbitMQ was lost: {said(exc)}") from exc

    def _reopen(self) -> None:
        if self._connection is not None:
            try:
                self._channel = open_channel(self._connection)
            except LOST:
                self.close()
            else:
                self._open_channel(self._channel)

    def run(self, step: Step) -> None:
        with self._watched() as channel:
            run_step(channel, step)

    def size(self, queue: str) -> int:
        with self._watched() as channel:
            return int(channel.queue_declare(queue, passive=True).message_count)

    def purge(self, queue: str) -> int:
        with self._watched() as channel:
            return int(channel.queue_purge(queue))

    def delete(self, queue: str) -> None:
        with self._watched() as channel:
            channel.queue_delete(queue)

    def get(self, queue: str) -> Arrival | None:
        with self._watched() as channel:
            message = channel.basic_get(queue)
            return None if message is None else to_arrival(message, queue)

    def ack(self, tag: int) -> None:
        with self._watched() as channel:
            channel.basic_ack(tag)

    def give_back(self, queue: str) -> None:
        with self._watched() as channel:
            channel.send_method(spec.Basic.Nack, "Lbb", (0, True, True))
        self.size(queue)  # an answer of the queue's comes after what it gets back

    @property
    def channel(self) -> tuple[int, int]:
        with self._watched() as channel:
            return channel.channel_id, channel.connection.frame_max

    def write(self, data: bytes) -> None:
        with self._watched() as channel:
            channel.connection.transport.write(data)

    def pump(self, timeout: float) -> None:
        with self._watched():
            assert self._connection is not None
            try:
                self._connection.drain_events(timeout=timeout)
                while self._connection.unread:
                    self._connection.drain_events(timeout=0)
            except TimeoutError:
                pass
