"""The contract of a pool: it is given jobs, runs them somewhere, and tells what came of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from taskq.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from taskq.backends.base import Outcome
    from taskq.execution import Report
    from taskq.worker.job import Job


class Loss(Enum):
    """Why a job that a pool was given has no report."""

    CRASHED = "crashed"
    """The process that ran it died."""
    TIMED_OUT = "timed out"
    """The process that ran it was killed at its hard limit."""
    UNSTARTED = "unstarted"
    """It was not started, or was stopped for no fault of its own: it can run again."""


class Running(NamedTuple):
    """A job that runs now.

    Attributes:
        job: the job.
        pid: the process.
        since: when it started, by the monotonic clock.
    """

    job: Job
    pid: int
    since: float


class PoolEvents(Protocol):
    """What a pool tells the worker, always on the worker's event loop."""

    def finished(self, job: Job, report: Report) -> None:
        """A job has ended."""

    def lost(self, job: Job, loss: Loss, detail: str) -> None:
        """A job will have no report."""

    def progressed(self, job: Job, outcome: Outcome) -> None:
        """A job that goes on has a state to store."""

    def has_room(self) -> None:
        """More jobs can be offered."""

    def resized(self) -> None:
        """The pool's size is another one."""

    def broken(self, reason: str) -> None:
        """The pool cannot go on; its jobs must be given back."""


class Pool(ABC):
    """Runs jobs.  One worker has one pool, on the worker's event loop."""

    @property
    @abstractmethod
    def size(self) -> int:
        """How many jobs it runs at a time."""

    @abstractmethod
    async def start(self, events: PoolEvents) -> None:
        """Make ready to run jobs."""

    @abstractmethod
    def offer(self, jobs: Sequence[Job]) -> int:
        """Take jobs, in this order, as far as there is room.

        Returns:
            How many were taken; the rest must be offered again on `PoolEvents.has_room`.
        """

    def terminate(self, job: Job) -> bool:
        """End a job that runs; `PoolEvents.lost` tells when it has ended.

        Returns:
            Whether it runs and is ended.
        """
        return False

    def grow(self, count: int = 1) -> None:
        """Run so many more jobs at a time; `PoolEvents.resized` tells of it.

        Raises:
            ImproperlyConfigured: it cannot be as large as that; nothing has changed.
        """
        raise ImproperlyConfigured(f"this pool always runs {self.size} at a time: try -P prefork")

    def shrink(self, count: int = 1) -> None:
        """Run so many fewer jobs at a time; what runs may end first.

        Raises:
            ImproperlyConfigured: less than one would be left; nothing has changed.
        """
        raise ImproperlyConfigured(f"this pool always runs {self.size} at a time: try -P prefork")

    def restart(self) -> None:
        """Replace all processes, each when what it runs has ended.

        Raises:
            ImproperlyConfigured: it has no processes of its own.
        """
        raise ImproperlyConfigured("this pool has no processes to replace: try -P prefork")

    @abstractmethod
    def abort(self) -> None:
        """Stop everything at once; what was taken is reported as lost and unstarted."""

    @abstractmethod
    async def stop(self) -> None:
        """Let all processes end.  Called when nothing is running any more."""

    def running(self) -> list[Running]:
        """What runs at this moment, in processes whose ids the pool has learnt."""
        return []

    def pids(self) -> list[int]:
        """The processes that run jobs."""
        return []
