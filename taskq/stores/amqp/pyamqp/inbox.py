"""An `Inbox` by py-amqp."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

import amqp

from taskq.exceptions import OperationalError
from taskq.stores.amqp import frames
from taskq.stores.amqp.address import Address
from taskq.stores.amqp.links import ChannelError, Inbox, Step
from taskq.stores.amqp.parcels import consumer_tag, queue_of
from taskq.stores.amqp.pyamqp.connection import LOST, Connection, connect, hang_up, said
from taskq.stores.amqp.pyamqp.translation import run_step

T = TypeVar("T")

_READS_A_TURN = 4
"""Reads before other work of the event loop has its turn."""


async def _whole(thread: Coroutine[Any, Any, T]) -> T:
    """Wait until a thread is done with the socket, even if nobody wants its answer any more."""
    running = asyncio.ensure_future(thread)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


class PyAmqpInbox(Inbox):
    """An `Inbox` by py-amqp, whose socket the event loop watches."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._channel: Any = None
        self._fd = -1
        self._heart: asyncio.TimerHandle | None = None
        self._asking = asyncio.Lock()
        self._later: list[Callable[[Connection, Any], object]] = []

    async def open(self) -> None:
        connecting = asyncio.ensure_future(
            asyncio.to_thread(connect, self.address, self.address.heartbeat)
        )
        try:
            self._connection, self._channel = await asyncio.shield(connecting)
        except asyncio.CancelledError:
            await asyncio.wait([connecting])
            if connecting.exception() is None:
                hang_up(connecting.result()[0])
            raise
        assert self._connection is not None
        self._connection.reader = frames.Reader(self.arrivals)
        self._fd = self._connection.sock.fileno()
        self._listen()
        self._beat()

    def _listen(self) -> None:
        self._loop.add_reader(self._fd, self._readable)
        self._loop.call_soon(self._readable)  # what was read already makes no descriptor ready

    def _readable(self) -> None:
        connection = self._connection
        if connection is None or self._asking.locked():
            return
        try:
            for _ in range(_READS_A_TURN):
                if not connection.take_in():
                    break
        except amqp.exceptions.ConsumerCancelled:
            self._loop.call_soon(self._readable)  # it is noted by `_on_cancel`
        except (*LOST, amqp.exceptions.ChannelError) as exc:
            self._fail(exc)
        else:
            if connection.unread:  # which makes no descriptor ready
                self._loop.call_soon(self._readable)
        if self.arrivals:
            self.news.set()

    def _beat(self) -> None:
        connection = self._connection
        if connection is None or not connection.heartbeat or self.lost is not None:
            return
        if not self._asking.locked():
            try:
                connection.heartbeat_tick()
            except LOST as exc:
                self._fail(exc)
                return
        self._heart = self._loop.call_later(connection.heartbeat / 4, self._beat)

    def _fail(self, exc: BaseException) -> None:
        self._hang_up()
        self.fail(said(exc))

    def _hang_up(self) -> None:
        if self._heart is not None:
            self._heart.cancel()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            self._fd = -1
        hang_up(self._connection)
        self._connection = self._channel = None

    async def _ask(self, call: Callable[[Any], T]) -> T:
        """Ask the broker something, on a thread, while the loop leaves the socket alone."""
        async with self._asking:
            if self._connection is None:
                raise OperationalError(f"the connection to RabbitMQ was lost: {self.lost}")
            self._loop.remove_reader(self._fd)
            try:
                answer = await _whole(asyncio.to_thread(call, self._channel))
            except amqp.exceptions.ChannelError as exc:
                self._fail(exc)
                raise ChannelError(exc.reply_code or 0, exc.reply_text or "") from exc
            except LOST as exc:
                self._fail(exc)
                raise OperationalError(f"the connection to RabbitMQ was lost: {said(exc)}") from (
                    exc
                )
        later, self._later = self._later, []
        for write in later:
            self._write(write)
        if self._connection is not None:
            self._listen()
        return answer

    async def run(self, steps: Iterable[Step]) -> None:
        for step in steps:
            await self._ask(lambda channel, step=step: run_step(channel, step))  # type: ignore[misc]

    async def consume(
        self, queue: str, number: int, prefetch: int, arguments: dict[str, Any]
    ) -> None:
        def begin(channel: Any) -> None:
            channel.basic_qos(0, prefetch, False)
            channel.basic_consume(
                queue,
                consumer_tag=consumer_tag(queue, number),
                arguments=arguments or None,
                on_cancel=self._on_cancel,
            )

        await self._ask(begin)

    async def limit(self, count: int) -> None:
        await self._ask(lambda channel: channel.basic_qos(0, count, True))

    def _on_cancel(self, tag: str) -> None:
        self.cancelled.add(queue_of(tag))
        self._loop.call_soon_threadsafe(self.news.set)

    async def cancel(self, queue: str, number: int) -> None:
        await self._ask(lambda channel: channel.basic_cancel(consumer_tag(queue, number)))

    def ack(self, up_to: int, others: Sequence[int] = ()) -> None:
        self._write(lambda connection, channel: _acknowledge(connection, channel, up_to, others))

    def nack(self, tag: int) -> None:
        self._write(lambda _, channel: channel.basic_reject(tag, requeue=True))

    def _write(self, write: Callable[[Connection, Any], object]) -> None:
        if self._asking.locked():
            self._later.append(write)
        elif self._connection is not None:
            try:
                write(self._connection, self._channel)
            except LOST as exc:
                self._fail(exc)

    async def close(self) -> None:
        connection = self._connection
        if connection is not None and self.lost is None:
            try:
                async with self._asking:
                    self._loop.remove_reader(self._fd)
                    self._fd = -1
                    async with asyncio.timeout(self.address.connect_timeout):
                        await asyncio.to_thread(connection.close)
            except (*LOST, TimeoutError, amqp.exceptions.ChannelError):
                pass
        self._hang_up()


def _acknowledge(connection: Connection, channel: Any, up_to: int, others: Sequence[int]) -> None:
    transport: Any = connection.transport
    transport.write(frames.acknowledge(channel.channel_id, up_to, others))
    connection.bytes_sent += 1  # heartbeats go by it
