"""The contract between the benchmark and one task queue.

An adapter is the producer's side of a task queue plus the two tasks that its worker runs. Each
adapter module defines the tasks `mark` and `hold` in the queue's own way and a class `Peer`
that implements `Adapter`.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Setup:
    """What one trial gives to the processes of the subject, by environment variables.

    Args:
        broker: URL of the broker.
        results: URL of the result store.
        queue: Name of the queue, a new one for every trial.
        keep_results: Whether results are stored.
        marks: File of the clocks, see `benchmarks.marks`.
    """

    broker: str
    results: str
    queue: str
    keep_results: bool
    marks: Path

    @classmethod
    def from_environ(cls) -> Setup:
        """Reads what `environ` wrote.

        Raises:
            KeyError: If the process was not started by the benchmark.
        """
        return cls(
            broker=os.environ["BENCH_BROKER"],
            results=os.environ["BENCH_RESULTS"],
            queue=os.environ["BENCH_QUEUE"],
            keep_results=os.environ["BENCH_KEEP_RESULTS"] == "1",
            marks=Path(os.environ["BENCH_MARKS"]),
        )

    def environ(self) -> dict[str, str]:
        """Returns the variables that `from_environ` reads."""
        return {
            "BENCH_BROKER": self.broker,
            "BENCH_RESULTS": self.results,
            "BENCH_QUEUE": self.queue,
            "BENCH_KEEP_RESULTS": "1" if self.keep_results else "0",
            "BENCH_MARKS": str(self.marks),
        }


class Adapter(ABC):
    """The verbs of a producer.

    They are coroutines so that one measuring loop serves blocking and asyncio libraries alike.
    An adapter of a blocking library simply never awaits anything: its calls then cost about
    0.1 microseconds more than a plain call, and no event loop runs.

    A handle is whatever the library returns for a sent task.
    """

    uses_asyncio: ClassVar[bool] = False

    async def open(self) -> None:
        """Connects, where the library wants to be told; not timed."""

    @abstractmethod
    async def enqueue(self, slot: int) -> Any:
        """Sends one no-op task that marks `slot`, and returns its handle."""

    @abstractmethod
    async def enqueue_hold(self, slot: int, seconds: float) -> Any:
        """Sends one task that sleeps for `seconds`, then marks `slot`; returns its handle."""

    @abstractmethod
    async def wait(self, handle: Any, timeout: float) -> Any:
        """Waits up to `timeout` seconds for a result, in the library's fastest way.

        Raises:
            Exception: The library's own error when the time is over.
        """

    @abstractmethod
    async def ready(self, handle: Any) -> bool:
        """Tells whether the result can be read now, without waiting for it."""


class BulkAdapter(Adapter):
    """An adapter of a library that can send many tasks with one call."""

    @abstractmethod
    async def bulk(self, slots: Sequence[int]) -> None:
        """Sends one no-op task for each slot with the library's own call for many."""


class WorkflowAdapter(BulkAdapter):
    """An adapter of a library that can compose tasks in Celery's words."""

    @abstractmethod
    async def workflow(self, kind: str, count: int) -> Any:
        """Sends a `group` of `count` no-op tasks, a `chord` of them, or a `chain` of as many steps.

        The value of a chord and of a chain is `count`, that of a group a list of so many.
        """


class DelayingAdapter(BulkAdapter):
    """An adapter of a library that can send many delayed tasks with one call."""

    @abstractmethod
    async def bulk_delayed(self, slots: Sequence[int], countdown: float) -> None:
        """Sends one no-op task for each slot, to be run in `countdown` seconds."""


class InProcessAdapter(BulkAdapter):
    """An adapter whose worker lives in the producer's process."""

    @abstractmethod
    def run_worker(self) -> None:
        """Runs the worker on the calling thread, the main one; it is never asked to stop."""
