"""Telling workers a command, and collecting what they answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from taskq.control.mailbox import (
    MATCHERS,
    Command,
    ReplyTo,
    command_notice,
    commands_channel,
    matches,
    read_reply,
    replies_channel,
)
from taskq.exceptions import DecodeError, ImproperlyConfigured
from taskq.message import new_id

if TYPE_CHECKING:
    from taskq.app import TaskQ

Reply = dict[str, Any]
"""What one worker has answered, by its name."""


class Broadcaster:
    """Tells all workers of an app, or some of them, to do something.

    Args:
        app: whose workers.
    """

    def __init__(self, app: TaskQ) -> None:
        self._app = app

    def broadcast(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        destination: str | Sequence[str] | None = None,
        connection: Any = None,
        reply: bool = False,
        timeout: float | None = 1.0,
        limit: int | None = None,
        callback: Callable[[Reply], Any] | None = None,
        channel: Any = None,
        pattern: str | None = None,
        matcher: str | None = None,
        **extra: Any,
    ) -> list[Reply] | None:
        """Tell workers to do something, and collect their answers.

        Args:
            command: the name of the command.
            arguments: its arguments.
            destination: the names of the workers that are meant; all by default.
            connection: accepted for Celery's sake.
            reply: wait for answers.
            timeout: seconds to wait for them; a worker that reads the command later leaves
                it alone.
            limit: answers after which there is no need to wait any longer.
            callback: called with each answer as it comes.
            channel: accepted for Celery's sake.
            pattern: a pattern of the names of the workers that are meant, in place of a
                `destination`.
            matcher: how the pattern is read: ``glob`` (which it is by default), or ``pcre``,
                a regular expression.
            extra: more arguments of the command.

        Returns:
            The answers, each a dictionary from the worker's name to what it said; None if
            none were asked for.

        Raises:
            ImproperlyConfigured: the broker cannot tell all workers, or a pattern makes no
                sense.
            OperationalError: the broker cannot be reached.
        """
        if isinstance(destination, str):
            destination = [destination]
        told = _command(command, {**(arguments or {}), **extra}, destination, pattern, matcher)
        if not reply:
            self._tell(told, None)
            return None
        if limit is None and destination is not None:
            limit = len(destination)
        return self._ask(told, timeout, limit, callback)

    def _tell(self, command: Command, timeout: float | None) -> None:
        app = self._app
        notice = command_notice(commands_channel(app.conf), command, app.clock.forward(), timeout)
        app.broker.broadcast([notice])

    def _ask(
        self,
        command: Command,
        timeout: float | None,
        limit: int | None,
        callback: Callable[[Reply], Any] | None,
    ) -> list[Reply]:
        app = self._app
        channel = replies_channel(app.conf)
        mine = new_id()
        command.ticket = new_id()
        command.reply_to = ReplyTo(channel.name, mine)
        replies: list[Reply] = []
        with app.broker.subscribe(channel, [mine], name=f"{mine}.{channel.name}") as answers:
            self._tell(command, timeout)
            deadline = None if timeout is None else time.monotonic() + timeout
            while limit is None or len(replies) < limit:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    break
                for notice in answers.receive(left):
                    app.clock.adjust(notice.headers.get("clock"))
                    if notice.headers.get("ticket") not in (None, command.ticket):
                        continue
                    try:
                        answer = read_reply(notice)
                    except DecodeError:
                        continue  # whatever that was, it was no worker
                    replies.append(answer)
                    if callback is not None:
                        callback(answer)
        return replies


def _command(
    name: str,
    arguments: Mapping[str, Any],
    destination: Sequence[str] | None,
    pattern: str | None,
    matcher: str | None,
) -> Command:
    """A command, of which a mistake is told here, and not by the workers."""
    if pattern is not None:
        matcher = matcher or "glob"
        matches(pattern, matcher, "")
    elif matcher is not None and matcher not in MATCHERS:
        raise ImproperlyConfigured(f"matcher={matcher!r}: there are {', '.join(MATCHERS)}")
    return Command(
        name,
        dict(arguments),
        None if destination is None else list(destination),
        pattern,
        matcher if pattern is not None else None,
    )
