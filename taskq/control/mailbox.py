"""Commands and replies as they are told: Celery's and kombu's form.

A command goes to all workers by a fanout, and each judges whether it is meant.  A reply goes
to whoever has asked, by a direct channel whose key the asker has made up.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from taskq.brokers.notices import Channel, Notice
from taskq.exceptions import DecodeError, ImproperlyConfigured
from taskq.settings import Settings

MATCHERS = ("glob", "pcre", "regex")

_KEPT = 300.0
"""Seconds that a command waits for a worker that does not read."""
_LEFT = 10.0
"""Seconds that a mailbox outlives its owner, where brokers have such things."""


class ReplyTo(msgspec.Struct):
    """Where a reply goes."""

    exchange: str
    routing_key: str


class Command(msgspec.Struct):
    """What is asked of workers.

    Attributes:
        method: the name of the command.
        arguments: its arguments.
        destination: the names of the workers that are meant; None is all.
        pattern: a pattern of their names instead.
        matcher: how the pattern is read: ``glob``, or ``pcre`` (a regular expression).
        ticket: names the question, in the replies.
        reply_to: where replies go; None wants none.
    """

    method: str
    arguments: dict[str, Any] | None = None
    destination: list[str] | None = None
    pattern: str | None = None
    matcher: str | None = None
    ticket: str | None = None
    reply_to: ReplyTo | None = None

    def concerns(self, hostname: str) -> bool:
        """Is this worker meant?"""
        if self.pattern is not None and self.matcher is not None:
            return matches(self.pattern, self.matcher, hostname)
        return not self.destination or hostname in self.destination


def matches(pattern: str, matcher: str, hostname: str) -> bool:
    """Does a pattern take a worker's name?

    Raises:
        ImproperlyConfigured: there is no such matcher, or the pattern is none.
    """
    if matcher == "glob":
        return fnmatchcase(hostname, pattern)
    if matcher not in MATCHERS:
        raise ImproperlyConfigured(f"matcher={matcher!r}: there are {', '.join(MATCHERS)}")
    try:
        return re.match(pattern, hostname) is not None
    except re.error as exc:
        raise ImproperlyConfigured(f"pattern={pattern!r} is no regular expression: {exc}") from exc


def commands_channel(conf: Settings) -> Channel:
    """Where commands are told."""
    return Channel(f"{conf.control_exchange}.pidbox", "fanout", _KEPT, _LEFT)


def replies_channel(conf: Settings) -> Channel:
    """Where replies are told."""
    return Channel(f"reply.{conf.control_exchange}.pidbox", "direct", _KEPT, _LEFT)


_encode = msgspec.json.Encoder(enc_hook=repr).encode
_decode_command = msgspec.json.Decoder(Command).decode
_decode_reply = msgspec.json.Decoder(dict[str, Any]).decode


def command_notice(channel: Channel, command: Command, clock: int, timeout: float | None) -> Notice:
    """A command, as it is told."""
    expires = time.time() + timeout if timeout else 0
    headers = {"clock": clock, "expires": expires}
    return Notice(channel, "", _encode(command), headers, expires=timeout)


def read_command(notice: Notice) -> Command:
    """A command that was told.

    Raises:
        DecodeError: it is none.
    """
    _check_content_type(notice)
    try:
        return _decode_command(notice.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise DecodeError(f"no command: {exc}: {notice.body[:200]!r}") from exc


def has_expired(notice: Notice) -> bool:
    """Does nobody wait for it any more?"""
    expires = notice.headers.get("expires")
    return isinstance(expires, int | float) and 0 < expires < time.time()


def reply_notice(to: ReplyTo, hostname: str, value: Any, ticket: str | None, clock: int) -> Notice:
    """A reply, as it is told; what JSON does not know goes as its ``repr``."""
    channel = Channel(to.exchange, "direct", _KEPT, _LEFT)
    headers = {"ticket": ticket, "clock": clock}
    return Notice(channel, to.routing_key, _encode({hostname: jsonable(value)}), headers)


def read_reply(notice: Notice) -> dict[str, Any]:
    """A reply that was told: the answer by the worker's name.

    Raises:
        DecodeError: it is none.
    """
    _check_content_type(notice)
    try:
        return _decode_reply(notice.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise DecodeError(f"no reply: {exc}: {notice.body[:200]!r}") from exc


def _check_content_type(notice: Notice) -> None:
    if notice.content_type != "application/json":
        raise DecodeError(
            f"content type {notice.content_type!r}: commands and replies are application/json"
        )


def jsonable(value: Any) -> Any:
    """A value that JSON knows: keys as text, and what it does not know as its ``repr``."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [jsonable(item) for item in value]
    if isinstance(value, set | frozenset):
        return [jsonable(item) for item in value]
    return repr(value)
