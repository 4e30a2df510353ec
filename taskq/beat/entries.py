"""The entries that this beat runs: those of its code, and those of the store."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import tzinfo
from typing import TYPE_CHECKING, NamedTuple

from taskq.beat.definitions import description_of, entry_of, revision_of, shape_of
from taskq.beat.stores.base import IN_CODE, IN_STORE, Record
from taskq.beat.ticks import first_time
from taskq.beat.timetable import Slot
from taskq.exceptions import ImproperlyConfigured
from taskq.schedules import ScheduleEntry

if TYPE_CHECKING:
    from taskq.app import TaskQ

logger = logging.getLogger("taskq.beat")


class Changes(NamedTuple):
    """How a store must be changed to hold what the code says.

    Attributes:
        fresh: rows that it has not, or other ones.
        gone: names of rows of the code that the code has no more.
    """

    fresh: list[Record]
    gone: list[str]


class Entries:
    """What the code has, and what becomes of it and of the store's rows.

    Args:
        app: the app.
        code: the entries of its code, by name.
        zone: of rules without one.
    """

    def __init__(self, app: TaskQ, code: Mapping[str, ScheduleEntry], zone: tzinfo) -> None:
        self._app = app
        self._code = dict(code)
        self._zone = zone
        self._revisions: dict[str, str] = {}
        self._told: set[str] = set()

    def changes(self, rows: Iterable[Record], now: float) -> Changes:
        """What to write, so that the store holds what the code says.

        Args:
            rows: what it holds.
            now: the time.
        """
        stored = {row.name: row for row in rows}
        fresh = []
        for name, entry in self._code.items():
            definition = description_of(entry)
            self._revisions[name] = revision = revision_of(definition)
            row = stored.get(name)
            if row is None or row.revision != revision:
                due = self._first_due(entry, definition, row, now)
                fresh.append(Record(name, definition, IN_CODE, revision, due=due))
        gone = [
            name for name, row in stored.items() if row.source == IN_CODE and name not in self._code
        ]
        return Changes(fresh, gone)

    def _first_due(
        self, entry: ScheduleEntry, definition: bytes, row: Record | None, now: float
    ) -> float | None:
        """When an entry runs next of which the store has no row, or another one."""
        if row is None:
            return first_time(entry.schedule, now, self._zone)
        if row.source == IN_STORE:
            logger.warning("schedule entry %s of the store is replaced by the app's", entry.name)
        if shape_of(row.definition) == shape_of(definition):
            return row.due  # what has been missed is not forgotten because an argument changed
        return first_time(entry.schedule, max(now, row.last_due or now), self._zone)

    def slots(self, rows: Sequence[Record], known: Mapping[str, Slot]) -> dict[str, Slot]:
        """The rows that this beat can run.

        Args:
            rows: all that the store has.
            known: those that it has run until now.
        """
        slots = {}
        for row in rows:
            if row.enabled and (slot := self._slot(row, known.get(row.name))) is not None:
                slots[row.name] = slot
        return slots

    def _slot(self, row: Record, known: Slot | None) -> Slot | None:
        if known is not None and known.revision == row.revision:
            return Slot(known.entry, known.revision, row.due)
        if row.source == IN_CODE:
            entry = self._code.get(row.name)
            if entry is None or not entry.enabled:
                return None
            if self._revisions[row.name] == row.revision:
                return Slot(entry, row.revision, row.due)
            self._tell_once(
                row,
                f"schedule entry {row.name} was changed by a beat that started later: this one "
                "leaves it alone; restart it with the same code",
            )
            return None
        try:
            return Slot(entry_of(row.name, row.definition), row.revision, row.due)
        except ImproperlyConfigured as exc:
            self._tell_once(row, f"{exc}; the others go on")
            return None

    def _tell_once(self, row: Record, text: str) -> None:
        key = f"{row.name} {row.revision}"
        if key not in self._told:
            self._told.add(key)
            logger.error("%s", text)

    def warn_of_unknown_tasks(self, slots: Iterable[Slot]) -> None:
        """Say which tasks the app does not have."""
        tasks = Counter(slot.entry.task for slot in slots if slot.entry.signature is None)
        for task, count in tasks.items():
            if task not in self._app.tasks:
                name = next(slot.entry.name for slot in slots if slot.entry.task == task)
                logger.warning(
                    "there is no task %r here, which schedule entry %s names%s. It is sent all the "
                    "same; if no worker has it either, it becomes a dead letter",
                    task,
                    name,
                    f", and {count - 1} others" if count > 1 else "",
                )
