"""A worker without processes: runs what was sent, one message after the other, and settles it."""

from __future__ import annotations

import random

from taskq import TaskQ
from taskq.execution import Report, TaskRunner
from taskq.message import TaskMessage


class SequentialWorker:
    """Runs all messages of the queue "default", and what follows them.

    Args:
        app: an app with the memory broker.
        seed: makes it run messages in another order, and every fourth of them twice, as
            happens when a worker dies before it could settle; None runs them as they come.
    """

    def __init__(self, app: TaskQ, seed: int | None = None) -> None:
        self.app = app
        self.runner = TaskRunner(app, "worker@host")
        self.random = random.Random(seed) if seed is not None else None
        self.ran: list[str] = []

    def run(self, limit: int = 100_000) -> None:
        """Run until nothing is left.

        Args:
            limit: messages after which it is taken to be a loop without an end.
        """
        while messages := self.app.broker.browse("default", 1_000_000):
            self.app.broker.purge("default")
            if self.random is not None:
                messages += [m for m in messages if self.random.random() < 0.25]
                self.random.shuffle(messages)
            for message in messages:
                limit -= 1
                assert limit > 0, "it goes on for ever"
                self.settle(self.report(message))

    def report(self, message: TaskMessage) -> Report:
        """Run one message."""
        self.ran.append(message.task)
        return self.runner.run(1, message, "default", 1)

    def settle(self, report: Report) -> None:
        """Write what came of it."""
        self.app.broker.publish(report.follow_ups)
        outcomes = [report.outcome] if report.outcome is not None else []
        self.app.backend.store([*outcomes, *report.never_run])
        if report.part is not None:
            complete = self.app.backend.add_parts([report.part])
            self.app.broker.publish([part.done for part in complete])
