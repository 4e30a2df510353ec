"""The driver pika: its `SelectConnection` run by hand, and its connection for asyncio.

`BlockingConnection` is not used: it waits for the confirm of each message before the next.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

import pika
import pika.exceptions
from pika import spec
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.adapters.select_connection import IOLoop
from pika.credentials import ExternalCredentials

from taskq.exceptions import EncodeError, OperationalError
from taskq.stores.amqp.address import Address, Node, tls_context
from taskq.stores.amqp.links import (
    Bind,
    ChannelError,
    DeclareExchange,
    DeclareQueue,
    Inbox,
    Link,
    Step,
    consumer_tag,
    queue_of,
)
from taskq.stores.amqp.parcels import Arrival, Parcel
from taskq.stores.amqp.tables import encode_table

if logging.getLogger("pika").level == logging.NOTSET:
    # It tells of every step and, of each lost connection, several tracebacks; what matters of
    # that is told by those who use the connection.
    logging.getLogger("pika").setLevel(logging.CRITICAL)

_LOST = (pika.exceptions.AMQPError, OSError, RuntimeError, AssertionError)
"""What pika raises when a connection is lost, or was when something was asked of it."""


def _parameters(address: Address, node: Node, heartbeat: int) -> pika.ConnectionParameters:
    options = None
    if address.tls is not None:
        name = address.tls.server_hostname or node.host
        options = pika.SSLOptions(tls_context(address.tls), name)
    if address.login_method == "EXTERNAL":
        credentials: Any = ExternalCredentials()
    else:
        credentials = pika.PlainCredentials(node.user, node.password)
    return pika.ConnectionParameters(
        host=node.host,
        port=node.port,
        virtual_host=node.vhost,
        credentials=credentials,
        heartbeat=heartbeat,
        ssl_options=options,
        socket_timeout=address.connect_timeout,
        stack_timeout=address.connect_timeout,
        connection_attempts=1,
        blocked_connection_timeout=None,
    )


def _said(exc: BaseException | None) -> str:
    """What went wrong, in words; pika wraps it in layers of exceptions."""
    while exc is not None:
        inner = getattr(exc, "exceptions", None) or getattr(exc, "exception", None)
        if isinstance(inner, list | tuple):
            inner = inner[-1] if inner else None
        if not isinstance(inner, BaseException):
            break
        exc = inner
    text = getattr(exc, "reply_text", None) or str(exc or "")
    return text or type(exc).__name__


def _abort(connection: Any) -> None:
    """Hang up on a connection whose other end is silent; pika has no other way."""
    transport = getattr(connection, "_transport", None)
    if transport is not None:
        transport.abort()


class _Properties(pika.BasicProperties):  # type: ignore[misc]  # pika has no types
    """Writes headers as RabbitMQ has them, floating-point numbers included."""

    def encode(self) -> list[bytes]:
        flags, pieces = 0, []
        for flag, text in (
            (self.FLAG_CONTENT_TYPE, self.content_type),
            (self.FLAG_CONTENT_ENCODING, self.content_encoding),
        ):
            if text is not None:
                flags |= flag
                pieces.append(_short(text))
        if self.headers is not None:
            flags |= self.FLAG_HEADERS
            pieces.append(encode_table(self.headers))
        for flag, number in (
            (self.FLAG_DELIVERY_MODE, self.delivery_mode),
            (self.FLAG_PRIORITY, self.priority),
        ):
            if number is not None:
                flags |= flag
                pieces.append(bytes((number,)))
        for flag, text in (
            (self.FLAG_CORRELATION_ID, self.correlation_id),
            (self.FLAG_REPLY_TO, self.reply_to),
            (self.FLAG_EXPIRATION, self.expiration),
            (self.FLAG_MESSAGE_ID, self.message_id),
        ):
            if text is not None:
                flags |= flag
                pieces.append(_short(text))
        return [flags.to_bytes(2), *pieces]


def _short(text: str) -> bytes:
    """AMQP's short string."""
    data = text.encode()
    if len(data) > 255:
        raise EncodeError(f"{text[:40]!r}… is longer than the 255 bytes that AMQP has for it")
    return bytes((len(data),)) + data


def _properties(parcel: Parcel) -> _Properties:
    return _Properties(
        content_type=parcel.content_type,
        content_encoding=parcel.content_encoding,
        headers=parcel.headers,
        delivery_mode=parcel.delivery_mode,  # pyright: ignore[reportArgumentType]
        priority=parcel.priority,
        correlation_id=parcel.correlation_id,
        reply_to=parcel.reply_to,
        expiration=parcel.expiration,
        message_id=parcel.message_id,
    )


def _arrival(queue: str, method: Any, properties: Any, body: bytes) -> Arrival:
    parcel = Parcel(
        body,
        properties.headers or {},
        method.exchange,
        method.routing_key,
        properties.content_type,
        properties.content_encoding,
        properties.priority,
        properties.correlation_id,
        properties.reply_to,
        properties.message_id,
        properties.delivery_mode,
        properties.expiration,
    )
    return Arrival(parcel, queue, method.delivery_tag, bool(method.redelivered))


def _run(channel: Any, step: Step, done: Callable[[Any], None]) -> None:
    match step:
        case DeclareExchange(name, kind, durable, auto_delete, arguments, passive):
            channel.exchange_declare(
                name,
                kind,
                passive=passive,
                durable=durable,
                auto_delete=auto_delete,
                arguments=arguments,
                callback=done,
            )
        case DeclareQueue(name, durable, exclusive, auto_delete, arguments, passive):
            channel.queue_declare(
                name,
                passive=passive,
                durable=durable,
                exclusive=exclusive,
                auto_delete=auto_delete,
                arguments=arguments,
                callback=done,
            )
        case Bind(target, source, key, arguments, exchange):
            bind = channel.exchange_bind if exchange else channel.queue_bind
            bind(target, source, routing_key=key, arguments=arguments, callback=done)


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
            _parameters(self.address, node, 0),
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
        self._lost = _said(exc)

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
                _abort(connection)
                self._turn(loop, 0.1)
        except _LOST:
            pass
        try:
            loop.deactivate_poller()
            loop.close()
        except _LOST:
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
            except _LOST as exc:
                self._raise_lost(_said(exc))

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
        except _LOST as exc:
            if self._closed is not None:
                self._raise_closed()
            self._raise_lost(self._lost or _said(exc))

    def run(self, step: Step) -> None:
        self._ask(lambda channel, done: _run(channel, step, done))

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
                done(_arrival(queue, method, properties, body))

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

    def send(self, parcel: Parcel) -> None:
        properties = _properties(parcel)
        self._do(
            lambda: self._channel.basic_publish(
                parcel.exchange, parcel.routing_key, parcel.body, properties, True
            )
        )

    def pump(self, timeout: float) -> None:
        if self._closed is not None:
            self._raise_closed()
        if self._lost is not None or self._loop is None:
            self._raise_lost(self._lost or "it is closed")
        try:
            self._turn(self._loop, timeout)
        except _LOST as exc:
            self._raise_lost(_said(exc))


def _nothing() -> None:
    """Only wakes pika's loop."""


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
                self._channel.add_on_close_callback(self._on_channel_closed)
                self._channel.add_on_cancel_callback(self._on_cancel)
                return
        raise OperationalError(f"cannot connect to RabbitMQ at {'; '.join(problems)}")

    async def _connect(self, node: Node) -> None:
        def begin(done: Callable[[Any], None]) -> None:
            self._connection = AsyncioConnection(
                _parameters(self.address, node, self.address.heartbeat),
                on_open_callback=done,
                on_open_error_callback=lambda _, exc: self._on_lost(exc),
                on_close_callback=lambda _, exc: self._on_lost(exc),
                custom_ioloop=self._loop,
            )

        await self._ask(begin)

    def _on_lost(self, exc: BaseException) -> None:
        reason = _said(exc)
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
            except _LOST as exc:
                raise OperationalError(f"the connection to RabbitMQ was lost: {_said(exc)}") from (
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
            await self._ask(lambda done, step=step: _run(self._channel, step, done))  # type: ignore[misc]

    async def consume(
        self, queue: str, number: int, prefetch: int, arguments: dict[str, Any]
    ) -> None:
        arrivals, news = self.arrivals, self.news

        def on_message(_: Any, method: Any, properties: Any, body: bytes) -> None:
            arrivals.append(_arrival(queue, method, properties, body))
            news.set()

        await self._ask(
            lambda done: self._channel.basic_qos(prefetch_count=prefetch, callback=done)
        )
        await self._ask(
            lambda done: self._channel.basic_consume(
                queue,
                on_message,
                consumer_tag=consumer_tag(queue, number),
                arguments=arguments or None,
                callback=done,
            )
        )

    async def cancel(self, queue: str, number: int) -> None:
        tag = consumer_tag(queue, number)
        await self._ask(lambda done: self._channel.basic_cancel(tag, callback=done))

    def ack(self, tag: int, multiple: bool) -> None:
        self._write(lambda: self._channel.basic_ack(tag, multiple))

    def nack(self, tag: int) -> None:
        self._write(lambda: self._channel.basic_reject(tag, requeue=True))

    def _write(self, write: Callable[[], object]) -> None:
        if self.lost is None:
            try:
                write()
            except _LOST as exc:
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
            _abort(connection)
        except _LOST:
            pass
