"""A schedule store that lives in one process: for tests."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from taskq.beat.stores.base import Claim, Held, Record, ScheduleStore, new_version, version_text
from taskq.message import pack


class MemoryScheduleStore(ScheduleStore):
    """Keeps rows in this process, and loses them with it.

    Args:
        lease: seconds for which a message of the outbox is held.
        clock: gives the time.
    """

    def __init__(self, lease: float = 10.0, clock: Callable[[], float] = time.time) -> None:
        self._lock = threading.Lock()
        self._lease = lease
        self._clock = clock
        self._rows: dict[str, Record] = {}
        self._outbox: dict[int, tuple[float, bytes]] = {}
        self._numbers = itertools.count(1)
        self._version = 0  # until the first edit

    def poll(self) -> tuple[float, str]:
        return self._clock(), version_text(self._version)

    def _changed(self) -> None:
        self._version = self._version + 1 if self._version else new_version()

    def load(self) -> list[Record]:
        with self._lock:
            return [msgspec.structs.replace(row) for row in self._rows.values()]

    def read(self, names: Sequence[str]) -> list[Record]:
        with self._lock:
            found = (self._rows.get(name) for name in names)
            return [msgspec.structs.replace(row) for row in found if row is not None]

    def put(self, records: Sequence[Record]) -> None:
        with self._lock:
            for record in records:
                row = self._rows.get(record.name)
                if row is None:
                    self._rows[record.name] = msgspec.structs.replace(record)
                elif row.revision != record.revision:
                    row.definition, row.source = record.definition, record.source
                    row.revision, row.due = record.revision, record.due
            self._changed()

    def remove(self, names: Sequence[str]) -> int:
        with self._lock:
            self._changed()
            return sum(self._rows.pop(name, None) is not None for name in names)

    def enable(self, name: str, due: float | None) -> bool:
        with self._lock:
            row = self._rows.get(name)
            if row is not None and not row.enabled:
                row.enabled, row.due = True, due
                self._changed()
            return row is not None

    def disable(self, name: str) -> bool:
        with self._lock:
            row = self._rows.get(name)
            if row is not None:
                row.enabled = False
                self._changed()
            return row is not None

    def reset(self, name: str, due: float | None, next_due: float | None) -> bool:
        with self._lock:
            row = self._rows.get(name)
            if row is None or row.due != due:
                return False
            row.due, row.last_due = next_due, None
            self._changed()
            return True

    def claim(self, claims: Sequence[Claim]) -> set[str]:
        won = set()
        with self._lock:
            for claim in claims:
                row = self._rows.get(claim.name)
                if row is not None and self._counts(row, claim):
                    won.add(claim.name)
                    self._apply(row, claim)
                    for message in claim.messages:
                        self._outbox[next(self._numbers)] = 0.0, pack(message)
        return won

    def _counts(self, row: Record, claim: Claim) -> bool:
        return (
            row.enabled
            and (row.due, row.revision) == (claim.due, claim.revision)
            and (row.last_due is None or row.last_due < claim.last)
            and claim.due <= self._clock()
        )

    def _apply(self, row: Record, claim: Claim) -> None:
        row.due, row.last_due = claim.next_due, claim.last
        row.runs += claim.runs
        row.missed += claim.missed
        row.failures += claim.failures
        row.error = claim.error
        if claim.runs:
            row.last_run, row.lateness = claim.now, claim.lateness

    def take(self, limit: int) -> list[Held]:
        now = self._clock()
        with self._lock:
            free = [tag for tag, (until, _) in self._outbox.items() if until <= now][:limit]
            for tag in free:
                self._outbox[tag] = now + self._lease, self._outbox[tag][1]
            return [Held(tag, self._outbox[tag][1]) for tag in free]

    def sent(self, held: Sequence[Held]) -> None:
        with self._lock:
            for one in held:
                assert isinstance(one.tag, int)
                self._outbox.pop(one.tag, None)
