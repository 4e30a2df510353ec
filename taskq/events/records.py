"""What is known of one worker, and of one task, by their events."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from taskq import states
from taskq.events.event import Event

HEARTBEATS = 2
"""Heartbeats that a worker may miss before it is taken to be gone."""

STATE_OF = {
    "sent": states.PENDING,
    "received": states.RECEIVED,
    "started": states.STARTED,
    "succeeded": states.SUCCESS,
    "failed": states.FAILURE,
    "retried": states.RETRY,
    "revoked": states.REVOKED,
    "rejected": states.REJECTED,
    "cancelled": states.REVOKED,
}
"""The state that an event of a task means."""
_RANK = {
    states.PENDING: 0,
    states.RECEIVED: 1,
    states.STARTED: 2,
    states.REJECTED: 3,
    states.RETRY: 3,
    states.REVOKED: 4,
    states.FAILURE: 4,
    states.SUCCESS: 4,
}
"""How far a task has come."""
_AGAIN = (states.RETRY, states.REJECTED)
"""A task that is retried, or goes back to its queue, begins anew."""
_CALL = (
    *("name", "args", "kwargs", "root_id", "parent_id", "retries", "eta", "expires"),
    *("queue", "exchange", "routing_key"),
)
"""What every event that tells of the call may add, however late it comes."""


class Worker:
    """What is known of a worker.

    Attributes:
        hostname: its name.
        pid: its process.
        freq: seconds between two heartbeats.
        heartbeats: when the last ones came, as Unix time.
        clock: its logical clock.
        active: tasks that it runs.
        processed: tasks that have ended there.
        loadavg: the machine's load.
        sw_ident: which software it is.
        sw_ver: of which version.
        sw_sys: on which system.
    """

    def __init__(self, hostname: str) -> None:
        self.hostname = hostname
        self.pid: int | None = None
        self.freq: float = 60.0
        self.heartbeats: list[float] = []
        self.clock = 0
        self.active: int | None = None
        self.processed: int | None = None
        self.loadavg: Any = None
        self.sw_ident: str | None = None
        self.sw_ver: str | None = None
        self.sw_sys: str | None = None

    def event(self, subject: str, timestamp: float, received: float, fields: Event) -> None:
        """Note an event of this worker."""
        for name in _WORKER_FIELDS:
            if fields.get(name) is not None:
                setattr(self, name, fields[name])
        if subject == "offline":
            self.heartbeats.clear()
        else:
            # By the time of arrival, since clocks differ and this one is asked.
            self.heartbeats = sorted([*self.heartbeats, received])[-HEARTBEATS:]

    @property
    def heartbeat_expires(self) -> float:
        """When it is taken to be gone, as Unix time."""
        return (self.heartbeats[-1] if self.heartbeats else 0.0) + self.freq * HEARTBEATS

    @property
    def alive(self) -> bool:
        """Has it told lately that it is there?"""
        return bool(self.heartbeats) and time.time() < self.heartbeat_expires

    @property
    def status_string(self) -> str:
        """``ONLINE`` or ``OFFLINE``."""
        return "ONLINE" if self.alive else "OFFLINE"

    @property
    def id(self) -> str:
        """Its name and process."""
        return f"{self.hostname}.{self.pid}"

    def __repr__(self) -> str:
        return f"<Worker: {self.hostname} ({self.status_string})>"


_WORKER_FIELDS = (
    *("pid", "freq", "clock", "active", "processed", "loadavg"),
    *("sw_ident", "sw_ver", "sw_sys"),
)


class Task:
    """What is known of a task.

    Args:
        uuid: its id.
        tasks: others by their ids, among which its parent and its root are looked for.

    Attributes:
        uuid: its id.
        state: how far it has come.
        timestamp: when the last of its events happened, as Unix time.
        worker: where it is or was.
        client: who has sent it.
        children: the ids of tasks that it has sent, as far as that was told.
    """

    name: str | None = None
    args: str | None = None
    kwargs: str | None = None
    root_id: str | None = None
    parent_id: str | None = None
    retries: int | None = None
    eta: str | None = None
    expires: str | None = None
    queue: str | None = None
    exchange: str | None = None
    routing_key: str | None = None
    sent: float | None = None
    received: float | None = None
    started: float | None = None
    succeeded: float | None = None
    failed: float | None = None
    retried: float | None = None
    revoked: float | None = None
    rejected: float | None = None
    cancelled: float | None = None
    result: str | None = None
    runtime: float | None = None
    exception: str | None = None
    traceback: str | None = None
    client: str | None = None
    worker: Worker | None = None
    clock: int = 0
    timestamp: float | None = None

    def __init__(self, uuid: str, tasks: Mapping[str, Task] | None = None) -> None:
        self.uuid = self.id = uuid
        self.state = states.PENDING
        self.children: set[str] = set()
        self._tasks = tasks

    def event(self, subject: str, timestamp: float, received: float, fields: Event) -> None:
        """Note an event of this task."""
        state = STATE_OF.get(subject)
        if state is None:  # one of the user's own
            self._update(fields, _CALL)
            return
        setattr(self, subject, timestamp)
        if self._is_older(state):
            self._update(fields, _CALL)
            return
        self._update(fields, _TASK_FIELDS)
        self.state, self.timestamp = state, timestamp
        self.clock = fields.get("clock") or self.clock

    def _is_older(self, state: str) -> bool:
        """Does an event that means this state tell of the time before the one known?"""
        if self.state in _AGAIN:
            return False
        if state in _AGAIN:
            return _RANK[self.state] == _RANK[states.SUCCESS]
        return _RANK.get(state, 0) < _RANK.get(self.state, 0)

    def _update(self, fields: Event, names: Iterable[str]) -> None:
        for name in names:
            if fields.get(name) is not None:
                setattr(self, name, fields[name])

    @property
    def ready(self) -> bool:
        """Has it ended?"""
        return self.state in states.READY_STATES

    @property
    def hostname(self) -> str | None:
        """The name of the worker where it is or was."""
        return self.worker.hostname if self.worker else None

    @property
    def origin(self) -> str | None:
        """Who has sent it, or else where it came to light."""
        return self.client or self.hostname

    @property
    def parent(self) -> Task | None:
        """The task that has sent it, if that is known."""
        return self._of(self.parent_id)

    @property
    def root(self) -> Task | None:
        """The first of the tasks that it comes from, if that is known."""
        return self._of(self.root_id)

    def _of(self, uuid: str | None) -> Task | None:
        return self._tasks.get(uuid) if self._tasks and uuid else None

    def info(self, fields: Iterable[str] | None = None, extra: Iterable[str] = ()) -> Event:
        """What is known, without what is not.

        Args:
            fields: these alone.
            extra: and these.
        """
        names = [*(_INFO if fields is None else fields), *extra]
        values = {name: getattr(self, name, None) for name in names}
        return {name: value for name, value in values.items() if value is not None}

    def as_dict(self) -> Event:
        """All that is known, fit for JSON."""
        names = ("uuid", "state", "timestamp", "clock", "client", "hostname", *STATE_OF)
        return self.info((*names, *_TASK_FIELDS)) | {"children": sorted(self.children)}

    def __repr__(self) -> str:
        return f"<Task: {self.name}({self.uuid}) {self.state}>"


_TASK_FIELDS = (*_CALL, "result", "runtime", "exception", "traceback")
_INFO = (
    *("args", "kwargs", "retries", "result", "eta", "runtime", "expires"),
    *("exception", "exchange", "routing_key", "root_id", "parent_id"),
)
