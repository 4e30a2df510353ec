"""How many messages RabbitMQ may hand over before some of them are settled."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskq.routing import Queue
    from taskq.stores.amqp.links import Inbox

_MOST = 2048
"""Messages of one queue that are asked for at most, but for the last step."""
_GROWTH = 3


class Prefetch:
    """What our consumers of each of the broker's queues may have open.

    A consumer's prefetch cannot be changed.  So another consumer is added when more is wanted,
    in large steps, and the last one is cancelled when much less is.

    Attributes:
        out: how many deliveries of each queue the worker has, or wait here for their time.
    """

    def __init__(self) -> None:
        self._steps: dict[str, list[int]] = {}
        self._limited = 0
        self.out: Counter[str] = Counter()

    def add(self, name: str) -> None:
        """A queue may be consumed."""
        self._steps.setdefault(name, [])

    def names(self) -> list[str]:
        """The queues that may be."""
        return list(self._steps)

    def clear(self) -> None:
        """The channel is lost, and its consumers with it."""
        self.out.clear()
        self._limited = 0
        for steps in self._steps.values():
            steps.clear()

    def gone(self, name: str) -> None:
        """The broker has cancelled the consumers of a queue."""
        self._steps[name].clear()

    @property
    def least(self) -> int:
        """What may be open of the queue with the least, of those that are consumed."""
        return min([sum(steps) for steps in self._steps.values() if steps], default=0)

    async def limit(self, inbox: Inbox, more: int) -> None:
        """Have so many more sent at most, of all queues together."""
        count = sum(self.out.values()) + more
        if count != self._limited:
            await inbox.limit(count)
            self._limited = count

    async def ask_for(
        self, inbox: Inbox, name: str, queue: Queue, share: int, strictly: bool
    ) -> None:
        """Have so many more sent of a queue, and in no large steps if that is meant strictly."""
        steps, want = self._steps[name], min(self.out[name] + share, _MOST)
        have = sum(steps)
        if have < want:
            more = want - have if strictly else max(want - have, _GROWTH * have)
            await inbox.consume(name, len(steps), more, dict(queue.consumer_arguments or {}))
            steps.append(more)
        elif len(steps) > 1 and want * 4 * _GROWTH < have:
            await inbox.cancel(name, len(steps) - 1)
            steps.pop()

    async def leave(self, inbox: Inbox, name: str) -> bool:
        """Consume a queue no more; False if it is not consumed."""
        steps = self._steps[name]
        was_consumed = bool(steps)
        while steps:
            await inbox.cancel(name, len(steps) - 1)
            steps.pop()
        return was_consumed
