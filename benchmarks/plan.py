"""How much is measured: sizes and time-outs of a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes; all times are seconds.

    Args:
        tasks: No-op tasks of a rate.
        rounds: How often every measure is repeated for every subject.
        batch: Tasks in one call of a bulk enqueue.
        backlog: Tasks waiting in a long queue, at least `few`.
        delayed: Tasks that wait beside it for a time that does not come.
        trips: Send-and-wait round trips of a latency.
        imports: Fresh interpreters for one import time.
        idle: How long a worker's idling is watched.
        hold: How long a long task of the mixed load takes.
        settle: Rest after the last task, before something is read.
        timeout: After how long without progress a trial has failed.
    """

    tasks: int = 20_000
    rounds: int = 3
    batch: int = 100
    backlog: int = 1_000_000
    delayed: int = 100_000
    trips: int = 1_000
    imports: int = 9
    idle: float = 60.0
    hold: float = 3.0
    settle: float = 1.0
    timeout: float = 300.0

    @property
    def slots(self) -> int:
        """How many clocks a trial needs: its largest load and the warm-up before it."""
        return max(self.delayed_slot + 1, self.trips, MIXED_SHORT + MIXED_LONG) + WARM_UP

    @property
    def warm_up(self) -> range:
        """The slots of the warm-up, behind all others."""
        return range(self.slots - WARM_UP, self.slots)

    @property
    def few(self) -> int:
        """Tasks waiting in a short queue: a warm-up, the tasks of a rate, as many behind them."""
        return 3 * self.tasks

    @property
    def shared_slot(self) -> int:
        """The slot of all tasks of a long queue behind the first `few`."""
        return self.few

    @property
    def delayed_slot(self) -> int:
        """The slot of all delayed tasks."""
        return self.few + 1


MIXED_SHORT = 50
"""No-ops of the mixed load."""
MIXED_LONG = 2
"""Long tasks among them, as many as a worker runs at a time."""
DELAY = 86_400.0
"""Seconds that the delayed tasks beside a long queue have to wait: longer than any run."""
BESIDE = 60.0
"""Seconds of the long task beside which a queue is worked off."""
WARM_UP = 20
"""Tasks that a worker runs before its latency, memory or idling is measured."""

QUICK = Plan(
    tasks=200,
    rounds=1,
    batch=50,
    backlog=2_000,
    delayed=100,
    trips=20,
    imports=2,
    idle=0.5,
    hold=0.3,
    settle=0.1,
    timeout=60.0,
)
"""A smoke run of some seconds: it shows that everything works, its figures mean nothing."""
