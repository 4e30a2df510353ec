"""Talking to Redis from an event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import redis.exceptions as redis_errors
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from taskq.stores.redis.address import Address, Node
from taskq.stores.redis.calls import Call, Steps
from taskq.stores.redis.client import connection_options, packed
from taskq.stores.redis.errors import explain
from taskq.stores.redis.topology import Answers, Exchange, Talk, Unreachable
from taskq.stores.redis.wire import Wire

if TYPE_CHECKING:
    from taskq.stores.redis.client import RedisStore

T = TypeVar("T")

_GOODBYE = 1.0
"""Seconds that the end of a TLS connection may take."""
LINK_ERRORS = (redis_errors.RedisError, OSError, EOFError, TimeoutError)
"""What a connection raises that is of no more use."""


class LoopLink:
    """One connection to one server, for one task at a time."""

    def __init__(self, connection: Any, timeout: float | None, secure: bool = False) -> None:
        self._connection = connection
        self._timeout = timeout
        self._secure = secure
        self._given_up: asyncio.Future[None] | None = None
        self._wire: Wire | None = None

    @classmethod
    async def open(
        cls,
        address: Address,
        node: Node | None,
        to_sentinel: bool = False,
        protocol: int = 2,
    ) -> LoopLink:
        """Connect; with protocol 3, what is told on channels comes between replies.

        Raises:
            redis.exceptions.RedisError: it cannot be reached.
            TimeoutError: it is silent.
        """
        options = connection_options(address, node, to_sentinel)
        options["retry"] = Retry(NoBackoff(), 0)
        options["protocol"] = protocol
        timeout = options.pop("socket_timeout", None)
        kind: Any = UnixDomainSocketConnection if node is None else Connection

        async def greet(connection: Any) -> None:
            async with asyncio.timeout(timeout):
                await connection.on_connect()

        # Time-outs are ours: redis-py's cost each reading a timer.
        connection = (SSLConnection if address.tls else kind)(
            socket_timeout=None, redis_connect_func=greet, **options
        )
        link = cls(connection, timeout, address.tls)
        try:
            await connection.connect()
            link._wire = Wire(connection)
        except BaseException:
            await link.close()
            raise
        return link

    async def talk(self, commands: Any) -> Answers:
        """Say all of this, and return the replies, errors among them.

        Raises:
            redis.exceptions.RedisError: the connection is of no more use.
            TimeoutError: no answer within the time; likewise.
        """
        # A timer costs a fraction of asyncio.timeout; closing the connection ends the reading.
        timer = None
        if self._timeout is not None:
            timer = asyncio.get_running_loop().call_later(self._timeout, self._give_up)
        try:
            self.send(commands)
            return [await self.read() for _ in commands]
        except LINK_ERRORS as exc:
            if self._given_up is not None:
                raise TimeoutError(f"no answer within {self._timeout:g} s") from exc
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _give_up(self) -> None:
        self._given_up = asyncio.ensure_future(self.close())

    def send(self, commands: Any) -> None:
        """Say all of this; `read` has the replies.

        Raises:
            redis.exceptions.ConnectionError: the connection is of no more use.
        """
        if self._wire is None:
            raise redis_errors.ConnectionError("the connection is closed")
        self._wire.write(packed(commands))

    async def read(self) -> Any:
        """One reply, or the error that it is; something that was told is a `PushNotification`.

        Raises:
            redis.exceptions.RedisError: the connection is of no more use.
        """
        if self._wire is None:
            raise redis_errors.ConnectionError("the connection is closed")
        return await self._wire.read()

    async def read_any(self) -> Any:
        """`read`, but errors that the server answers are raised."""
        reply = await self.read()
        if isinstance(reply, redis_errors.RedisError):
            raise reply
        return reply

    async def readable(self, timeout: float) -> None:
        """Wait until there is something to read, for `timeout` seconds at most."""
        if self._wire is not None:
            await self._wire.wait(timeout)

    def on_heard(self, heard: Callable[[], None]) -> None:
        """Have this called when there is something to read, rather than wait for it."""
        if self._wire is not None:
            self._wire.heard = heard

    @property
    def can_read(self) -> bool:
        """Does `read` return, or raise, at once?"""
        return self._wire is None or self._wire.can_read

    @property
    def alive(self) -> bool:
        """Has the server not hung up, as far as that can be seen from here?"""
        return self._wire is not None and self._wire.is_open

    async def close(self) -> None:
        """Hang up."""
        wire, self._wire = self._wire, None
        try:
            await self._connection.disconnect(nowait=True)
            if wire is not None:
                wire.hang_up(politely=self._secure)
                if self._secure:
                    # TLS says goodbye, which takes a moment; a loop that ends before would
                    # complain.
                    await asyncio.wait([wire.closed], timeout=_GOODBYE)
        except LINK_ERRORS:
            pass


def on_loop(store: RedisStore) -> LoopClient:
    """The client of the running event loop; it is closed when the loop ends."""
    loop = asyncio.get_running_loop()
    client: LoopClient | None = store.loops.get(loop)
    if client is None:
        client = store.loops[loop] = LoopClient(store)
    return client


class LoopClient:
    """All connections of one event loop to one address.

    Args:
        store: what they are connections of.
    """

    def __init__(self, store: RedisStore) -> None:
        self.address = store.address
        self.topology = store.topology
        self._store = store
        self._kept: set[LoopLink] = set()
        self._idle: dict[Node | None, deque[LoopLink]] = {}
        self._guard: AsyncGenerator[None, None] | None = None

    async def run(self, steps: Steps[T]) -> T:
        """Do work that is written as steps.

        Raises:
            OperationalError: Redis cannot be reached, or refuses.
        """
        try:
            calls = next(steps)
            while True:
                calls = steps.send(await self.exchange(self.topology.carry(calls)))
        except StopIteration as stop:
            result: T = stop.value
            return result

    async def call(self, call: Call) -> Any:
        """Send one call the short way; its reply."""
        if self.topology.fixed:
            node = self.topology.node_of(call.key)
            answer = await self._talk(Talk(node, (call.words,)))
            if type(answer) is list and not isinstance(answer[0], Exception):
                return answer[0]
            if isinstance(answer, Exception):
                raise self.topology.explain(answer, node)
        # Nothing has happened if it was refused: the long way knows what to do.
        return (await self.calls(call))[0]

    async def calls(self, *calls: Call) -> list[Any]:
        """Send calls in one round trip; their replies."""
        replies: list[Any] = await self.exchange(self.topology.carry(calls))
        return replies

    async def exchange(self, exchange: Exchange) -> Any:
        """Carry what an exchange wants to be said, until it has its result."""
        try:
            talks = next(exchange)
            while True:
                if len(talks) == 1:
                    answers = [await self._talk(talks[0])]
                else:
                    answers = await asyncio.gather(*map(self._talk, talks))
                talks = exchange.send(answers)
        except StopIteration as stop:
            return stop.value

    async def _talk(self, talk: Talk) -> Answers | Exception:
        try:
            link = await self._acquire(talk.node, talk.to_sentinel)
        except LINK_ERRORS as exc:
            return Unreachable(exc)
        try:
            answers = await link.talk(talk.commands)
        except LINK_ERRORS as exc:
            await link.close()
            await self.close()  # what ended this one has ended the others too
            return exc
        except BaseException:
            await link.close()
            raise
        if talk.to_sentinel:
            await link.close()
        else:
            self._idle.setdefault(talk.node, deque()).append(link)
        return answers

    async def _acquire(self, node: Node | None, to_sentinel: bool) -> LoopLink:
        idle = self._idle.get(node)
        while idle and not to_sentinel:
            link = idle.pop()
            if link.alive:
                return link
            await link.close()
        if self._guard is None:
            # asyncio.run ends a loop's asynchronous generators before it closes the loop.
            self._guard = self._until_the_loop_ends()
            await anext(self._guard)
        return await LoopLink.open(self.address, node, to_sentinel)

    async def _until_the_loop_ends(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self.close()
            for link in list(self._kept):
                await link.close()
            await asyncio.sleep(0)  # the loop lets go of what was closed in its next turn
            self._store.loops.pop(asyncio.get_running_loop(), None)

    def keep(self, link: LoopLink) -> None:
        """Close this connection of somebody's own, at the latest when the loop ends."""
        self._kept.add(link)

    def let_go(self, link: LoopLink) -> None:
        """Its owner has closed it."""
        self._kept.discard(link)

    async def open(self, key: str = "", protocol: int = 2) -> LoopLink:
        """A connection of one's own to the server of a key, for whoever blocks or listens.

        Raises:
            OperationalError: it cannot be reached.
        """
        await self.exchange(self.topology.find())
        node = self.topology.node_of(key)
        try:
            return await LoopLink.open(self.address, node, protocol=protocol)
        except LINK_ERRORS as exc:
            self.topology.forget()
            raise explain(exc, self.topology.shown(node)) from exc

    async def close(self) -> None:
        """Hang up all connections that are not in use."""
        for links in self._idle.values():
            while links:
                await links.pop().close()
