"""The result store that lives in one process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from taskq import states
from taskq.backends.base import Backend, ChordPart, ChordRecord, Outcome, supersedes


class MemoryBackend(Backend):
    """Keeps outcomes in this process, and loses them with it."""

    def __init__(self, expires: float = 86400.0) -> None:
        super().__init__(expires)
        self._changed = threading.Condition()
        # In the order of storing, which is the order of expiry.
        self._outcomes: dict[str, tuple[float, Outcome]] = {}
        self._listeners: set[Callable[[], None]] = set()
        self._parts: dict[str, tuple[float, dict[int, bytes]]] = {}
        self._records: dict[str, tuple[float, bytes]] = {}
        self._joined: dict[str, set[int]] = {}

    def store(self, outcomes: Sequence[Outcome]) -> None:
        if not outcomes:
            return
        now = time.monotonic()
        expires = now + self.expires if self.expires else float("inf")
        with self._changed:
            for outcome in outcomes:
                known = self._outcomes.get(outcome.task_id)
                if known is not None:
                    if known[0] > now and not supersedes(outcome.state, known[1].state):
                        continue
                    del self._outcomes[outcome.task_id]
                self._outcomes[outcome.task_id] = (expires, outcome)
            self._expire()
            listeners = list(self._listeners)
            self._changed.notify_all()
        for listener in listeners:
            listener()

    def _expire(self) -> int:
        now = time.monotonic()
        count = 0
        while self._outcomes:
            task_id, (expires, _) = next(iter(self._outcomes.items()))
            if expires > now:
                break
            del self._outcomes[task_id]
            count += 1
        return count

    def fetch(self, task_ids: Sequence[str]) -> dict[str, Outcome]:
        now = time.monotonic()
        with self._changed:
            return {
                task_id: known[1]
                for task_id in task_ids
                if (known := self._outcomes.get(task_id)) is not None and known[0] > now
            }

    def _ready(self, task_ids: Sequence[str]) -> dict[str, Outcome]:
        found = self.fetch(task_ids)
        return {key: o for key, o in found.items() if o.state in states.READY_STATES}

    def wait(self, task_ids: Sequence[str], timeout: float | None) -> dict[str, Outcome]:
        with self._changed:
            self._changed.wait_for(lambda: self._ready(task_ids), timeout)
            return self._ready(task_ids)

    async def await_(self, task_ids: Sequence[str], timeout: float | None) -> dict[str, Outcome]:
        # asyncio is imported by those who use it: it doubles the time to import taskq.
        import asyncio

        loop = asyncio.get_running_loop()
        changed = asyncio.Event()

        def tell() -> None:
            loop.call_soon_threadsafe(changed.set)

        with self._changed:
            self._listeners.add(tell)
        try:
            async with asyncio.timeout(timeout):
                while not (ready := self._ready(task_ids)):
                    await changed.wait()
                    changed.clear()
                return ready
        except TimeoutError:
            return self._ready(task_ids)
        finally:
            with self._changed:
                self._listeners.discard(tell)

    async def afetch(self, task_ids: Sequence[str]) -> dict[str, Outcome]:
        return self.fetch(task_ids)

    def forget(self, task_ids: Sequence[str]) -> None:
        with self._changed:
            for task_id in task_ids:
                self._outcomes.pop(task_id, None)

    def _chord_end(self) -> float:
        return time.monotonic() + self.chord_expires if self.expires else float("inf")

    def add_parts(self, parts: Sequence[ChordPart]) -> list[ChordPart]:
        expires = time.monotonic() + self.expires if self.expires else float("inf")
        complete = []
        with self._changed:
            for part in parts:
                _, known = self._parts.get(part.group, (0.0, {}))
                known.setdefault(part.index, part.payload)
                end = max(expires, self._records.get(part.group, (0.0,))[0])
                self._parts[part.group] = (end, known)
                if len(known) >= part.size + len(self._joined.get(part.group, ())):
                    complete.append(part)
        return complete

    def chord_parts(self, group: str) -> dict[int, bytes]:
        with self._changed:
            return dict(self._parts.get(group, (0.0, {}))[1])

    def forget_parts(self, group: str) -> None:
        with self._changed:
            self._parts.pop(group, None)

    def keep_chords(self, records: Sequence[ChordRecord]) -> None:
        with self._changed:
            for record in records:
                self._records.setdefault(record.group, (self._chord_end(), record.payload))

    def chord_record(self, group: str) -> bytes | None:
        with self._changed:
            end, payload = self._records.get(group, (0.0, b""))
            return payload if end > time.monotonic() else None

    def forget_chord(self, group: str) -> None:
        with self._changed:
            for known in (self._records, self._parts, self._joined):
                known.pop(group, None)

    def open_chords(self, after: str, limit: int) -> list[ChordRecord]:
        with self._changed:
            found = []
            for group in sorted(key for key in self._records if key > after)[:limit]:
                count = len(self._parts.get(group, (0.0, {}))[1]) - len(self._joined.get(group, ()))
                found.append(ChordRecord(group, self._records[group][1], count))
            return found

    def extend_chord(self, group: str, index: int) -> None:
        with self._changed:
            self._joined.setdefault(group, set()).add(index)

    def cleanup(self) -> int:
        now = time.monotonic()
        with self._changed:
            for group in [key for key, (end, _) in self._records.items() if end <= now]:
                del self._records[group]
                self._joined.pop(group, None)
            for group in [key for key, (end, _) in self._parts.items() if end <= now]:
                del self._parts[group]
            return self._expire()
