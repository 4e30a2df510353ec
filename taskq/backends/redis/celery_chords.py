"""Chords that workers of Celery and of taskq count together.

The keys are those of Celery 5.7 (``celery/backends/redis.py``, ``on_chord_part_return``):
``celery-taskset-meta-<group>`` followed by ``.j``, ``.t``, ``.s``, ``.d`` or ``.c``, which the
script explains.  Whoever counts the last member sends the body.
"""

from __future__ import annotations

from collections.abc import Sequence

from taskq.backends.base import ChordPart, ChordRecord
from taskq.backends.redis.backend import RedisBackend
from taskq.backends.redis.scripts import CELERY_CLAIM, CELERY_PART
from taskq.exceptions import OperationalError
from taskq.stores.redis import Call
from taskq.stores.redis.calls import command

_CLAIM = 60
"""Seconds for which the sending of a body is claimed: the message that does it comes again."""
_REMEMBER = 3600
"""Seconds for which it is known that a body has been sent."""


class CeleryChords(RedisBackend):
    """`RedisBackend` of an app that works beside Celery (the setting ``celery_interop``)."""

    shares_chords = True

    def _key(self, group: str, part: str) -> str:
        return f"{self.layout.group(group)}.{part}"

    @property
    def _chord_ttl(self) -> int:
        return int(self.chord_expires * 1000)

    def keep_chords(self, records: Sequence[ChordRecord]) -> None:
        """Keep how many members there are; what follows comes with the members as well."""
        calls: list[Call] = []
        for record in records:
            size, claim = self._key(record.group, "s"), self._key(record.group, "c")
            own = self.layout.parts(record.group)
            more = ("PX", self._chord_ttl) if self._chord_ttl else ()
            calls += [
                command(claim, "DEL", claim),
                command(own, "SET", own, record.payload, *more),
                command(size, "SET", size, record.size, *more),
            ]
        if calls:
            self.client.calls(*calls)

    def add_parts(self, parts: Sequence[ChordPart]) -> list[ChordPart]:
        calls = [
            CELERY_PART.call(
                [self._key(part.group, name) for name in "jtsdc"],
                *(part.task_id, part.index, part.payload, self._chord_ttl, part.size),
            )
            for part in parts
        ]
        complete = self.client.calls(*calls) if calls else []
        return [part for part, is_complete in zip(parts, complete, strict=True) if is_complete]

    def chord_parts(self, group: str) -> dict[int, bytes]:
        key = self._key(group, "j")
        (found,) = self.client.calls(command(key, "ZRANGE", key, 0, -1))
        return dict(enumerate(found))

    def claim_chord(self, group: str) -> bool:
        (answer,) = self.client.calls(
            CELERY_CLAIM.call([self._key(group, "c")], f"taskq:{group}", _CLAIM)
        )
        if answer < 0:
            raise OperationalError(f"chord {group}: a worker of Celery's is sending its body")
        return bool(answer)

    def chord_record(self, group: str) -> bytes | None:
        own = self.layout.parts(group)
        (record,) = self.client.calls(command(own, "GET", own))
        return bytes(record) if record is not None else None

    def forget_chord(self, group: str) -> None:
        done = self._key(group, "c")
        keys = [self._key(group, name) for name in "jtsd"]
        self.client.calls(
            command(done, "SET", done, "done", "EX", _REMEMBER),
            command(done, "DEL", *keys, self.layout.parts(group)),
        )

    forget_parts = forget_chord

    def open_chords(self, after: str, limit: int) -> list[ChordRecord]:
        return []  # Celery keeps no list of them

    def extend_chord(self, group: str, index: int) -> None:
        key = self._key(group, "t")
        self.client.calls(command(key, "INCR", key))
