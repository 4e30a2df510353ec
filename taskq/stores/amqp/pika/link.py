"""A `Link` by pika: its `SelectConnection`, run by hand.

`BlockingConnection` is not used: it waits for the confirm of each message before the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pika
import pika.exceptions
from pika import spec
from pika.adapters.select_connection import IOLoop

from taskq.exceptions import OperationalError
from taskq.stores.amqp.links import ChannelError, Link, Step
from taskq.stores.amqp.nodes import Node
from taskq.stores.amqp.parcels import Arrival
from taskq.stores.amqp.pika.connection import LOST, abort, parameters, said
from taskq.stores.amqp.pika.translation import run_step, to_arrival


class PikaLink(Link):
    """A `Link` by pika."""

    _connection: Any = None
    _channel: Any = None
    _loop: Any = None

    def open(self) -> None:
        problems = []
        for node in self.address.nodes:
            try:
                self._connect(node)
                self._open_channel()
                return
            except OperationalError as exc:
                problems.append(f"{node.host}:{node.port}: {exc}")
                self.close()
        raise OperationalError(f"cannot connect to RabbitMQ at {'; '.join(problems)}")

    def _connect(self, node: Node) -> None:
        self._lost: str | None = None
        self._loop = IOLoop()
        self._loop.activate_poller()
        opened: list[Any] = []
        # Heartbeats need somebody who sends them while nothing is published; what is written
        # and not confirmed in time shows as well that nobody is there.
        self._connection = pika.SelectConnection(
            parameters(self.address, node, 0),
            on_open_callback=opened.append,
            on_open_error_callback=lambda _, exc: self._on_lost(exc),
            on_close_callback=lambda _, exc: self._on_lost(exc),
            custom_ioloop=self._loop,
        )
        self._wait(lambda: bool(opened), self.address.connect_timeout)
        self._connection.add_on_connection_blocked_callback(
            lambda _, frame: self._on_blocked(frame.method.reason)
        )
        self._connection.add_on_connection_unblocked_callback(lambda _, __: self._on_blocked(None))

    def _on_lost(self, exc: BaseException) -> None:
        self._lost = said(exc)

    def _on_blocked(self, reason: str | None) -> None:
        self.blocked = reason

    def _open_channel(self) -> None:
        self._closed: ChannelError | None = None
        opened: list[Any] = []
        self._channel = self._connection.channel(on_open_callback=opened.append)
        self._channel.add_on_close_callback(self._on_channel_closed)
        self._wait(lambda: bool(opened), self.address.connect_timeout)
        confirms = self.confirms = type(self.confirms)()
        ready: list[Any] = []

        def on_confirm(frame: Any) -> None:
            method = frame.method
            tell = confirms.on_ack if isinstance(method, spec.Basic.Ack) else confirms.on_nack
            tell(method.delivery_tag, method.multiple)

        self._channel.confirm_delivery(on_confirm, callback=ready.append)
        self._channel.add_on_return_callback(
            lambda _, method, properties, __: confirms.on_return(
                properties.message_id, method.reply_text
            )
        )
        self._wait(lambda: bool(ready), self.address.connect_timeout)

    def _on_channel_closed(self, channel: Any, reason: BaseException) -> None:
        if isinstance(reason, pika.exceptions.ChannelClosedByBroker):
            self._closed = ChannelError(reason.reply_code, reason.reply_text)

    def close(self) -> None:
        connection, loop = self._connection, self._loop
        self._connection = self._channel = self._loop = None
        if connection is None or loop is None:
            return
        try:
            if connection.is_open:
                connection.close()
                end = time.monotonic() + min(1.0, self.address.connect_timeout)
                while not connection.is_closed and time.monotonic() < end:
                    self._turn(loop, 0.1)
            if not connection.is_closed:
                abort(connection)
                self._turn(loop, 0.1)
        except LOST:
            pass
        try:
            loop.deactivate_poller()
            loop.close()
        except LOST:
            pass

    @property
    def alive(self) -> bool:
        return self._connection is not None and bool(self._connection.is_open)

    def _wait(self, done: Callable[[], bool], timeout: float) -> None:
        """Take in what the broker says until that is true."""
        end = time.monotonic() + timeout
        while not done():
            if self._closed is not None:
                self._raise_closed()
            if self._lost is not None:
                self._raise_lost(self._lost)
            left = end - time.monotonic()
            if left <= 0:
                self._raise_lost(f"no answer within {timeout:g} s")
            try:
                self._turn(self._loop, left)
            except LOST as exc:
                self._raise_lost(said(exc))

    _closed: ChannelError | None = None
    _lost: str | None = None

    @staticmethod
    def _turn(loop: Any, timeout: float) -> None:
        """One turn of pika's loop."""
        timer = loop.call_later(timeout, _nothing)
        try:
            loop.poll()
            loop.process_timeouts()
        finally:
            loop.remove_timeout(timer)

    def _raise_closed(self) -> None:
        error, self._closed = self._closed, None
        assert error is not None
        self._open_channel()
        raise error

    def _raise_lost(self, reason: str) -> None:
        self._lost = None
        self.close()
        raise OperationalError(f"the connection to RabbitMQ was lost: {reason}")

    def _ask(self, call: Callable[[Any, Callable[[Any], None]], object]) -> Any:
        """Ask the broker something, and wait for its answer."""
        answers: list[Any] = []
        self._do(lambda: call(self._channel, answers.append))
        self._wait(lambda: bool(answers), self.address.answer_timeout)
        return answers[0]

    def _do(self, call: Callable[[], object]) -> None:
        if self._connection is None:
            raise OperationalError("the connection to RabbitMQ was lost")
        try:
            call()
        except LOST as exc:
            if self._closed is not None:
                self._raise_closed()
            self._raise_lost(self._lost or said(exc))

    def run(self, step: Step) -> None:
        self._ask(lambda channel, done: run_step(channel, step, done))

    def size(self, queue: str) -> int:
        answer = self._ask(
            lambda channel, done: channel.queue_declare(queue, passive=True, callback=done)
        )
        return int(answer.method.message_count)

    def purge(self, queue: str) -> int:
        answer = self._ask(lambda channel, done: channel.queue_purge(queue, callback=done))
        return int(answer.method.message_count)

    def delete(self, queue: str) -> None:
        self._ask(lambda channel, done: channel.queue_delete(queue, callback=done))

    def get(self, queue: str) -> Arrival | None:
        def ask(channel: Any, done: Callable[[Any], None]) -> None:
            def got(_: Any, method: Any, properties: Any, body: bytes) -> None:
                channel.callbacks.remove(channel.channel_number, spec.Basic.GetEmpty, empty)
                done(to_arrival(queue, method, properties, body))

            def empty(frame: Any) -> None:
                done(None)

            channel.add_callback(empty, [spec.Basic.GetEmpty], one_shot=True)
            channel.basic_get(queue, got)

        answer: Arrival | None = self._ask(ask)
        return answer

    def ack(self, tag: int) -> None:
        self._do(lambda: self._channel.basic_ack(tag))
        self.pump(0)

    def give_back(self, queue: str) -> None:
        self._do(lambda: self._channel.basic_nack(0, multiple=True, requeue=True))
        self.size(queue)  # an answer of the queue's comes after what it gets back

    @property
    def channel(self) -> tuple[int, int]:
        if self._channel is None:
            raise OperationalError("the connection to RabbitMQ was lost")
        return self._channel.channel_number, self._connection.params.frame_max

    def write(self, data: bytes) -> None:
        self._do(lambda: self._connection._output_marshaled_frames((data,)))

    def pump(self, timeout: float) -> None:
        if self._closed is not None:
            self._raise_closed()
        if self._lost is not None or self._loop is None:
            self._raise_lost(self._lost or "it is closed")
        try:
            self._turn(self._loop, timeout)
        except LOST as exc:
            self._raise_lost(said(exc))


def _nothing() -> None:
    """Only wakes pika's loop."""
