"""What is known of workers and tasks by the events that were heard, within bounds.

    state = app.events.State()
    receiver = app.events.Receiver(handlers={"*": state.event})

Events come late, twice and in any order: an event that happened before what is known already
adds what it knows, and takes nothing back.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from taskq.events.event import Event
from taskq.events.records import Task, Worker

T = TypeVar("T")


class Bounded(OrderedDict[str, T], Generic[T]):
    """The newest of many things by name; the one that was used longest ago goes first."""

    def __init__(self, limit: int | None) -> None:
        super().__init__()
        self.limit = limit

    def add(self, key: str, value: T) -> None:
        """Put something in, and what is too much out."""
        self[key] = value
        self.move_to_end(key)
        while self.limit and len(self) > self.limit:
            self.popitem(last=False)


class State:
    """Workers and tasks, as far as events tell of them; can be used by several threads.

    Args:
        callback: called with this state and each event, once it is noted.
        max_workers_in_memory: workers that are remembered.
        max_tasks_in_memory: tasks that are remembered.
        on_node_join: called with a worker when it comes to light.
        on_node_leave: called with a worker when it says that it stops.

    Attributes:
        workers: what is known of workers, by name.
        tasks: what is known of tasks, by id.
        event_count: events so far.
        task_count: tasks so far.
    """

    def __init__(
        self,
        callback: Callable[[State, Event], Any] | None = None,
        max_workers_in_memory: int = 5000,
        max_tasks_in_memory: int = 10000,
        on_node_join: Callable[[Worker], Any] | None = None,
        on_node_leave: Callable[[Worker], Any] | None = None,
    ) -> None:
        self.event_callback = callback
        self.workers: Bounded[Worker] = Bounded(max_workers_in_memory)
        self.tasks: Bounded[Task] = Bounded(max_tasks_in_memory)
        self.on_node_join = on_node_join
        self.on_node_leave = on_node_leave
        self.event_count = self.task_count = 0
        self._lock = threading.RLock()

    def event(self, event: Event) -> tuple[Any, str] | None:
        """Note an event.

        Returns:
            What it was about, with whether that is new, and what happened: ``((worker or
            task, created), subject)``; None if it was about neither.
        """
        with self._lock:
            found = self._note(event)
            if self.event_callback is not None:
                self.event_callback(self, event)
            return found

    def _note(self, event: Event) -> tuple[Any, str] | None:
        self.event_count += 1
        group, _, subject = event["type"].partition("-")
        timestamp = event.get("timestamp") or time.time()
        received = event.get("local_received") or time.time()
        if group == "worker":
            worker, created = self.get_or_create_worker(str(event.get("hostname")))
            worker.event(subject, timestamp, received, event)
            if created and subject != "offline" and self.on_node_join is not None:
                self.on_node_join(worker)
            if subject == "offline":
                if self.on_node_leave is not None:
                    self.on_node_leave(worker)
                self.workers.pop(worker.hostname, None)
            return (worker, created), subject
        if group == "task" and isinstance(event.get("uuid"), str):
            task, created = self.get_or_create_task(event["uuid"])
            if subject == "sent":
                task.client = event.get("hostname")
            else:
                worker, _ = self.get_or_create_worker(str(event.get("hostname")))
                task.worker = worker
                worker.heartbeats = worker.heartbeats or [received]
            task.event(subject, timestamp, received, event)
            if task.parent is not None:
                task.parent.children.add(task.uuid)
            return (task, created), subject
        return None

    def get_or_create_worker(self, hostname: str) -> tuple[Worker, bool]:
        """A worker, and whether it is new."""
        worker = self.workers.get(hostname)
        created = worker is None
        worker = worker or Worker(hostname)
        self.workers.add(hostname, worker)
        return worker, created

    def get_or_create_task(self, uuid: str) -> tuple[Task, bool]:
        """A task, and whether it is new."""
        task = self.tasks.get(uuid)
        created = task is None
        if task is None:
            task = Task(uuid, self.tasks)
            self.task_count += 1
        self.tasks.add(uuid, task)
        return task, created

    def alive_workers(self) -> list[Worker]:
        """The workers that have told lately that they are there."""
        with self._lock:
            return [worker for worker in self.workers.values() if worker.alive]

    # Tasks

    def tasks_by_time(
        self, limit: int | None = None, reverse: bool = True
    ) -> Iterator[tuple[str, Task]]:
        """Tasks with their ids, the newest first.

        Args:
            limit: how many at most.
            reverse: the newest first; otherwise the oldest.
        """
        with self._lock:
            tasks = sorted(
                self.tasks.items(), key=lambda item: item[1].timestamp or 0.0, reverse=reverse
            )
        yield from tasks[:limit]

    tasks_by_timestamp = tasks_by_time

    def tasks_by_type(
        self, name: str, limit: int | None = None, reverse: bool = True
    ) -> Iterator[tuple[str, Task]]:
        """Those of one name."""
        yield from self._those(lambda task: task.name == name, limit, reverse)

    def tasks_by_worker(
        self, hostname: str, limit: int | None = None, reverse: bool = True
    ) -> Iterator[tuple[str, Task]]:
        """Those of one worker."""
        yield from self._those(lambda task: task.hostname == hostname, limit, reverse)

    def _those(
        self, wanted: Callable[[Task], bool], limit: int | None, reverse: bool
    ) -> Iterator[tuple[str, Task]]:
        count = 0
        for uuid, task in self.tasks_by_time(None, reverse):
            if wanted(task):
                if count == limit:
                    return
                count += 1
                yield uuid, task

    def task_types(self) -> list[str]:
        """The names of all tasks that are known."""
        with self._lock:
            return sorted({task.name for task in self.tasks.values() if task.name})

    # The whole

    def freeze_while(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call a function, and let nothing change until it returns."""
        clear_after = kwargs.pop("clear_after", False)
        with self._lock:
            try:
                return function(*args, **kwargs)
            finally:
                if clear_after:
                    self.clear()

    def clear_tasks(self, ready: bool = True) -> None:
        """Forget tasks that have ended; with ``ready=False``, those that have not as well."""
        with self._lock:
            if not ready:
                self.tasks.clear()
                return
            for uuid in [uuid for uuid, task in self.tasks.items() if task.ready]:
                del self.tasks[uuid]

    def clear(self, ready: bool = True) -> None:
        """Forget all, but for tasks that have not ended; with ``ready=False``, these too."""
        with self._lock:
            self.workers.clear()
            self.clear_tasks(ready)
            self.event_count = self.task_count = 0

    def __repr__(self) -> str:
        return f"<State: events={self.event_count} tasks={self.task_count}>"
