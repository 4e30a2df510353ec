"""A clock that orders what happens on many machines."""

from __future__ import annotations

import threading


class LamportClock:
    """Counts events, and never stays behind a clock that it has heard of.

    Leslie Lamport, "Time, Clocks, and the Ordering of Events in a Distributed System", 1978.
    """

    def __init__(self) -> None:
        self.value = 0
        self._lock = threading.Lock()

    def forward(self) -> int:
        """Something happens here: the next number."""
        with self._lock:
            self.value += 1
            return self.value

    def adjust(self, other: object) -> int:
        """Something was heard from a place whose clock stood at `other`.

        Args:
            other: the number; what is none is left out of account.
        """
        heard = other if isinstance(other, int) else 0
        with self._lock:
            self.value = max(self.value, heard) + 1
            return self.value
