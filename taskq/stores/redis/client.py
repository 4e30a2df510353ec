"""Talking to Redis from blocking code: any thread, any process, after fork too."""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

import redis.exceptions as redis_errors
from hiredis import Reader, pack_command
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.retry import Retry

from taskq.stores.redis.address import Address, Node
from taskq.stores.redis.calls import Call, Steps, Word
from taskq.stores.redis.topology import Answers, Exchange, Talk, Topology, Unreachable

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

_NOTHING = object()
_BUFFER = 65536
_FRESH = 0.5
"""Seconds of rest after which a connection is looked at before it is used again."""


class Link:
    """One connection to one server.

    Args:
        address: how to connect.
        node: the server; None for the address's socket.
        to_sentinel: it is a sentinel.
        protocol: of RESP; with 3, what is told on channels comes between replies.

    Raises:
        redis.exceptions.RedisError: it cannot be reached.
    """

    def __init__(
        self,
        address: Address,
        node: Node | None,
        to_sentinel: bool = False,
        protocol: int = 2,
    ) -> None:
        options = connection_options(address, node, to_sentinel)
        options["protocol"] = protocol
        options["retry"] = Retry(NoBackoff(), 0)
        self._secure = address.tls
        kind: Any = UnixDomainSocketConnection if node is None else Connection
        # redis-py connects and says who we are; its ways of sending and reading take longer than
        # Redis does.
        self._connection: Any = (SSLConnection if address.tls else kind)(**options)
        self._connection.connect()
        self._socket: Any = self._connection._sock
        self._parser: Any = Reader(
            protocolError=redis_errors.InvalidResponse,
            replyError=self._connection._parser.parse_error,
            notEnoughData=_NOTHING,
        )
        self._buffer = bytearray(_BUFFER)
        self._poll: Any = None
        self._used = time.monotonic()

    def talk(self, commands: Any) -> Answers:
        """Say all of this, and return the replies, errors among them.

        Raises:
            redis.exceptions.RedisError: the connection is of no more use.
            OSError: likewise.
        """
        self.send(commands)
        replies = [self.read() for _ in commands]
        self._used = time.monotonic()
        return replies

    def send(self, commands: Any) -> None:
        """Say all of this; `read` has the replies."""
        try:
            self._socket.sendall(packed(commands))
        except BaseException:
            self.close()  # half of it may have gone
            raise

    def read(self) -> Any:
        """One reply, or the error that it is; something that was told is a `PushNotification`."""
        parser = self._parser
        reply = parser.gets()
        while reply is _NOTHING:
            try:
                size = self._socket.recv_into(self._buffer)
                parser.feed(self._buffer, 0, size)
            except BaseException:
                self.close()  # what was on its way would be taken for the next reply
                raise
            if not size:
                self.close()
                raise redis_errors.ConnectionError("the server has hung up")
            reply = parser.gets()
        return reply

    def read_any(self) -> Any:
        """`read`, but errors that the server answers are raised."""
        reply = self.read()
        if isinstance(reply, redis_errors.RedisError):
            raise reply
        return reply

    def readable(self, timeout: float) -> bool:
        """Wait until there is something to read, for `timeout` seconds at most."""
        if self._parser.has_data() or (self._secure and self._socket.pending()):
            return True
        if not hasattr(select, "poll"):  # eventlet takes it away
            return bool(select.select([self._socket], (), (), timeout)[0])
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self._socket, select.POLLIN)
        return bool(self._poll.poll(timeout * 1000))

    def alive(self) -> bool:
        """Is it fit to be used again, as far as that can be seen from here?"""
        if time.monotonic() - self._used < _FRESH:
            return True
        try:
            return not self.readable(0)  # a connection that has ended can be read, too
        except (OSError, ValueError):
            return False

    def close(self) -> None:
        """Hang up."""
        self._connection.disconnect()


def packed(commands: Sequence[tuple[Word, ...]]) -> bytes:
    """Commands as they go over the wire; redis-py's own way looks at every word in Python."""
    pack: Any = pack_command  # hiredis says that it takes one word, and takes all of them
    if len(commands) == 1:
        packet: bytes = pack(commands[0])
        return packet
    return b"".join(map(pack, commands))


def connection_options(address: Address, node: Node | None, to_sentinel: bool) -> dict[str, Any]:
    """What redis-py's connections are made with, blocking and on a loop."""
    options = dict(address.sentinel_options if to_sentinel else address.options)
    if not to_sentinel and not address.cluster:
        options["db"] = address.db
    if node is None:
        options["path"] = address.path
        options.pop("socket_keepalive", None)
    else:
        options["host"], options["port"] = node
    return options


class RedisStore:
    """Everything of one address; the broker and the result store may share it.

    Args:
        address: where it is.

    Attributes:
        loops: the clients of event loops, which `taskq.stores.redis.aio.on_loop` makes.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.topology = Topology(address)
        self._idle: dict[Node | None, deque[Link]] = {}
        self._pid = os.getpid()
        self.loops: WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = WeakKeyDictionary()

    def run(self, steps: Steps[T]) -> T:
        """Do work that is written as steps.

        Raises:
            OperationalError: Redis cannot be reached, or refuses.
        """
        try:
            calls = next(steps)
            while True:
                calls = steps.send(self._exchange(self.topology.carry(calls)))
        except StopIteration as stop:
            result: T = stop.value
            return result

    def call(self, call: Call) -> Any:
        """Send one call the short way; its reply."""
        if self.topology.fixed:
            node = self.topology.node_of(call.key)
            answer = self._talk(Talk(node, (call.words,)))
            if type(answer) is list and not isinstance(answer[0], Exception):
                return answer[0]
            if isinstance(answer, Exception):
                raise self.topology.explain(answer, node)
        # Nothing has happened if it was refused: the long way knows what to do.
        return self.calls(call)[0]

    def calls(self, *calls: Call) -> list[Any]:
        """Send calls in one round trip; their replies."""
        replies: list[Any] = self._exchange(self.topology.carry(calls))
        return replies

    def _exchange(self, exchange: Exchange) -> Any:
        try:
            talks = next(exchange)
            while True:
                talks = exchange.send([self._talk(talk) for talk in talks])
        except StopIteration as stop:
            return stop.value

    def _talk(self, talk: Talk) -> Answers | Exception:
        try:
            link = self._acquire(talk.node, talk.to_sentinel)
        except (redis_errors.RedisError, OSError) as exc:
            return Unreachable(exc)
        try:
            answers = link.talk(talk.commands)
        except (redis_errors.RedisError, OSError) as exc:
            link.close()
            self.close()  # what ended this one has ended the others too
            return exc
        except BaseException:
            link.close()  # what is on its way would be taken for the next reply
            raise
        if not talk.to_sentinel:
            self._release(talk.node, link)
        else:
            link.close()
        return answers

    def _acquire(self, node: Node | None, to_sentinel: bool) -> Link:
        if self._pid != os.getpid():
            # A parent's connections are the parent's.
            self._idle, self._pid = {}, os.getpid()
        idle = self._idle.get(node)
        while idle and not to_sentinel:
            try:
                link = idle.pop()
            except IndexError:
                break  # another thread was faster
            if link.alive():
                return link
            link.close()
        return Link(self.address, node, to_sentinel)

    def _release(self, node: Node | None, link: Link) -> None:
        idle = self._idle.setdefault(node, deque())
        if len(idle) < self.address.idle:
            idle.append(link)
        else:
            link.close()

    def open_listener(self) -> Link:
        """A connection of one's own, for whoever listens; it speaks RESP3.

        Raises:
            redis.exceptions.RedisError: it cannot be reached.
        """
        self._exchange(self.topology.find())
        return Link(self.address, self.topology.node_of(""), protocol=3)

    def close(self) -> None:
        """Hang up all connections that are not in use; it can be used again afterwards."""
        if self._pid == os.getpid():
            for links in self._idle.values():
                while links:
                    links.pop().close()
