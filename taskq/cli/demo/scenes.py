"""The load of the demo: what is sent, and what can be said of it while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from taskq import AsyncResult, chain, states
from taskq.cli.demo.tasks import add, app, count, deadly, unreliable, wait_for_many

if TYPE_CHECKING:
    from taskq.backends.base import Outcome

MANY = 2000
STEPS = 6
PAUSE = 0.5
DELAY = 3.0


class Scene:
    """A few tasks of one kind, from sending to the end.

    Args:
        title: what they show.
        expected: the values that they must return.
        send: sends them, and returns handles on all of them.

    Attributes:
        sent: Unix time in seconds just before they were sent.
        pending: the ids of those that have not ended.
        documents: what the result store last said of each.
    """

    def __init__(
        self,
        title: str,
        expected: Sequence[Any],
        send: Callable[[], Sequence[AsyncResult[Any]]],
    ) -> None:
        self.title = title
        self.sent = time.time()
        self.expected = {result.id: value for result, value in zip(send(), expected, strict=True)}
        self.pending = set(self.expected)
        self.documents: dict[str, dict[str, Any]] = {}

    def update(self, found: Mapping[str, Outcome]) -> None:
        """Take in what the result store has of the tasks that have not ended."""
        for task_id in self.pending & found.keys():
            self.documents[task_id] = app.result_codec.decode(found[task_id])
            if found[task_id].state in states.READY_STATES:
                self.pending.remove(task_id)

    @property
    def total(self) -> int:
        """How many tasks they are."""
        return len(self.expected)

    @property
    def correct(self) -> int:
        """How many of them have returned what they should."""
        return sum(
            document["status"] == states.SUCCESS and document["result"] == self.expected[task_id]
            for task_id, document in self.documents.items()
        )

    @property
    def latest(self) -> dict[str, Any]:
        """What was last said of the task that was heard of last."""
        return next(reversed(self.documents.values()), {})

    @property
    def state(self) -> str:
        """One word: waiting, running, done or wrong; or a task's own state."""
        if not self.pending:
            return "done" if self.correct == self.total else "wrong"
        status = self.latest.get("status", "waiting")
        return "running" if status in states.READY_STATES else status.lower()

    @property
    def seconds(self) -> float:
        """How long it took until the last of them had ended."""
        ends = [datetime.fromisoformat(d["date_done"]) for d in self.documents.values()]
        return max(end.timestamp() for end in ends) - self.sent

    @property
    def milestone(self) -> str:
        """Changes when there is something new to tell."""
        return self.state

    def note(self) -> str:
        """How far they are, or how they ended."""
        if self.pending:
            return self.going_on()
        if self.correct == self.total:
            return self.ended()
        return f"expected {list(self.expected.values())[:5]}, got {self.latest['result']!r}"

    def going_on(self) -> str:
        """How far they are."""
        return f"{self.total - len(self.pending):,} of {self.total:,}"

    def ended(self) -> str:
        """How they ended."""
        return f"{self.total:,} in {self.seconds:.2f} s"


class First(Scene):
    """The first task, which waits until the worker has started."""

    def ended(self) -> str:
        """How long that took."""
        return f"{self.seconds:.2f} s after the worker was started"


class Slow(Scene):
    """A slow task that tells its progress."""

    @property
    def milestone(self) -> str:
        """Each step is one."""
        return f"{self.state} {self.going_on()}"

    def going_on(self) -> str:
        """Its own words."""
        meta = self.latest.get("result")
        return f"step {meta['step']} of {meta['of']}" if isinstance(meta, dict) else "sent"


class Retried(Scene):
    """A task that fails and is retried."""

    def going_on(self) -> str:
        """The error, while it waits for the next attempt."""
        if self.state != "retry":
            return "sent"
        return f"failed: {self.latest['result']['exc_message'][0]}; will be tried again"

    def ended(self) -> str:
        """How often it was retried."""
        return f"failed {self.latest['result']} times, then succeeded"


class Crashed(Scene):
    """A task that kills its process."""

    def going_on(self) -> str:
        """What it does."""
        return "it kills its process by SIGKILL"

    def ended(self) -> str:
        """How often it was delivered."""
        return f"its process died; done at delivery {self.latest['result']}"


class Delayed(Scene):
    """A task that must not run yet."""

    def going_on(self) -> str:
        """When it is due."""
        return f"due in {max(0.0, self.sent + DELAY - time.time()):.1f} s"

    def ended(self) -> str:
        """When it ran."""
        return f"ran {self.seconds:.2f} s after it was sent"


def send_all() -> list[Scene]:
    """Send the whole load.

    Raises:
        OperationalError: the broker refuses it.
    """
    numbers = range(MANY)
    return [
        Slow("a slow task with progress", [STEPS], lambda: [count.delay(STEPS, PAUSE)]),
        Scene(
            "many short tasks",
            [number + number for number in numbers],
            lambda: app.send_many([add.s(number, number) for number in numbers]),
        ),
        Retried("one that fails twice", [2], lambda: [unreliable.delay(2)]),
        Crashed("one that kills its process", [2], lambda: [deadly.delay()]),
        Delayed("one for later", [42], lambda: [add.apply_async((40, 2), countdown=DELAY)]),
        Scene("a chain of three", [3, 6, 10], _chain_of_three),
        Scene("one that is async def", [100], lambda: [wait_for_many.delay(100, PAUSE)]),
    ]


def _chain_of_three() -> Sequence[AsyncResult[Any]]:
    third = chain(add.s(1, 2), add.s(3), add.s(4))()
    second = third.parent
    assert second is not None
    assert second.parent is not None
    return [second.parent, second, third]
