"""The driver py-amqp, which kombu uses too.

py-amqp reads each frame with several small system calls.  `_Connection` reads what there is,
and splits it into frames itself; everything else is py-amqp's.
"""

from __future__ import annotations

import asyncio
import select
import socket
import struct
from collections.abc import Callable, Coroutine, Iterable
from contextlib import contextmanager
from typing import Any, TypeVar

import amqp
from amqp import spec
from amqp.exceptions import AMQPError, FrameError

from taskq.exceptions import EncodeError, OperationalError
from taskq.stores.amqp.address import Address, Node, Tls
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

T = TypeVar("T")

_CHUNK = 256 * 1024
_HEAD = struct.Struct(">BHI")
_FRAMES_A_TURN = 600
"""Frames taken in before other work of the event loop has its turn; a message has three."""
_LOST = (OSError, AMQPError, AttributeError, EOFError, StopIteration)
"""What py-amqp raises when a connection is lost; attributes of a closed one are None."""


class _Connection(amqp.Connection):  # type: ignore[misc]  # py-amqp has no types
    """Reads without changing the socket's mode, which a writer relies on."""

    def __init__(self, *args: Any, answer_timeout: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._answer_timeout = answer_timeout
        self._rest = b""
        self._frames: list[tuple[int, int, bytes]] = []

    def blocking_read(self, timeout: float | None = None) -> Any:
        if not self._frames:
            # py-amqp waits for ever for an answer; a half-open connection never has one.
            self._read(self._answer_timeout if timeout is None else timeout)
        handle: Any = self.on_inbound_frame
        return handle(self._frames.pop())

    def _read(self, timeout: float) -> None:
        while True:
            self._split(self._receive(timeout))
            if self._frames:
                return

    def _receive(self, timeout: float) -> bytes:
        sock = self.sock
        if sock is None:
            raise ConnectionResetError("the connection is closed")
        while True:
            try:
                if isinstance(sock, socket.socket) and not hasattr(sock, "pending"):
                    data = sock.recv(_CHUNK, socket.MSG_DONTWAIT)
                else:
                    data = _receive_tls(sock)
            except BlockingIOError:
                poll = select.poll()
                poll.register(sock, select.POLLIN)
                if timeout == 0 or not poll.poll(timeout * 1000):
                    raise TimeoutError("RabbitMQ does not answer") from None
                continue
            if not data:
                raise ConnectionResetError("RabbitMQ closed the connection")
            return data

    def _split(self, data: bytes) -> None:
        """Split what was read into frames (AMQP 0-9-1, section 2.3.5), the last one first."""
        data = self._rest + data if self._rest else data
        at, end, frames = 0, len(data), self._frames
        while end - at >= 7:
            kind, channel, size = _HEAD.unpack_from(data, at)
            after = at + 8 + size
            if after > end:
                break
            if data[after - 1] != 0xCE:
                raise FrameError(f"a frame ends with {data[after - 1]:#x}")
            frames.append((kind, channel, data[at + 7 : after - 1]))
            at = after
        self._rest = data[at:]
        frames.reverse()

    @property
    def unread(self) -> bool:
        """Are there frames that were read, and not looked at?"""
        return bool(self._frames)


def _receive_tls(sock: Any) -> bytes:
    # Imported with the driver's own TLS; a plain connection does not need it.
    import ssl

    before = sock.gettimeout()
    sock.settimeout(0)
    try:
        data: bytes = sock.recv(_CHUNK)
        return data
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        raise BlockingIOError from None
    finally:
        sock.settimeout(before)


def _connect(address: Address, heartbeat: int) -> tuple[_Connection, Any]:
    """A connection to the first node that answers, and a channel of it.

    Raises:
        OperationalError: none does.
    """
    problems = []
    for node in address.nodes:
        connection = _connection(address, node, heartbeat)
        try:
            connection.connect()
            return connection, _channel(connection)
        except _LOST as exc:
            _close(connection)
            problems.append(f"{node.host}:{node.port}: {_said(exc)}")
    raise OperationalError(f"cannot connect to RabbitMQ at {'; '.join(problems)}")


def _channel(connection: _Connection) -> Any:
    channel = connection.channel()
    channel.auto_decode = False  # bodies stay bytes
    return channel


def _connection(address: Address, node: Node, heartbeat: int) -> _Connection:
    tls: Any = False
    if address.tls is not None:
        tls = _tls_options(address.tls, node)
    return _Connection(
        f"{node.host}:{node.port}",
        answer_timeout=address.answer_timeout,
        userid=node.user,
        password=node.password,
        login_method=address.login_method,
        virtual_host=node.vhost,
        ssl=tls,
        connect_timeout=address.connect_timeout,
        # Seconds of a write that does not move: a half-open connection, or a blocked broker.
        write_timeout=max(1.0, address.confirm_timeout),
        heartbeat=heartbeat,
    )


def _tls_options(tls: Tls, node: Node) -> dict[str, Any]:
    options = {
        "ca_certs": tls.ca_certs,
        "certfile": tls.certfile,
        "keyfile": tls.keyfile,
        "cert_reqs": tls.cert_reqs,
    }
    if tls.check_hostname:
        options["server_hostname"] = tls.server_hostname or node.host
    return {name: value for name, value in options.items() if value is not None}


def _close(connection: _Connection | None) -> None:
    if connection is not None:
        try:
            connection.collect()
        except _LOST:
            pass


def _said(exc: BaseException) -> str:
    if isinstance(exc, AMQPError):
        return f"{exc.reply_text or type(exc).__name__}"
    return str(exc) or type(exc).__name__


def _message(parcel: Parcel) -> amqp.Message:
    properties = {
        "application_headers": parcel.headers,
        "content_type": parcel.content_type,
        "content_encoding": parcel.content_encoding,
        "priority": parcel.priority,
        "correlation_id": parcel.correlation_id,
        "reply_to": parcel.reply_to,
        "message_id": parcel.message_id,
        "delivery_mode": parcel.delivery_mode,
        "expiration": parcel.expiration,
    }
    given: dict[str, Any] = {k: v for k, v in properties.items() if v is not None}
    return amqp.Message(parcel.body, **given)  # pyright: ignore[reportArgumentType]


def _arrival(message: Any, queue: str) -> Arrival:
    info, get = message.delivery_info, message.properties.get
    body = message.body
    parcel = Parcel(
        body if isinstance(body, bytes) else bytes(body or b""),
        get("application_headers") or {},
        info["exchange"],
        info["routing_key"],
        get("content_type"),
        get("content_encoding"),
        get("priority"),
        get("correlation_id"),
        get("reply_to"),
        get("message_id"),
        get("delivery_mode"),
        get("expiration"),
    )
    return Arrival(parcel, queue, info["delivery_tag"], bool(info["redelivered"]))


def _run(channel: Any, step: Step) -> None:
    match step:
        case DeclareExchange(name, kind, durable, auto_delete, arguments, passive):
            channel.exchange_declare(
                name,
                kind,
                passive=passive,
                durable=durable,
                auto_delete=auto_delete,
                arguments=arguments,
            )
        case DeclareQueue(name, durable, exclusive, auto_delete, arguments, passive):
            channel.queue_declare(
                name,
                passive=passive,
                durable=durable,
                exclusive=exclusive,
                auto_delete=auto_delete,
                arguments=arguments,
            )
        case Bind(target, source, key, arguments, exchange):
            bind = channel.exchange_bind if exchange else channel.queue_bind
            bind(target, source, routing_key=key, arguments=arguments)


async def _whole(thread: Coroutine[Any, Any, T]) -> T:
    """Wait until a thread is done with the socket, even if nobody wants its answer any more."""
    running = asyncio.ensure_future(thread)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


class PyAmqpLink(Link):
    """A `Link` by py-amqp."""

    _connection: _Connection | None = None
    _channel: Any = None

    def open(self) -> None:
        # Heartbeats need somebody who sends them while nothing is published; what is written
        # and not confirmed in time shows as well that nobody is there.
        self._connection, self._channel = _connect(self.address, 0)
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
        self.confirms.on_return(message.properties.get("message_id"), _said(error))

    def close(self) -> None:
        _close(self._connection)
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
        except _LOST as exc:
            self.close()
            raise OperationalError(f"the connection to RabbitMQ was lost: {_said(exc)}") from exc

    def _reopen(self) -> None:
        if self._connection is not None:
            try:
                self._channel = _channel(self._connection)
            except _LOST:
                self.close()
            else:
                self._open_channel(self._channel)

    def run(self, step: Step) -> None:
        with self._watched() as channel:
            _run(channel, step)

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
            return None if message is None else _arrival(message, queue)

    def ack(self, tag: int) -> None:
        with self._watched() as channel:
            channel.basic_ack(tag)

    def give_back(self, queue: str) -> None:
        with self._watched() as channel:
            channel.send_method(spec.Basic.Nack, "Lbb", (0, True, True))
        self.size(queue)  # an answer of the queue's comes after what it gets back

    def send(self, parcel: Parcel) -> None:
        # Channel.basic_publish looks for incoming frames before each message; `publish` does
        # so once a window.
        with self._watched() as channel:
            try:
                channel.send_method(
                    spec.Basic.Publish,
                    "Bssbb",
                    (0, parcel.exchange, parcel.routing_key, True, False),
                    _message(parcel),
                )
            except (FrameError, struct.error, OverflowError) as exc:
                raise EncodeError(f"AMQP cannot carry the headers {parcel.headers!r}: {exc}") from (
                    exc
                )

    def pump(self, timeout: float) -> None:
        with self._watched():
            assert self._connection is not None
            try:
                self._connection.drain_events(timeout=timeout)
                while self._connection.unread:
                    self._connection.drain_events(timeout=0)
            except TimeoutError:
                pass


class PyAmqpInbox(Inbox):
    """An `Inbox` by py-amqp, whose socket the event loop watches."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._loop = asyncio.get_running_loop()
        self._connection: _Connection | None = None
        self._channel: Any = None
        self._fd = -1
        self._heart: asyncio.TimerHandle | None = None
        self._asking = asyncio.Lock()
        self._later: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    async def open(self) -> None:
        connecting = asyncio.ensure_future(
            asyncio.to_thread(_connect, self.address, self.address.heartbeat)
        )
        try:
            self._connection, self._channel = await asyncio.shield(connecting)
        except asyncio.CancelledError:
            await asyncio.wait([connecting])
            if connecting.exception() is None:
                _close(connecting.result()[0])
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
        except (*_LOST, amqp.exceptions.ChannelError) as exc:
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
            except _LOST as exc:
                self._fail(exc)
                return
        self._heart = self._loop.call_later(connection.heartbeat / 4, self._beat)

    def _fail(self, exc: BaseException) -> None:
        self._hang_up()
        self.fail(_said(exc))

    def _hang_up(self) -> None:
        if self._heart is not None:
            self._heart.cancel()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            self._fd = -1
        _close(self._connection)
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
            except _LOST as exc:
                self._fail(exc)
                raise OperationalError(f"the connection to RabbitMQ was lost: {_said(exc)}") from (
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
            await self._ask(lambda channel, step=step: _run(channel, step))  # type: ignore[misc]

    async def consume(
        self, queue: str, number: int, prefetch: int, arguments: dict[str, Any]
    ) -> None:
        arrivals = self.arrivals

        def begin(channel: Any) -> None:
            channel.basic_qos(0, prefetch, False)
            channel.basic_consume(
                queue,
                consumer_tag=consumer_tag(queue, number),
                callback=lambda message: arrivals.append(_arrival(message, queue)),
                arguments=arguments or None,
                on_cancel=self._on_cancel,
            )

        await self._ask(begin)

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
            except _LOST as exc:
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
            except (*_LOST, TimeoutError, amqp.exceptions.ChannelError):
                pass
        self._hang_up()
