"""Which tasks are short."""

from __future__ import annotations

SHORT = 0.001
"""Seconds; a task that takes less is short."""
PROVEN = 100
"""Short runs after which a task is known to be short."""
_STREAK_MAX = 10_000


class Pace:
    """Knows which tasks are short, by how long their last runs took.

    A task is short when at least 100 runs took less than a millisecond.  One that takes
    longer counts against it: a little if the machine may simply have been busy with
    something else for a moment, and all of it otherwise.
    """

    def __init__(self) -> None:
        self._streaks: dict[str, int] = {}

    def is_short(self, name: str) -> bool:
        """Is this task known to be short?"""
        return self._streaks.get(name, 0) >= PROVEN

    def note(self, name: str, runtime: float) -> None:
        """Remember how long a run took, in seconds."""
        streak = self._streaks.get(name, 0)
        if runtime < SHORT:
            if streak < _STREAK_MAX:
                self._streaks[name] = streak + 1
        elif runtime < 20 * SHORT:
            self._streaks[name] = max(0, streak - PROVEN)
        else:
            self._streaks[name] = 0
