"""The schedule store ``django``: entries as rows of `PeriodicTask`."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Q

from taskq.beat.stores.base import Claim, Held, Record, ScheduleStore, version_text
from taskq.contrib.django.database import Database
from taskq.contrib.django.models import PeriodicTask, ScheduleMark, ScheduleMessage
from taskq.contrib.django.models.definitions import columns_of
from taskq.message import pack

_PART = 500
"""Names or ids in one question at most."""
_STATE = (
    *("enabled", "due", "last_due", "last_run", "runs", "missed_runs", "failures", "lateness"),
    "error",
)
_COLUMNS = ("name", "definition", "source", "revision", *_STATE)
# The clock that all beats share is the database's, where it is no file of this machine.
_CLOCKS = {
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())",
    "mysql": "SELECT unix_timestamp(now(6))",
}


class DjangoScheduleStore(ScheduleStore):
    """The rows of one app, for any number of beats.

    Within a transaction of the caller's, such as a request's, edits are part of it.

    Args:
        alias: the database.
        namespace: the app's name: apps may share a database.
        lease: seconds for which a message of the outbox is held.
        clock: gives the time, where that is this machine's.
    """

    def __init__(
        self,
        alias: str,
        namespace: str,
        *,
        lease: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.database = Database(alias, joins=True)
        self._namespace = namespace
        self._lease = lease
        self._clock = clock
        self._known = False

    # The managers that know nothing of marks and columns for people.

    @property
    def _rows(self) -> Any:
        rows = PeriodicTask._base_manager.using(self.database.alias)
        return rows.filter(namespace=self._namespace)

    @property
    def _messages(self) -> Any:
        rows = ScheduleMessage.objects.using(self.database.alias)
        return rows.filter(namespace=self._namespace)

    def _changed(self) -> None:
        """Tell beats of an edit; the first thing in its transaction."""
        ScheduleMark.touch(self.database.alias, self._namespace)

    def _now(self, connection: BaseDatabaseWrapper) -> float:
        statement = _CLOCKS.get(connection.vendor)
        if statement is None:
            return self._clock()
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return float(cursor.fetchone()[0])

    # Looking

    def poll(self) -> tuple[float, str]:
        marks = ScheduleMark.objects.using(self.database.alias).filter(namespace=self._namespace)
        if not self._known:
            # A database that cannot be written is found at the start, and not when a tick is due.
            self.database.run(lambda _: self._changed())
            self._known = True

        def work(connection: BaseDatabaseWrapper) -> tuple[float, str]:
            version = marks.values_list("version", flat=True).first()
            return self._now(connection), version_text(version or 0)

        return self.database.run(work, writes=False)

    def load(self) -> list[Record]:
        query = self._rows.order_by().values_list(*_COLUMNS)
        return self.database.run(lambda _: [_record(row) for row in query.all()], writes=False)

    def read(self, names: Sequence[str]) -> list[Record]:
        def work(connection: BaseDatabaseWrapper) -> list[Record]:
            found: list[Record] = []
            for part in _parts(names):
                rows = self._rows.filter(name__in=part).order_by().values_list(*_COLUMNS)
                found += map(_record, rows)
            return found

        return self.database.run(work, writes=False) if names else []

    # Editing

    def put(self, records: Sequence[Record]) -> None:
        if records:
            self.database.run(lambda _: self._put(records))

    def _put(self, records: Sequence[Record]) -> None:
        self._changed()
        known: dict[str, str] = {}
        for part in _parts([record.name for record in records]):
            known.update(self._rows.filter(name__in=part).values_list("name", "revision"))
        new = [_row(self._namespace, record) for record in records if record.name not in known]
        PeriodicTask._base_manager.using(self.database.alias).bulk_create(new)
        for record in records:
            if known.get(record.name, record.revision) != record.revision:
                self._rows.filter(name=record.name).update(
                    definition=record.definition.decode(),
                    source=record.source,
                    revision=record.revision,
                    due=record.due,
                    **columns_of(record.definition),
                )

    def remove(self, names: Sequence[str]) -> int:
        def work(connection: BaseDatabaseWrapper) -> int:
            self._changed()
            return sum(self._rows.filter(name__in=part).delete()[0] for part in _parts(names))

        return self.database.run(work) if names else 0

    def enable(self, name: str, due: float | None) -> bool:
        def work(connection: BaseDatabaseWrapper) -> bool:
            self._changed()
            resting = self._rows.filter(name=name, enabled=False)
            return bool(
                resting.update(enabled=True, due=due) or self._rows.filter(name=name).exists()
            )

        return self.database.run(work)

    def disable(self, name: str) -> bool:
        return self._edit(self._rows.filter(name=name), enabled=False)

    def reset(self, name: str, due: float | None, next_due: float | None) -> bool:
        return self._edit(self._rows.filter(name=name, due=due), due=next_due, last_due=None)

    def _edit(self, rows: Any, **values: Any) -> bool:
        def work(connection: BaseDatabaseWrapper) -> bool:
            self._changed()
            return bool(rows.all().update(**values))

        return self.database.run(work)

    # Ticks

    def claim(self, claims: Sequence[Claim]) -> set[str]:
        return self.database.run(lambda connection: self._claim(connection, claims))

    def _claim(self, connection: BaseDatabaseWrapper, claims: Sequence[Claim]) -> set[str]:
        now = self._now(connection)
        # In one order everywhere, so that two beats do not wait for each other.
        won = {
            claim.name
            for claim in sorted(claims, key=lambda claim: claim.name)
            if claim.due <= now and self._move(claim)
        }
        made = [
            ScheduleMessage(namespace=self._namespace, message=pack(message))
            for claim in claims
            if claim.name in won
            for message in claim.messages
        ]
        ScheduleMessage.objects.using(self.database.alias).bulk_create(made)
        return won

    def _move(self, claim: Claim) -> bool:
        """Move a row to its next due time, if it stands where the claim says."""
        stands = self._rows.filter(
            Q(last_due=None) | Q(last_due__lt=claim.last),
            name=claim.name,
            due=claim.due,
            revision=claim.revision,
            enabled=True,
        )
        ran = {"last_run": claim.now, "lateness": claim.lateness} if claim.runs else {}
        moved = stands.update(
            due=claim.next_due,
            last_due=claim.last,
            runs=F("runs") + claim.runs,
            missed_runs=F("missed_runs") + claim.missed,
            failures=F("failures") + claim.failures,
            error=claim.error,
            **ran,
        )
        return bool(moved)

    # The outbox

    def take(self, limit: int) -> list[Held]:
        def look(connection: BaseDatabaseWrapper) -> tuple[float, bool]:
            now = self._now(connection)
            return now, self._messages.filter(until__lte=now).exists()

        # Most of the time there is nothing, and nobody needs to wait for a lock.
        now, found = self.database.run(look, writes=False)
        if not found:
            return []
        waiting = self._messages.filter(until__lte=now)
        holder = uuid.uuid4().hex

        def work(connection: BaseDatabaseWrapper) -> list[Held]:
            keys = list(waiting.order_by("pk").values_list("pk", flat=True)[:limit])
            # Whoever was faster has moved `until`, and has the message.
            waiting.filter(pk__in=keys).update(until=now + self._lease, holder=holder)
            mine = self._messages.filter(pk__in=keys, holder=holder).order_by("pk")
            return [Held(key, bytes(packed)) for key, packed in mine.values_list("pk", "message")]

        return self.database.run(work)

    def sent(self, held: Sequence[Held]) -> None:
        keys = [one.tag for one in held]

        def work(connection: BaseDatabaseWrapper) -> None:
            for part in _parts(keys):
                self._messages.filter(pk__in=part).delete()

        if keys:
            self.database.run(work)

    def close(self) -> None:
        self.database.close()


def _parts(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[start : start + _PART] for start in range(0, len(items), _PART)]


def _record(row: Sequence[Any]) -> Record:
    name, definition, *rest = row
    return Record(name, definition.encode(), *rest)


def _row(namespace: str, record: Record) -> PeriodicTask:
    return PeriodicTask(
        namespace=namespace,
        name=record.name,
        definition=record.definition.decode(),
        source=record.source,
        revision=record.revision,
        enabled=record.enabled,
        due=record.due,
        last_due=record.last_due,
        last_run=record.last_run,
        runs=record.runs,
        missed_runs=record.missed,
        failures=record.failures,
        lateness=record.lateness,
        error=record.error,
        **columns_of(record.definition),
    )
