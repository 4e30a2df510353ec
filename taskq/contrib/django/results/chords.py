"""The chords in a database of Django's: what their members contribute, and what follows them.

All of a chord lies in one table, under the group's id and a place; see `ChordPart`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import Case, Max, Min, Q, QuerySet, Sum, Value, When
from django.utils import timezone

from taskq.backends.base import ChordPart as Part
from taskq.backends.base import ChordRecord
from taskq.contrib.django.database import Database
from taskq.contrib.django.models import ChordPart

_RECORD = -1
_ASKED = 500
"""Ids in one question at most."""
_COUNTED = Case(When(place__gte=0, then=Value(1)), When(place=_RECORD, then=0), default=Value(-1))


class Chords:
    """The table of chords.

    Args:
        database: where it is.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def _rows(self) -> QuerySet[ChordPart]:
        return ChordPart.objects.using(self._database.alias)

    def _insert(self, rows: Sequence[tuple[str, int, bytes]]) -> None:
        """Write rows of group, place and payload; of two for one place the first stays."""
        now = timezone.now()
        # In one order everywhere, so that two transactions do not wait for each other.
        made = [
            ChordPart(group_id=group, place=place, payload=payload, stored=now)
            for group, place, payload in sorted(rows, key=lambda row: row[:2])
        ]
        if made:
            self._database.run(lambda _: self._rows.bulk_create(made, ignore_conflicts=True))

    def add_parts(self, parts: Sequence[Part]) -> list[Part]:
        """Keep parts; those whose chords are complete."""
        self._insert([(part.group, part.index, part.payload) for part in parts])
        # Counted only now: two members that are added at the same time do not see each other
        # before both are committed, and then at least the later one sees all.
        counts = self._counts(sorted({part.group for part in parts}))
        return [part for part in parts if counts.get(part.group, 0) >= part.size]

    def _counts(self, groups: list[str]) -> dict[str, int]:
        """How many members have ended, less those that have joined."""

        def work(connection: Any) -> dict[str, int]:
            counts: dict[str, int] = {}
            for start in range(0, len(groups), _ASKED):
                found = self._rows.filter(group_id__in=groups[start : start + _ASKED])
                counted = found.values_list("group_id").annotate(count=Sum(_COUNTED))
                counts.update(counted.order_by())
            return counts

        return self._database.run(work, writes=False)

    def parts(self, group: str) -> dict[int, bytes]:
        """What the members have contributed, by their places."""
        rows = self._rows.filter(group_id=group, place__gte=0)
        return self._database.run(
            lambda _: {
                place: bytes(payload) for place, payload in rows.values_list("place", "payload")
            },
            writes=False,
        )

    def keep(self, records: Sequence[ChordRecord]) -> None:
        """Keep what follows chords."""
        self._insert([(record.group, _RECORD, record.payload) for record in records])

    def extend(self, group: str, index: int) -> None:
        """One more member, by its place."""
        self._insert([(group, _RECORD - 1 - index, b"")])

    def record(self, group: str, end: datetime) -> bytes | None:
        """What follows a chord, if it was kept after `end`."""
        rows = self._rows.filter(group_id=group, place=_RECORD, stored__gt=end)
        found = self._database.run(
            lambda _: rows.values_list("payload", flat=True).first(), writes=False
        )
        return None if found is None else bytes(found)

    def open(self, after: str, limit: int, end: datetime) -> list[ChordRecord]:
        """Chords with a record that was kept after `end`, by their ids."""
        rows = self._rows.filter(group_id__gt=after, place=_RECORD, stored__gt=end)
        wanted = rows.order_by("group_id").values_list("group_id", "payload")[:limit]
        found = self._database.run(lambda _: list(wanted.all()), writes=False)
        counts = self._counts([group for group, _ in found])
        return [ChordRecord(group, bytes(payload), counts[group]) for group, payload in found]

    def forget_parts(self, group: str) -> None:
        """Delete what the members have contributed."""
        rows = self._rows.filter(group_id=group, place__gte=0)
        self._database.run(lambda _: rows.delete())

    def forget(self, group: str) -> None:
        """Delete all that is known of a chord."""
        rows = self._rows.filter(group_id=group)
        self._database.run(lambda _: rows.delete())

    def cleanup(self, end: datetime, chord_end: datetime) -> None:
        """Delete chords of which nothing is newer than their end.

        Args:
            end: of those without a record of what follows them.
            chord_end: of the others.
        """
        spans = self._rows.values("group_id").annotate(newest=Max("stored"), first=Min("place"))
        old = spans.filter(Q(first__gte=0) | Q(newest__lte=chord_end), newest__lte=end)
        query = old.order_by().values_list("group_id", flat=True)[:100]

        def work(connection: Any) -> int:
            ids = list(query.all())
            if ids:
                # A member may have been added since.
                self._rows.filter(group_id__in=ids, stored__lte=end).delete()
            return len(ids)

        while self._database.run(work):
            pass
