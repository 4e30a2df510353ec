"""Notices as Redis tells them: by publish and subscribe, of which nothing is kept.

A fanout is one channel of Redis's, a direct or topic channel is one for each key, and a
pattern of topics is one of Redis's patterns, which takes a little more than it should.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from hiredis import PushNotification

from taskq.brokers.notices import Channel, Notice
from taskq.stores.redis.calls import Call, command
from taskq.stores.redis.keys import Layout

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Notice).decode


def tell_calls(layout: Layout, notices: Sequence[Notice]) -> list[Call]:
    """The calls that tell notices."""
    calls = []
    for notice in notices:
        base = layout.notices(notice.channel.name)
        name = base if notice.channel.kind == "fanout" else f"{base}/{notice.key}"
        # On a cluster by way of one and the same node, which keeps their order.
        calls.append(command(base, "PUBLISH", name, _encode(notice)))
    return calls


class Place:
    """What one subscription listens to.

    Args:
        layout: where things lie.
        channel: where to listen.
        keys: which notices of it.
    """

    def __init__(self, layout: Layout, channel: Channel, keys: Sequence[str]) -> None:
        self._channel = channel
        self._keys = tuple(keys)
        base = layout.notices(channel.name)
        if channel.kind == "fanout":
            self.command: tuple[str, ...] = ("SUBSCRIBE", base)
        elif channel.kind == "direct":
            self.command = ("SUBSCRIBE", *(f"{base}/{key}" for key in self._keys))
        else:
            # One pattern for all keys: what two of them take would come twice.
            pattern = _pattern(self._keys[0]) if len(self._keys) == 1 else "*"
            self.command = ("PSUBSCRIBE", f"{_escaped(base)}/{pattern}")

    def confirmations(self) -> int:
        """How many answers the command has."""
        return len(self.command) - 1

    def heard(self, reply: Any) -> list[Notice]:
        """The notice that a reply is; none if it is something else."""
        if not isinstance(reply, PushNotification) or reply[0] not in (b"message", b"pmessage"):
            return []
        notice = _decode(reply[-1])
        return [notice] if self._channel.reaches(self._keys, notice.key) else []


def _escaped(text: str) -> str:
    """Text that a pattern takes to the letter."""
    return re.sub(r"([\\*?\[\]])", r"\\\1", text)


def _pattern(key: str) -> str:
    """Redis's pattern for a pattern of topics."""
    return ".".join("*" if word in ("*", "#") else _escaped(word) for word in key.split("."))
