"""Putting messages into the queues of Redis: where they go, and the calls that do it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from taskq.brokers.redis.scripts import ENQUEUE
from taskq.exceptions import QueueNotFound
from taskq.message import TaskMessage, pack
from taskq.routing import matching_queues
from taskq.stores.redis import Call, Steps
from taskq.stores.redis.calls import Word, command

if TYPE_CHECKING:
    from taskq.stores.redis.keys import Layout, QueueKeys

ONCE_WINDOW = 3600.0
"""Seconds for which a message with a `TaskMessage.once` key, or an attempt, is recognised."""
_ONCE_MS = int(ONCE_WINDOW * 1000)
PART = 5000
"""Messages in one call at most: more would hold Redis up for tens of milliseconds."""
TEMPORARY = "temporary"

Routed = tuple[TaskMessage, "QueueKeys", bool]
"""A message, a queue that it goes to, and whether that one goes with its consumer."""


class Places:
    """Keys of one kind that a script names by their place, from 1."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def of(self, key: str) -> int:
        """The place of a key, which is added if it is new."""
        return self._places.setdefault(key, len(self._places) + 1)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)


class Envelopes:
    """Messages as the scripts take them, and the keys that they name.

    Attributes:
        streams: the streams that messages go to.
        channels: of each delayed set, where its queue's workers are woken.
        sets: the delayed sets.
        others: all other keys.
    """

    def __init__(self) -> None:
        self.streams = Places()
        self.sets = Places()
        self.channels: list[str] = []
        self.others = Places()

    def delayed_set(self, keys: QueueKeys) -> int:
        """The place of a queue's delayed set."""
        place = self.sets.of(keys.delayed)
        if place > len(self.channels):
            self.channels.append(keys.wake)
        return place

    def words(self, message: TaskMessage, keys: QueueKeys, temporary: bool) -> Sequence[Word]:
        """One message: the place of its stream, the message, and what is special about it."""
        if message.due is None and message.once is None and not temporary:
            return (self.streams.of(keys.streams[message.priority]), pack(message), "")
        # A temporary queue has one stream: it is made and kept by its owner.
        priority = 0 if temporary else message.priority
        due = once = delayed = 0
        if message.due is not None:
            # Rounded up: the server's clock has whole milliseconds, and none may come early.
            due, delayed = math.ceil(message.due * 1000), self.delayed_set(keys)
        if message.once is not None:
            once = self.others.of(keys.once(message.once))
        special = f"{delayed} {due} {once} {int(temporary)} {member_head(priority)}"
        return (self.streams.of(keys.streams[priority]), pack(message), special)


def member_head(priority: int, deliveries: int = 0, crashes: int = 0) -> str:
    """What a message in a delayed set begins with; unique, since equal messages are two."""
    return f"{priority}:{deliveries}:{crashes}:{os.urandom(6).hex()}:"


def route(layout: Layout, messages: Sequence[TaskMessage]) -> Steps[list[Routed]]:
    """The queues of each message.

    Raises:
        QueueNotFound: nothing is bound to the exchange of one of them.
    """
    exchanges = list(dict.fromkeys(message.exchange for message in messages if message.exchange))
    if not exchanges:
        return [(message, layout.queue(message.routing_key), False) for message in messages]
    keys = [layout.exchange(name) for name in exchanges]
    replies = yield [command(key, "HGETALL", key) for key in keys]
    bindings = {name: _bindings(flat) for name, flat in zip(exchanges, replies, strict=True)}
    gone = yield from _gone(layout, bindings)
    routed: list[Routed] = []
    for message in messages:
        if not message.exchange:
            routed.append((message, layout.queue(message.routing_key), False))
            continue
        rows = bindings[message.exchange]
        found = matching_queues(
            [(kind, key, queue) for kind, key, queue, _ in rows if queue not in gone],
            message.routing_key,
        )
        if not found:
            raise QueueNotFound(
                f"no queue is bound to exchange {message.exchange!r} for routing key "
                f"{message.routing_key!r}: declare one in task_queues, or start its worker first"
            )
        passing = {queue for _, _, queue, temporary in rows if temporary}
        routed += [(message, layout.queue(name), name in passing) for name in found]
    return routed


Row = tuple[str, str, str, bool]
"""Exchange type, routing key, queue, and whether that goes with its consumer."""


def binding_field(routing_key: str, queue: str) -> str:
    """How an exchange's hash names a binding."""
    return f"{routing_key}\0{queue}"


def _bindings(flat: Sequence[bytes]) -> list[Row]:
    rows: list[Row] = []
    for field, value in zip(flat[::2], flat[1::2], strict=True):
        key, _, queue = field.decode().partition("\0")
        kind, _, life = value.decode().partition(" ")
        rows.append((kind, key, queue, life == TEMPORARY))
    return sorted(rows, key=lambda row: row[2])


def _gone(layout: Layout, bindings: dict[str, list[Row]]) -> Steps[set[str]]:
    """Queues that have gone with their consumers; their bindings are taken away."""
    passing = sorted({row[2] for rows in bindings.values() for row in rows if row[3]})
    if not passing:
        return set()
    streams = [layout.queue(name).streams[0] for name in passing]
    there = yield [command(key, "EXISTS", key) for key in streams]
    gone = {name for name, found in zip(passing, there, strict=True) if not found}
    fields = [
        (layout.exchange(exchange), binding_field(row[1], row[2]))
        for exchange, rows in bindings.items()
        for row in rows
        if row[2] in gone
    ]
    if fields:
        yield [command(key, "HDEL", key, field) for key, field in fields]
    return gone


class Attempt(NamedTuple):
    """One attempt to publish, which is recognised if it has to be made again.

    Attributes:
        sender: whoever sends remembers one attempt at a time under this name.
        name: of the attempt.
        again: it has been made before, and its reply was lost.
    """

    sender: str
    name: str
    again: bool = False


def plain_call(attempt: Attempt, message: TaskMessage, keys: QueueKeys) -> Call:
    """`enqueue_calls` of one message with nothing special about it, the short way."""
    return ENQUEUE.call(
        (keys.sender(attempt.sender), keys.streams[message.priority]),
        attempt.name,
        int(attempt.again),
        _ONCE_MS,
        1,
        0,
        1,
        pack(message),
        "",
    )


def enqueue_calls(attempt: Attempt, routed: Sequence[Routed]) -> list[Call]:
    """The calls that publish messages of one slot.

    Args:
        attempt: this one.
        routed: the messages.
    """
    calls = []
    for start in range(0, len(routed), PART):
        part = routed[start : start + PART]
        envelopes = Envelopes()
        words: list[Word] = []
        for message, keys, temporary in part:
            words += envelopes.words(message, keys, temporary)
        # Each part is remembered apart, so that one that came through is not sent again.
        sender = f"{attempt.sender}:{start}" if start else attempt.sender
        calls.append(
            ENQUEUE.call(
                [
                    *(part[0][1].sender(sender), *envelopes.streams),
                    *(*envelopes.sets, *envelopes.others),
                ],
                attempt.name,
                int(attempt.again),
                _ONCE_MS,
                len(envelopes.streams),
                len(envelopes.sets),
                *envelopes.channels,
                *words,
            )
        )
    return calls
