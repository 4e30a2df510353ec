"""The result store ``django-db``: results in a database of Django's, by its models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models
from django.utils import timezone

from taskq import states
from taskq.backends.base import ChordPart, ChordRecord, Outcome, latest
from taskq.backends.polling import PollingBackend
from taskq.contrib.django.database import Database
from taskq.contrib.django.models import GroupResult, TaskResult
from taskq.contrib.django.results.chords import Chords
from taskq.contrib.django.results.rows import COLUMNS, join, split
from taskq.contrib.django.results.upsert import upsert

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

_ASKED = 500
"""Ids in one question at most."""
_DELETED = 1000
"""Rows in one transaction of the clean-up."""


class DjangoBackend(PollingBackend):
    """Results as rows of `TaskResult`.

    It has connections of its own (see `Database`): what a task says of its progress within a
    transaction is seen at once, and stays when that is rolled back.

    Args:
        alias: the database.
        expires: seconds that an outcome is kept; 0 keeps it for ever.
    """

    def __init__(self, alias: str, expires: float = 86400.0) -> None:
        super().__init__(expires)
        self.database = Database(alias)
        self._chords = Chords(self.database)

    def _end(self, expires: float | None = None) -> datetime:
        """What was stored before has expired.

        Args:
            expires: seconds that it is kept; those of results by default.
        """
        expires = self.expires if expires is None else expires
        try:
            return timezone.now() - timedelta(seconds=expires) if expires else _never()
        except OverflowError:
            return _never()

    # Keeping

    def store(self, outcomes: Sequence[Outcome]) -> None:
        if not outcomes:
            return
        now, end = timezone.now(), self._end()
        rows = [split(outcome, now) for outcome in latest(outcomes)]
        self.database.run(lambda connection: upsert(connection, rows, end))
        self.bell.ring([o.task_id for o in outcomes if o.state in states.READY_STATES])

    def fetch(self, task_ids: Sequence[str]) -> dict[str, Outcome]:
        if not task_ids:
            return {}
        rows = TaskResult.objects.using(self.database.alias)
        alive = rows.filter(changed__gt=self._end()).order_by().values(*COLUMNS)

        def work(connection: BaseDatabaseWrapper) -> dict[str, Outcome]:
            found = {}
            for ids in _pieces(task_ids):
                for row in alive.filter(task_id__in=ids):
                    found[row["task_id"]] = join(row)
            return found

        return self.database.run(work, writes=False)

    def forget(self, task_ids: Sequence[str]) -> None:
        rows = TaskResult.objects.using(self.database.alias)

        def work(connection: BaseDatabaseWrapper) -> None:
            for ids in _pieces(sorted(task_ids)):
                rows.filter(task_id__in=ids).delete()

        if task_ids:
            self.database.run(work)

    # Groups

    def save_group(self, group: str, payload: bytes) -> None:
        rows = GroupResult.objects.using(self.database.alias)
        values = {"payload": payload, "stored": timezone.now()}
        self.database.run(lambda _: rows.update_or_create(group_id=group, defaults=values))

    def restore_group(self, group: str) -> bytes | None:
        rows = GroupResult.objects.using(self.database.alias)
        query = rows.filter(group_id=group, stored__gt=self._end())
        found = self.database.run(
            lambda _: query.values_list("payload", flat=True).first(), writes=False
        )
        return None if found is None else bytes(found)

    def delete_group(self, group: str) -> None:
        rows = GroupResult.objects.using(self.database.alias).filter(group_id=group)
        self.database.run(lambda _: rows.delete())

    # Chords

    def add_parts(self, parts: Sequence[ChordPart]) -> list[ChordPart]:
        return self._chords.add_parts(parts) if parts else []

    def chord_parts(self, group: str) -> dict[int, bytes]:
        return self._chords.parts(group)

    def forget_parts(self, group: str) -> None:
        self._chords.forget_parts(group)

    def keep_chords(self, records: Sequence[ChordRecord]) -> None:
        self._chords.keep(records)

    def chord_record(self, group: str) -> bytes | None:
        return self._chords.record(group, self._end(self.chord_expires))

    def forget_chord(self, group: str) -> None:
        self._chords.forget(group)

    def open_chords(self, after: str, limit: int) -> list[ChordRecord]:
        return self._chords.open(after, limit, self._end(self.chord_expires))

    def extend_chord(self, group: str, index: int) -> None:
        self._chords.extend(group, index)

    # Expiry

    def cleanup(self) -> int:
        if not self.expires:
            return 0
        end = self._end()
        self._chords.cleanup(end, self._end(self.chord_expires))
        self._clean(GroupResult, stored__lte=end)
        return self._clean(TaskResult, changed__lte=end)

    def _clean(self, model: type[models.Model], **old: Any) -> int:
        """Delete what has expired, in pieces, so that nobody waits for long."""
        rows = model._default_manager.using(self.database.alias).filter(**old)
        query = rows.order_by().values_list("pk", flat=True)[:_DELETED]

        def work(connection: BaseDatabaseWrapper) -> int:
            keys = list(query.all())
            # It may have been stored anew since it was found.
            return rows.filter(pk__in=keys).delete()[0] if keys else 0

        deleted = 0
        while count := self.database.run(work):
            deleted += count
        return deleted

    def close(self) -> None:
        self.database.close()


def _never() -> datetime:
    """A time before which nothing was stored, as Django keeps times."""
    start = datetime(1970, 1, 1, tzinfo=UTC)
    return start if settings.USE_TZ else timezone.make_naive(start)


def _pieces(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (ids[start : start + _ASKED] for start in range(0, len(ids), _ASKED))
