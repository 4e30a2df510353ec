"""What has come of results, for as long as somebody may ask; bounded, without any I/O."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence

import msgspec

from taskq import states
from taskq.backends.base import Outcome, supersedes

logger = logging.getLogger("taskq.results")

MAX_BYTES = 256 * 1024 * 1024
"""Bytes of results that are kept at most."""
_READ = 10_000
"""Results that are kept although somebody has read them, at most."""
_QUIET = 60.0
"""Seconds for which nothing more is said of results that nobody has read."""


class _Entry(msgspec.Struct, gc=False):
    outcome: Outcome
    expires: float


class Kept:
    """Results that have come to this process; any thread may use it.

    Args:
        expires: seconds that one is kept; 0 keeps it for as long as there is room.
        limit: how many are kept at most.  Those that were read go first, then the oldest.
    """

    def __init__(self, expires: float, limit: int) -> None:
        self._expires = expires
        self._limit = limit
        self._lock = threading.Lock()
        # In the order of coming, which is the order of expiry.
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._read: OrderedDict[str, None] = OrderedDict()
        self._bytes = 0
        self._quiet_until = 0.0

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Take in what has come; what is there stays unless it is superseded."""
        now = time.monotonic()
        with self._lock:
            self._expire(now)
            for outcome in outcomes:
                known = self._entries.get(outcome.task_id)
                if known is not None:
                    if not supersedes(outcome.state, known.outcome.state):
                        continue
                    self._drop(outcome.task_id)
                expires = now + self._expires if self._expires else float("inf")
                self._entries[outcome.task_id] = _Entry(outcome, expires)
                self._bytes += len(outcome.payload)
            self._make_room(now)

    def find(self, task_ids: Sequence[str]) -> dict[str, Outcome]:
        """Those of these that are here; from now on they make room before others."""
        found: dict[str, Outcome] = {}
        with self._lock:
            self._expire(time.monotonic())
            for task_id in task_ids:
                entry = self._entries.get(task_id)
                if entry is not None:
                    found[task_id] = entry.outcome
                    if entry.outcome.state in states.READY_STATES:
                        self._read[task_id] = None
            while len(self._read) > max(_READ, len(found)):
                self._drop(next(iter(self._read)))
        return found

    def forget(self, task_ids: Iterable[str]) -> None:
        """Keep these no longer."""
        with self._lock:
            for task_id in task_ids:
                self._drop(task_id)

    def expire(self) -> int:
        """Let go of what has expired, and tell how many that were."""
        with self._lock:
            return self._expire(time.monotonic())

    def _drop(self, task_id: str) -> None:
        self._read.pop(task_id, None)
        entry = self._entries.pop(task_id, None)
        if entry is not None:
            self._bytes -= len(entry.outcome.payload)

    def _expire(self, now: float) -> int:
        count = 0
        while self._entries:
            task_id, entry = next(iter(self._entries.items()))
            if entry.expires > now:
                break
            self._drop(task_id)
            count += 1
        return count

    def _make_room(self, now: float) -> None:
        while len(self._entries) > self._limit or self._bytes > MAX_BYTES:
            if self._read:
                self._drop(next(iter(self._read)))
                continue
            task_id = next(iter(self._entries))
            self._drop(task_id)
            if now >= self._quiet_until:
                self._quiet_until = now + _QUIET
                logger.warning(
                    "results have come that nobody reads: the oldest, such as that of %s, are let "
                    "go. Read them, send with ignore_result=True, or raise result_cache_max (%d)",
                    task_id,
                    self._limit,
                )
