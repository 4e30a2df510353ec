"""Which tasks are short, and how much of them may be on its way to the children."""

from __future__ import annotations

SHORT = 0.001
"""Seconds; a task that takes less is short."""
PROVEN = 100
"""Short runs after which a task is known to be short."""
BUNDLE = 32
"""Tasks in one packet at most."""
_STREAK_MAX = 10_000
_OVERHEAD = 0.000015
"""Seconds that a child needs for a task beside running it."""
_PACKET = 0.0005
"""Seconds of work in one packet."""
_AHEAD = 0.002
"""Seconds of work that wait in the socket for each child at most."""


class Pace:
    """Knows which tasks are short, by how long their last runs took.

    A task is short when at least 100 runs took less than a millisecond.  One that takes
    longer counts against it: a little if the machine may simply have been busy with
    something else for a moment, and all of it otherwise.
    """

    def __init__(self) -> None:
        self._streaks: dict[str, int] = {}
        self._means: dict[str, float] = {}

    def is_short(self, name: str) -> bool:
        """Is this task known to be short?"""
        return self._streaks.get(name, 0) >= PROVEN

    def bundle(self, name: str) -> int:
        """How many runs of a short task make one packet."""
        return max(1, min(BUNDLE, int(_PACKET / (self._means.get(name, SHORT) + _OVERHEAD))))

    def packets(self, name: str) -> int:
        """How many packets of a short task a child may have: one in hand, others waiting."""
        work = self.bundle(name) * (self._means.get(name, SHORT) + _OVERHEAD)
        return 1 + max(1, int(_AHEAD / work))

    def note(self, name: str, runtime: float) -> None:
        """Remember how long a run took, in seconds."""
        streak = self._streaks.get(name, 0)
        if runtime < SHORT:
            if streak < _STREAK_MAX:
                self._streaks[name] = streak + 1
            mean = self._means.get(name, runtime)
            self._means[name] = mean + (runtime - mean) / PROVEN
        elif runtime < 20 * SHORT:
            self._streaks[name] = max(0, streak - PROVEN)
        else:
            self._streaks[name] = 0
