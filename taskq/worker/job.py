"""A job: one delivery on its way through the worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from taskq.brokers.base import Delivery, Settlement
    from taskq.execution import Sentence
    from taskq.task import Task
    from taskq.worker.pool.lane import WorkItem


class Verdict(msgspec.Struct, eq=False, gc=False):
    """The end of a job that has no report.

    Attributes:
        settlement: how it is settled if nobody can be told.
        sentence: what a process that runs tasks is to tell to whoever must know.
        unstarted: nothing of it has run, and any other worker would come to the same end.
    """

    settlement: Settlement
    sentence: Sentence
    unstarted: bool = False


class Job(msgspec.Struct, eq=False, gc=False):
    """One delivery, from admission to settlement.

    The worker keys what is in flight by ticket, its own running number, since one task id
    can be delivered twice.

    Attributes:
        ticket: the worker's number for it.
        delivery: what the broker handed over; a later delivery of the same message
            takes its place and settles this execution.
        task: the task, as the app knows it.
        soft_limit: seconds until it gets `SoftTimeLimitExceeded`.
        hard_limit: seconds until its process is killed.
        early: acknowledge it just before it starts.
        acknowledged: it has been.
        timed_out: its process is being killed because of the hard limit.
        terminated: its process is being killed because it was revoked.
        warned: seconds into its run when it was last told of its soft limit; 0 is not yet.
        verdict: it has ended without a report, and is only to be told to whoever must know.
        given_back: it is over here; if its message comes again, that is another run.
        noted: other workers know that it runs here.
    """

    ticket: int
    delivery: Delivery
    task: Task[..., object]
    soft_limit: float | None = None
    hard_limit: float | None = None
    early: bool = False
    acknowledged: bool = False
    timed_out: bool = False
    terminated: bool = False
    warned: float = 0.0
    verdict: Verdict | None = None
    given_back: bool = False
    noted: bool = False

    @property
    def id(self) -> str:
        """The task's id."""
        return self.delivery.message.id

    @property
    def label(self) -> str:
        """How logs name it."""
        message = self.delivery.message
        return f"{message.headers.get('shadow') or message.task}[{message.id}]"

    @property
    def is_limited(self) -> bool:
        """Has it a time limit?"""
        return self.soft_limit is not None or self.hard_limit is not None

    def work_item(self, number: int) -> WorkItem:
        """What a child is sent; it knows the job by that number."""
        delivery = self.delivery
        sentence = self.verdict.sentence if self.verdict is not None else None
        return (number, delivery.queue, delivery.deliveries, delivery.packed, sentence)
