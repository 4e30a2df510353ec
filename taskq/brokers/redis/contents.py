"""What lies in a queue: how much, and which messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from taskq.brokers.base import DeadLetter, QueueDepth
from taskq.exceptions import DecodeError
from taskq.message import TaskMessage, unpack
from taskq.stores.redis import Steps
from taskq.stores.redis.calls import command
from taskq.stores.redis.keys import FREE, GROUP, QueueKeys


def depth_of(keys: QueueKeys) -> Steps[QueueDepth]:
    """How much a queue holds."""
    replies = yield [
        *(command(key, "XLEN", key) for key in keys.streams),
        command(keys.delayed, "ZCARD", keys.delayed),
        command(keys.dead, "XLEN", keys.dead),
    ]
    *lengths, delayed, dead = replies
    present = [key for key, length in zip(keys.streams, lengths, strict=True) if length]
    free = leased = 0
    for key in present:
        names, pending = yield from _pending(key)
        free += names.get(FREE, 0)
        leased += pending - names.get(FREE, 0)
    return QueueDepth(
        ready=max(sum(lengths) - leased, 0), leased=leased, delayed=delayed, dead=dead
    )


def _pending(stream: str) -> Steps[tuple[dict[str, int], int]]:
    """How many messages each consumer of a stream has, and all together."""
    groups: list[Any]
    (groups,) = yield [command(stream, "XINFO", "GROUPS", stream)]
    if not groups:
        return {}, 0
    (summary,) = yield [command(stream, "XPENDING", stream, GROUP)]
    rows = summary[3] or []
    return {name.decode(): int(count) for name, count in rows}, summary[0]


def waiting_in(keys: QueueKeys, limit: int) -> Steps[list[bytes]]:
    """What waits in a queue, in the order in which it will be served; then what is delayed."""
    found: list[bytes] = []
    for stream in reversed(keys.streams):
        if len(found) < limit:
            found += yield from _waiting(stream, limit - len(found))
    if len(found) < limit:
        (members,) = yield [
            command(keys.delayed, "ZRANGE", keys.delayed, 0, limit - len(found) - 1)
        ]
        found += [member.split(b":", 4)[4] for member in members]
    return found


def _waiting(stream: str, limit: int) -> Steps[list[bytes]]:
    """What waits in one stream: first what was there before and waits again."""
    (length,) = yield [command(stream, "XLEN", stream)]
    if not length:
        return []
    (groups,) = yield [command(stream, "XINFO", "GROUPS", stream)]
    after, found = "-", []
    for about in map(_as_dict, groups):
        if about["name"] == GROUP.encode():
            after = "(" + about["last-delivered-id"].decode()
            (rows,) = yield [command(stream, "XPENDING", stream, GROUP, "-", "+", limit, FREE)]
            if rows:
                entries = yield [command(stream, "XRANGE", stream, row[0], row[0]) for row in rows]
                found += [entry[0][1][1] for entry in entries if entry]
    if len(found) < limit:
        (entries,) = yield [
            command(stream, "XRANGE", stream, after, "+", "COUNT", limit - len(found))
        ]
        found += [fields[1] for _, fields in entries]
    return found


def _as_dict(flat: Sequence[Any]) -> dict[str, Any]:
    """An answer of XINFO."""
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def dead_letter(queue: str, entry: bytes, fields: Sequence[bytes]) -> DeadLetter:
    """The dead letter in an entry."""
    about = _as_dict(fields)
    return DeadLetter(
        f"{queue}/{entry.decode()}",
        queue,
        about["reason"].decode(errors="replace"),
        float(about["died"]),
        int(about["deliveries"]),
        int(about["crashes"]),
        _try_unpack(about["m"]),
        about["m"],
    )


def dead_ids(ids: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Queue and entry of each id that could be one."""
    for name in ids:
        queue, slash, entry = name.rpartition("/")
        time_part, dash, number = entry.partition("-")
        if slash and dash and time_part.isdigit() and number.isdigit():
            yield queue, entry


def readable(packed: Iterable[bytes]) -> list[TaskMessage]:
    """Those of these messages that can be read."""
    return [message for one in packed if (message := _try_unpack(one)) is not None]


def _try_unpack(packed: bytes) -> TaskMessage | None:
    try:
        return unpack(packed)
    except DecodeError:
        return None
