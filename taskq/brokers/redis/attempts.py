"""Attempts to publish, so that one whose reply was lost is not made twice."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Sequence

from taskq.brokers.redis.enqueue import Attempt
from taskq.message import TaskMessage

_UNSURE = 1000
"""Attempts whose outcome is not known that are remembered at most."""


class Attempts:
    """Names attempts to publish, so that one whose reply was lost is recognised.

    Whoever publishes the same messages again after an error takes up the same attempt.
    """

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._senders: deque[str] = deque()
        self._unsure: dict[str, Attempt] = {}
        self._numbers = itertools.count()

    def begin(self, messages: Sequence[TaskMessage]) -> Attempt:
        """An attempt to publish these messages; `done` or `unsure` must follow."""
        if self._pid != os.getpid():
            self._start()
        attempt = self._unsure.pop(_first_id(messages), None) if self._unsure else None
        return attempt or Attempt(self._sender(), str(next(self._numbers)))

    def done(self, attempt: Attempt) -> None:
        """It has come through."""
        self._senders.append(attempt.sender)

    def unsure(self, messages: Sequence[TaskMessage], attempt: Attempt) -> None:
        """It has failed, and may have come through all the same."""
        self._unsure[_first_id(messages)] = attempt._replace(again=True)
        if len(self._unsure) > _UNSURE:
            del self._unsure[next(iter(self._unsure))]

    def _sender(self) -> str:
        """A name under which nobody else sends just now."""
        try:
            return self._senders.pop()
        except IndexError:
            return os.urandom(6).hex()


def _first_id(messages: Sequence[TaskMessage]) -> str:
    return str(messages[0].headers.get("id"))
