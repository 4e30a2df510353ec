"""An `Inbox` by pika, whose connection runs on the event loop itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pika.exceptions
import pika.frame
from pika.adapters.asyncio_connection import AsyncioConnection

from taskq.exceptions import DecodeError, OperationalError
from taskq.stores.amqp import frames
from taskq.stores.amqp.address import Address
from taskq.stores.amqp.links import ChannelError, Inbox, Step
from taskq.stores.amqp.nodes import Node
from taskq.stores.amqp.parcels import consumer_tag, queue_of
from taskq.stores.amqp.pika.connection import LOST, abort, parameters, said
from taskq.stores.amqp.pika.translation import run_step

_Base: Any = AsyncioConnection  # pika has no types


class _Connection(_Base):  # type: ignore[misc]
    """Takes messages in without making pika's objects of them."""

    reader: frames.Reader | None = None
    on_data: Callable[[], None]
    _frame_buffer: bytes

    def _on_data_available(self, data_in: bytes) -> None:
        if self.reader is None:
            super()._on_data_available(data_in)
            return
        data, self._frame_buffer = self._frame_buffer + data_in, b""
        self.bytes_received += len(data_in)
        try:
            others = self.reader.feed(data)
        except DecodeError as exc:
            raise pika.exceptions.InvalidFrameError(str(exc)) from exc
        for frame in others:
            self._process_frame(pika.frame.decode_frame(frames.whole(*frame))[1])
        self.on_data()


class PikaInbox(Inbox):
    """An `Inbox` by pika, whose connection runs on the event loop itself."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._loop = asyncio.get_running_loop()
        self._connection: Any = None
        self._channel: Any = None
        self._asked: set[asyncio.Future[Any]] = set()

    async def open(self) -> None:
        problems = []
        for node in self.address.nodes:
            try:
                await self._connect(node)
                self._channel = await self._ask(
                    lambda done: self._connection.channel(on_open_callback=done)
                )
            except (OperationalError, ChannelError) as exc:
                problems.append(f"{node.host}:{node.port}: {exc}")
                await self.close()
                self.lost = None
            else:
                self._connection.on_data = self._on_data
                self._connection.reader = frames.Reader(self.arrivals)
                self._channel.add_on_close_callback(self._on_channel_closed)
                self._channel.add_on_cancel_callback(self._on_cancel)
                return
        raise OperationalError(f"cannot connect to RabbitMQ at {'; '.join(problems)}")

    async def _connect(self, node: Node) -> None:
        def begin(done: Callable[[Any], None]) -> None:
            self._connection = _Connection(
                parameters(self.address, node, self.address.heartbeat),
                on_open_callback=done,
                on_open_error_callback=lambda _, exc: self._on_lost(exc),
                on_close_callback=lambda _, exc: self._on_lost(exc),
                custom_ioloop=self._loop,
            )

        await self._ask(begin)

    def _on_data(self) -> None:
        if self.arrivals:
            self.news.set()

    def _on_lost(self, exc: BaseException) -> None:
        reason = said(exc)
        self._fail(OperationalError(f"the connection to RabbitMQ was lost: {reason}"), reason)

    def _on_channel_closed(self, channel: Any, reason: BaseException) -> None:
        if isinstance(reason, pika.exceptions.ChannelClosedByBroker):
            self._fail(ChannelError(reason.reply_code, reason.reply_text), reason.reply_text)
        else:
            self._on_lost(reason)

    def _fail(self, error: Exception, reason: str) -> None:
        for future in self._asked:
            if not future.done():
                future.set_exception(error)
        self.fail(reason)

    def _on_cancel(self, frame: Any) -> None:
        self.cancelled.add(queue_of(frame.method.consumer_tag))
        self.news.set()

    async def _ask(self, call: Callable[[Callable[[Any], None]], object]) -> Any:
        if self.lost is not None:
            raise OperationalError(f"the connection to RabbitMQ was lost: {self.lost}")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._asked.add(future)
        try:
            try:
                call(lambda answer: None if future.done() else future.set_result(answer))
            except LOST as exc:
                raise OperationalError(f"the connection to RabbitMQ was lost: {said(exc)}") from (
                    exc
                )
            async with asyncio.timeout(self.address.answer_timeout):
                return await future
        except TimeoutError as exc:
            raise OperationalError("RabbitMQ does not answer") from exc
        finally:
            self._asked.discard(future)

    async def run(self, steps: Iterable[Step]) -> None:
        for step in steps:
            await self._ask(lambda done, step=step: run_step(self._channel, step, done))  # type: ignore[misc]

    async def consume(
        self, queue: str, number: int, prefetch: int, arguments: dict[str, Any]
    ) -> None:
        await self._ask(
            lambda done: self._channel.basic_qos(prefetch_count=prefetch, callback=done)
        )
        await self._ask(
            lambda done: self._channel.basic_consume(
                queue,
                _nothing,  # the reader takes what comes
                consumer_tag=consumer_tag(queue, number),
                arguments=arguments or None,
                callback=done,
            )
        )

    async def limit(self, count: int) -> None:
        await self._ask(
            lambda done: self._channel.basic_qos(
                prefetch_count=count, global_qos=True, callback=done
            )
        )

    async def cancel(self, queue: str, number: int) -> None:
        tag = consumer_tag(queue, number)
        await self._ask(lambda done: self._channel.basic_cancel(tag, callback=done))

    def ack(self, up_to: int, others: Sequence[int] = ()) -> None:
        data = frames.acknowledge(self._channel.channel_number, up_to, others)
        self._write(lambda: self._connection._output_marshaled_frames((data,)))

    def nack(self, tag: int) -> None:
        self._write(lambda: self._channel.basic_reject(tag, requeue=True))

    def _write(self, write: Callable[[], object]) -> None:
        if self.lost is None:
            try:
                write()
            except LOST as exc:
                self._on_lost(exc)

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None or connection.is_closed:
            return
        try:
            if not connection.is_closing:
                connection.close()
            async with asyncio.timeout(self.address.connect_timeout):
                while not connection.is_closed:
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            abort(connection)
        except LOST:
            pass


def _nothing(*_: Any) -> None:
    """No message comes by pika's own way."""
