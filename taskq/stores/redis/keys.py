"""Where things lie in Redis.  ``docs/internals/redis.md`` shows the same for people.

All keys of a queue have its name in braces, the hash tag, so that they lie in one slot of a
cluster (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/).
"""

from __future__ import annotations

from functools import cached_property

from taskq.message import MAX_PRIORITY
from taskq.stores.redis.address import Address

GROUP = "workers"
"""The consumer group of every stream."""
FREE = "-"
"""The consumer in whose hands messages wait again: given back, or their lease has ended."""
RESULT_PREFIX = "celery-task-meta-"
"""Celery's, so that either side reads the other's results."""

GROUP_PREFIX = "celery-taskset-meta-"


class Layout:
    """Makes the names of keys.

    Args:
        address: for the prefix and the hash tag.
    """

    def __init__(self, address: Address) -> None:
        self._prefix = address.prefix
        self._tag = address.tag
        self._db = address.db
        self._queues: dict[str, QueueKeys] = {}
        # Celery knows a prefix of results, and so reads those with a hash tag as well.
        tag = f"{{{address.tag}}}" if address.tag else ""
        self._result = f"{address.prefix}{tag}{RESULT_PREFIX}"
        self._group = f"{address.prefix}{tag}{GROUP_PREFIX}"

    def queue(self, name: str) -> QueueKeys:
        """The keys of a queue."""
        keys = self._queues.get(name)
        if keys is None:
            base = f"{{{self._tag}}}:{name}" if self._tag else f"{{{name}}}"
            keys = self._queues[name] = QueueKeys(name, f"{self._prefix}taskq:{base}:")
        return keys

    def result(self, task_id: str) -> str:
        """The key of a task's result, and the channel on which it is told."""
        return self._result + task_id

    def parts(self, group: str) -> str:
        """A hash: what the members of a chord have contributed."""
        return f"{self._group}{group}.parts"

    def group(self, group: str) -> str:
        """Which results belong to a group, in Celery's form."""
        return f"{self._group}{group}"

    @property
    def chords(self) -> str:
        """A sorted set: the ids of the chords that have not ended."""
        return f"{self._prefix}{self._tagged}chords"

    @property
    def queues(self) -> str:
        """A hash: the names of all queues that are declared or were published to."""
        return f"{self._prefix}{self._tagged}queues"

    @property
    def revoked(self) -> str:
        """A sorted set: ids of revoked tasks with a signal, by when that is forgotten."""
        return f"{self._prefix}{self._tagged}revoked"

    def exchange(self, name: str) -> str:
        """A hash: an exchange's bindings."""
        return f"{self._prefix}{self._tagged}exchange:{name}"

    def topic(self, name: str) -> str:
        """A channel for what is told to all."""
        return f"{self._prefix}taskq:topic:{name}"

    def schedule(self, namespace: str) -> ScheduleKeys:
        """The keys of an app's schedule."""
        base = f"{{{self._tag}}}:beat:{namespace}" if self._tag else f"{{beat:{namespace}}}"
        return ScheduleKeys(f"{self._prefix}taskq:{base}:")

    def notices(self, channel: str) -> str:
        """What the names of the channels begin with on which notices are told.

        The number of the database is part of it, since Redis's own channels know none.
        """
        return f"{self._prefix}taskq:notices:{self._db}:{channel}"

    @property
    def _tagged(self) -> str:
        return f"taskq:{{{self._tag}}}:" if self._tag else "taskq:"


class ScheduleKeys:
    """The keys of one app's schedule.

    Args:
        base: what they begin with.
    """

    def __init__(self, base: str) -> None:
        self.definitions = f"{base}definitions"
        self.states = f"{base}states"
        self.edits = f"{base}edits"
        self.outbox = f"{base}outbox"


class QueueKeys:
    """The keys of one queue.

    Args:
        name: the queue's.
        base: what they begin with.
    """

    def __init__(self, name: str, base: str) -> None:
        self.name = name
        self.base = base
        self.streams = [f"{base}{priority}" for priority in range(MAX_PRIORITY + 1)]
        self.delayed = f"{base}delayed"
        self.crashes = f"{base}crashes"
        self.paused = f"{base}paused"
        self.born = f"{base}born"
        self.dead = f"{base}dead"
        self.swept = f"{base}swept"
        self.room = f"{base}room"
        self.wake = f"{base}wake"

    @cached_property
    def fetched(self) -> list[str]:
        """What the script that fetches works on."""
        return [*self.streams, self.delayed, self.crashes, self.paused]

    def once(self, key: str) -> str:
        """There while a message with that key is recognised."""
        return f"{self.base}once:{key}"

    def sender(self, name: str) -> str:
        """What one producer has sent last."""
        return f"{self.base}sender:{name}"
