"""The backlog: admitted jobs that wait in the parent, the most urgent first."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from taskq.message import MAX_PRIORITY

if TYPE_CHECKING:
    from taskq.worker.job import Job


class Backlog:
    """Jobs by priority, and in order of arrival within one.

    Attributes:
        held: jobs whose turn is yet to come, by ticket.
    """

    def __init__(self) -> None:
        self.held: dict[int, Job] = {}
        self._rows: list[deque[Job]] = [deque() for _ in range(MAX_PRIORITY + 1)]
        self._urgent_first = self._rows[::-1]
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, job: Job) -> None:
        """Put a job behind all of its priority."""
        self._rows[job.delivery.message.priority].append(job)
        self._size += 1

    def add_first(self, job: Job) -> None:
        """Put a job before all of its priority."""
        self._rows[job.delivery.message.priority].appendleft(job)
        self._size += 1

    def hold(self, job: Job) -> None:
        """Keep a job apart until its turn comes."""
        self.held[job.ticket] = job

    def release(self, job: Job) -> bool:
        """Its turn has come; False if it is not here any more."""
        if self.held.pop(job.ticket, None) is None:
            return False
        self.add(job)
        return True

    def head(self, limit: int) -> list[Job]:
        """The next jobs, which stay where they are."""
        jobs: list[Job] = []
        for row in self._urgent_first:
            if row:
                jobs += islice(row, limit - len(jobs))
                if len(jobs) == limit:
                    break
        return jobs

    def drop(self, count: int) -> None:
        """Take out the first `count` jobs."""
        self._size -= count
        for row in self._urgent_first:
            while row and count:
                row.popleft()
                count -= 1

    def remove(self, job: Job) -> bool:
        """Take out one job, wherever it is."""
        if self.held and self.held.pop(job.ticket, None) is not None:
            return True
        try:
            self._rows[job.delivery.message.priority].remove(job)
        except ValueError:
            return False
        self._size -= 1
        return True

    def drain(self) -> list[Job]:
        """Take out all of them."""
        jobs = self.head(self._size) if self._size else []
        self.drop(len(jobs))
        jobs += self.held.values()
        self.held.clear()
        return jobs
