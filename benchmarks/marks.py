"""The clocks that tasks leave behind: a memory-mapped file that every process shares.

Task *i* writes `time.monotonic()` into slot *i*. On Linux that clock is one for the whole
machine, so the slots of all worker processes can be compared with each other, and a rate comes
out the same way for every task queue, however it reports its own progress.
"""

from __future__ import annotations

import mmap
import time
from array import array
from pathlib import Path

_CLOCK_BYTES = 8


class Marks:
    """A row of clocks in a file; a slot that holds 0.0 has not been reached.

    Args:
        path: A file made by `Marks.create`.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._clocks: memoryview[float] = memoryview(self._map).cast("d")

    @classmethod
    def create(cls, path: Path, slots: int) -> Marks:
        """Makes the file with `slots` empty slots and opens it."""
        path.write_bytes(bytes(slots * _CLOCK_BYTES))
        return cls(path)

    def put(self, slot: int) -> int:
        """Writes the clock into `slot` and returns the slot: the whole body of a no-op task."""
        self._clocks[slot] = time.monotonic()
        return slot

    def get(self, slot: int) -> float:
        """Returns the clock in `slot`, in seconds, 0.0 while no task has reached it."""
        return self._clocks[slot]

    def read(self, first: int, count: int) -> list[float]:
        """Returns the clocks of `count` slots from `first`, in slot order."""
        return list(self._clocks[first : first + count])

    def reached(self, first: int, count: int) -> int:
        """Returns how many of `count` slots from `first` hold a clock.

        Cheap enough to poll: 100,000 slots are counted in well under a millisecond.
        """
        copy = array("d")
        copy.frombytes(self._map[first * _CLOCK_BYTES : (first + count) * _CLOCK_BYTES])
        return count - copy.count(0.0)

    def close(self) -> None:
        """Unmaps the file."""
        self._clocks.release()
        self._map.close()
