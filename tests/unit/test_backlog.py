"""The backlog: the most urgent first, and in order within one priority."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from taskq.brokers.base import Delivery
from taskq.message import TaskMessage
from taskq.worker.backlog import Backlog
from taskq.worker.job import Job


def make_job(ticket: int, priority: int) -> Job:
    message = TaskMessage({"id": str(ticket), "task": "t"}, b"", priority=priority)
    task: Any = None
    return Job(ticket, Delivery(message, b"", "q", ticket), task)


def test_an_empty_one() -> None:
    backlog = Backlog()
    assert len(backlog) == 0
    assert not backlog
    assert backlog.head(10) == []
    assert backlog.drain() == []
    backlog.drop(0)


@given(st.lists(st.integers(0, 9)), st.integers(1, 20))
def test_it_comes_out_in_order(priorities: list[int], step: int) -> None:
    backlog = Backlog()
    jobs = [make_job(ticket, priority) for ticket, priority in enumerate(priorities)]
    for job in jobs:
        backlog.add(job)
    found: list[Job] = []
    while backlog:
        head = backlog.head(step)
        found += head
        backlog.drop(len(head))
    assert found == sorted(jobs, key=lambda job: -job.delivery.message.priority)


class Model(RuleBasedStateMachine):
    """A backlog beside a plain list that is sorted for every question."""

    def __init__(self) -> None:
        super().__init__()
        self.backlog = Backlog()
        self.expected: list[Job] = []
        self.tickets = 0

    def new_job(self, priority: int) -> Job:
        self.tickets += 1
        return make_job(self.tickets, priority)

    def place(self, priority: int, behind: bool) -> int:
        """Where a job of this priority belongs."""
        return sum(
            job.delivery.message.priority > priority
            or (behind and job.delivery.message.priority == priority)
            for job in self.expected
        )

    @rule(priority=st.integers(0, 9))
    def add(self, priority: int) -> None:
        job = self.new_job(priority)
        self.backlog.add(job)
        self.expected.insert(self.place(priority, behind=True), job)

    @rule(priority=st.integers(0, 9))
    def add_first(self, priority: int) -> None:
        job = self.new_job(priority)
        self.backlog.add_first(job)
        self.expected.insert(self.place(priority, behind=False), job)

    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(0, len(self.expected)))
        self.backlog.drop(count)
        del self.expected[:count]

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if self.expected:
            job = self.expected.pop(data.draw(st.integers(0, len(self.expected) - 1)))
            assert self.backlog.remove(job)
            assert not self.backlog.remove(job)

    @rule(priority=st.integers(0, 9))
    def remove_what_is_not_there(self, priority: int) -> None:
        assert not self.backlog.remove(self.new_job(priority))

    @rule()
    def drain(self) -> None:
        assert self.backlog.drain() == self.expected
        self.expected.clear()

    @invariant()
    def it_shows_what_it_holds(self) -> None:
        assert len(self.backlog) == len(self.expected)
        for limit in (1, 3, 100):
            assert self.backlog.head(limit) == self.expected[:limit]


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
