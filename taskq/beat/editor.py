"""Editing a schedule while beats run it."""

from __future__ import annotations

from datetime import tzinfo
from typing import TYPE_CHECKING

from taskq.beat.definitions import definition_of, entry_of, revision_of
from taskq.beat.stores.base import IN_CODE, IN_STORE, Record, ScheduleStore
from taskq.beat.stores.registry import open_store
from taskq.beat.ticks import first_time, messages_of, next_time
from taskq.exceptions import ImproperlyConfigured
from taskq.message import new_id
from taskq.producer import time_zone
from taskq.schedules import ScheduleEntry, read_entries
from taskq.schedules.zones import machine_zone

if TYPE_CHECKING:
    from taskq.app import TaskQ


class ScheduleEditor:
    """The schedule of an app, as its store has it.  Beats follow an edit within a second.

    Args:
        app: the app.
        store: its schedule store; by default the one that the settings name.
    """

    def __init__(self, app: TaskQ, store: ScheduleStore | None = None) -> None:
        self.app = app
        self.store = store or open_store(app)
        self.zone: tzinfo = time_zone(app.conf) or machine_zone()
        self._code: dict[str, ScheduleEntry] | None = None

    def records(self) -> list[Record]:
        """All entries with their next and last runs, by name.

        What is in the code and was never seen by a beat is there as well, without a next run.
        """
        stored = {record.name: record for record in self.store.load()}
        for name in self._in_code():
            stored.setdefault(name, Record(name, b"{}", IN_CODE, ""))
        return [stored[name] for name in sorted(stored)]

    def record(self, name: str) -> Record:
        """The row of one entry.

        Raises:
            KeyError: there is none.
        """
        for record in self.store.read([name]):
            return record
        if name in self._in_code():
            return Record(name, b"{}", IN_CODE, "")
        raise KeyError(f"there is no schedule entry {name!r}")

    def entry(self, record: Record) -> ScheduleEntry | None:
        """What a row says; None if that is in code which is not here.

        Raises:
            ImproperlyConfigured: it cannot be read.
        """
        if record.source == IN_CODE:
            return self._in_code().get(record.name)
        return entry_of(record.name, record.definition)

    def _in_code(self) -> dict[str, ScheduleEntry]:
        if self._code is None:
            self.app.load_modules()
            self._code = {
                **read_entries(self.app.conf.beat_schedule),
                **self.app.periodic_entries,
            }
        return self._code

    def add(self, entry: ScheduleEntry, replace: bool = False) -> Record:
        """Add an entry, which from now on lives in the store.

        Args:
            entry: the entry.
            replace: an entry of that name is changed; its counts are kept.

        Returns:
            Its row.

        Raises:
            ImproperlyConfigured: it cannot be kept in a store; or there is one of that name,
                and it is not to be replaced, or is the code's.
        """
        stored = {record.name: record for record in self.store.read([entry.name])}
        known = stored.get(entry.name)
        if entry.name in self._in_code() or (known is not None and known.source == IN_CODE):
            raise ImproperlyConfigured(
                f"schedule entry {entry.name!r} is written in code: change it there, or choose "
                "another name"
            )
        if known is not None and not replace:
            raise ImproperlyConfigured(
                f"there is a schedule entry {entry.name!r} already: replace it, or remove it first"
            )
        definition = definition_of(entry)
        now = self.store.poll()[0]
        last = known.last_due if known is not None else None
        due = first_time(entry.schedule, max(now, last or now), self.zone)
        record = Record(
            *(entry.name, definition, IN_STORE, revision_of(definition)),
            enabled=entry.enabled,
            due=due,
        )
        self.store.put([record])
        return record

    def remove(self, name: str) -> None:
        """Delete an entry of the store.

        Raises:
            KeyError: there is none of that name.
            ImproperlyConfigured: it is written in code.
        """
        record = self.record(name)
        if record.source == IN_CODE and name in self._in_code():
            raise ImproperlyConfigured(
                f"schedule entry {name!r} is written in code: remove it there, or disable it"
            )
        self.store.remove([name])

    def enable(self, name: str) -> None:
        """Let an entry run again, from now on.

        Raises:
            KeyError: no beat knows an entry of that name yet.
        """
        record = self._seen(name)
        self.store.enable(name, self._next(record, self.store.poll()[0]))

    def disable(self, name: str) -> None:
        """Let an entry rest, until it is enabled again, whatever beats start meanwhile.

        Raises:
            KeyError: no beat knows an entry of that name yet.
        """
        self.store.disable(self._seen(name).name)

    def reset(self, name: str) -> None:
        """Let an entry go on from now, whatever it is said to have run already.

        Raises:
            KeyError: no beat knows an entry of that name yet.
        """
        record = self._seen(name)
        self.store.reset(name, record.due, self._next(record, self.store.poll()[0]))

    def _seen(self, name: str) -> Record:
        for record in self.store.read([name]):
            return record
        raise KeyError(f"there is no schedule entry {name!r} that a beat has seen")

    def _next(self, record: Record, now: float) -> float | None:
        entry = self.entry(record)
        if entry is None:
            raise _not_here(record.name)
        return first_time(entry.schedule, now, self.zone)

    def run(self, name: str) -> list[str]:
        """Send an entry's task now, besides its regular runs.

        Returns:
            The ids of what was sent.

        Raises:
            KeyError: there is none of that name.
            OperationalError: the broker cannot be reached.
        """
        entry = self.entry(self.record(name))
        if entry is None:
            raise ImproperlyConfigured(
                f"schedule entry {name!r} is written in code that is not here"
            )
        now = self.store.poll()[0]
        # A key of its own: it is no tick.
        messages = messages_of(self.app, entry, f"beat:run:{new_id()}", now, once=False)
        self.app.producer.publish(messages)
        return [message.id for message in messages]

    def upcoming(self, record: Record, count: int) -> list[float]:
        """The next runs of an entry, as Unix times.

        Args:
            record: its row.
            count: how many.
        """
        entry = self.entry(record)
        if entry is None or not (record.enabled and entry.enabled):
            return []
        due = record.due
        if due is None and not record.revision:
            due = first_time(entry.schedule, self.store.poll()[0], self.zone)
        found: list[float] = []
        while due is not None and len(found) < count:
            found.append(due)
            due = next_time(entry.schedule, due, self.zone)
        return found


def _not_here(name: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"schedule entry {name!r} is written in code that is not here")
