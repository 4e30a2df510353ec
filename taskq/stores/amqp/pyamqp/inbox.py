"""An `Inbox` by py-amqp."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

import amqp

from taskq.exceptions import OperationalError
from taskq.stores.amqp.address import Address
from taskq.stores.amqp.links import ChannelError, Inbox, Step, consumer_tag, queue_of
from taskq.stores.amqp.pyamqp.connection import LOST, Connection, connect, hang_up, said
from taskq.stores.amqp.pyamqp.translation import run_step, to_arrival

T = TypeVar("T")

_FRAMES_A_TURN = 600
"""Frames taken in before other work of the event loop has its turn; a message has three."""


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
        self._later: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

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
            for _ in range(_FRAMES_A_TURN):
                connection.blocking_read(0)
            self._loop.call_soon(self._readable)
        except TimeoutError:
            pass
        except amqp.exceptions.ConsumerCancelled:
            pass  # noted by `_on_cancel`
        except (*LOST, amqp.exceptions.ChannelError) as exc:
            self._fail(exc)
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
        for write, arguments in later:
            self._write(write, *arguments)
        if self._connection is not None:
            self._listen()
        return answer

    async def run(self, steps: Iterable[Step]) -> None:
        for step in steps:
            await self._ask(lambda channel, step=step: run_step(channel, step))  # type: ignore[misc]

    async def consume(
        self, queue: str, number: int, prefetch: int, arguments: dict[str, Any]
    ) -> None:
        arrivals = self.arrivals

        def begin(channel: Any) -> None:
            channel.basic_qos(0, prefetch, False)
            channel.basic_consume(
                queue,
                consumer_tag=consumer_tag(queue, number),
                callback=lambda message: arrivals.append(to_arrival(message, queue)),
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

    def ack(self, tag: int, multiple: bool) -> None:
        self._write(lambda channel: channel.basic_ack(tag, multiple=multiple))

    def nack(self, tag: int) -> None:
        self._write(lambda channel: channel.basic_reject(tag, requeue=True))

    def _write(self, write: Callable[..., Any], *arguments: Any) -> None:
        if self._asking.locked():
            self._later.append((write, arguments))
        elif self._connection is not None:
            try:
                write(self._channel, *arguments)
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
