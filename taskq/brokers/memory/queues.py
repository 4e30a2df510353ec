"""What waits in the queues of a `MemoryBroker`."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from taskq.message import MAX_PRIORITY


@dataclass(slots=True, eq=False)
class Entry:
    """One message.  `until` is the end of its lease, or when it is due."""

    seq: int
    queue: str
    packed: bytes
    priority: int
    until: float = 0.0
    owner: int = 0
    deliveries: int = 0
    crashes: int = 0


class WaitingQueue:
    """What waits in one queue; what is leased is known to the broker alone."""

    def __init__(self) -> None:
        self.ready = [deque[Entry]() for _ in range(MAX_PRIORITY + 1)]
        self.delayed: list[tuple[float, int, Entry]] = []

    def add(self, entry: Entry, now: float) -> None:
        if entry.until > now:
            heapq.heappush(self.delayed, (entry.until, entry.seq, entry))
        else:
            self.ready[entry.priority].append(entry)

    def give_back(self, entry: Entry) -> None:
        """Put it where it was: before all that came later."""
        row = self.ready[entry.priority]
        index = next((i for i, other in enumerate(row) if other.seq > entry.seq), len(row))
        row.insert(index, entry)

    def release(self, now: float) -> None:
        while self.delayed and self.delayed[0][0] <= now:
            self.give_back(heapq.heappop(self.delayed)[2])

    def find(self, seq: int) -> Entry | None:
        return next((entry for entry in self.waiting() if entry.seq == seq), None)

    def remove(self, entry: Entry) -> None:
        row = self.ready[entry.priority]
        if entry in row:
            row.remove(entry)
        else:
            self.delayed = [item for item in self.delayed if item[2] is not entry]
            heapq.heapify(self.delayed)

    def waiting(self) -> Iterator[Entry]:
        for row in reversed(self.ready):
            yield from row
        yield from (entry for _, _, entry in sorted(self.delayed))
