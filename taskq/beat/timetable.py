"""What is due next: entries in a heap, each tick no more than one step of it."""

from __future__ import annotations

import heapq

import msgspec

from taskq.schedules import ScheduleEntry


class Slot(msgspec.Struct, eq=False, gc=False):
    """An entry that this beat runs.

    Attributes:
        entry: what it says.
        revision: of its definition.
        due: when it runs next, a Unix time in seconds; None if never again.
    """

    entry: ScheduleEntry
    revision: str
    due: float | None


class Timetable:
    """The entries that this beat runs, by name and by when they are due."""

    def __init__(self) -> None:
        self.slots: dict[str, Slot] = {}
        # What is in the heap may be out of date: a due time counts if the slot still has it.
        self._heap: list[tuple[float, str]] = []

    def fill(self, slots: dict[str, Slot]) -> None:
        """Take in all entries at once; what was there before is gone."""
        self.slots = slots
        self._heap = [(slot.due, name) for name, slot in slots.items() if slot.due is not None]
        heapq.heapify(self._heap)

    def move(self, name: str, due: float | None) -> None:
        """Give an entry another due time."""
        slot = self.slots[name]
        slot.due = due
        if due is not None:
            heapq.heappush(self._heap, (due, name))

    def discard(self, name: str) -> None:
        """Forget an entry."""
        self.slots.pop(name, None)

    def first(self) -> float | None:
        """When the next one is due."""
        while self._heap and self._stale(*self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float, limit: int) -> list[Slot]:
        """Take out what is due, the oldest first; `move` puts it back."""
        found: list[Slot] = []
        names: set[str] = set()
        while self._heap and self._heap[0][0] <= now and len(found) < limit:
            due, name = heapq.heappop(self._heap)
            if not self._stale(due, name) and name not in names:
                names.add(name)
                found.append(self.slots[name])
        return found

    def _stale(self, due: float, name: str) -> bool:
        slot = self.slots.get(name)
        return slot is None or slot.due != due
