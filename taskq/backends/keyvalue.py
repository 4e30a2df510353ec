"""Stores of keys and values: what there is to do beyond reading, writing and deleting them.

Keys and values are Celery's, so that either side reads what the other has written.
"""

from __future__ import annotations

import hashlib
import struct
import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from taskq import states
from taskq.backends.base import ChordPart, Outcome, latest, supersedes
from taskq.backends.documents import pack_outcome, unpack_outcome
from taskq.backends.polling import PollingBackend
from taskq.exceptions import OperationalError

TASK_PREFIX = "celery-task-meta-"
GROUP_PREFIX = "celery-taskset-meta-"
_ATTEMPTS = 100
"""Writes of one key in which somebody else was faster, until something must be wrong."""


class Entry(NamedTuple):
    """What lies under a key.

    Attributes:
        value: the bytes.
        token: tells whether it is still the same, for `KeyValueBackend.write`.
    """

    value: bytes
    token: object


class Write(NamedTuple):
    """The arguments of `KeyValueBackend.write`."""

    key: str
    value: bytes
    token: object | None


class KeyValueBackend(PollingBackend):
    """Results in a store that reads, writes and deletes values by their keys.

    Args:
        expires: seconds that a value is kept; 0 keeps it for ever.
        prefix: every key begins with it.
    """

    def __init__(self, expires: float = 86400.0, prefix: str = "") -> None:
        super().__init__(expires)
        self._prefix = prefix

    # What a store must do

    @abstractmethod
    def read(self, keys: Sequence[str]) -> dict[str, Entry]:
        """What lies under these keys and has not expired."""

    @abstractmethod
    def write(self, key: str, value: bytes, token: object | None) -> bool:
        """Put a value under a key, to expire in the store's time.

        Args:
            key: where.
            value: what.
            token: of what is to be replaced; None if nothing may be there.

        Returns:
            Whether it was written; otherwise somebody else was faster, in whichever way.
        """

    @abstractmethod
    def touch(self, keys: Sequence[str]) -> None:
        """Let these keys' values expire as if they were written now."""

    @abstractmethod
    def delete(self, keys: Sequence[str]) -> None:
        """Delete these keys, as far as they are there."""

    def legal(self, key: str) -> bool:
        """Can the store use this key?"""
        return True

    # What follows from that

    def _key(self, prefix: str, name: str) -> str:
        key = f"{self._prefix}{prefix}{name}"
        if self.legal(key):
            return key
        return f"{self._prefix}{prefix}{hashlib.sha256(name.encode()).hexdigest()}"

    def write_all(self, writes: Sequence[Write]) -> list[bool]:
        """`write` for many keys; for each, whether it was written."""
        return [self.write(*each) for each in writes]

    def store(self, outcomes: Sequence[Outcome]) -> None:
        # Most are the first of their tasks, and need not be looked for.
        left = self._write(latest(outcomes), {})
        for _ in range(_ATTEMPTS):
            if not left:
                break
            known = self.read([self._key(TASK_PREFIX, outcome.task_id) for outcome in left])
            left = self._write(left, known)
        else:
            raise OperationalError(f"{left[0].task_id}: others write it all the time")
        self.bell.ring([o.task_id for o in outcomes if o.state in states.READY_STATES])

    def _write(self, outcomes: Sequence[Outcome], known: dict[str, Entry]) -> list[Outcome]:
        """Write what may take the place of what is known; those in which others were faster."""
        tried: list[Outcome] = []
        writes: list[Write] = []
        for outcome in outcomes:
            key = self._key(TASK_PREFIX, outcome.task_id)
            entry = known.get(key)
            if entry is not None:
                there = unpack_outcome(outcome.task_id, entry.value)
                if not supersedes(outcome.state, there.state):
                    continue
            tried.append(outcome)
            writes.append(Write(key, pack_outcome(outcome), entry and entry.token))
        written = self.write_all(writes)
        return [outcome for outcome, done in zip(tried, written, strict=True) if not done]

    def fetch(self, task_ids: Sequence[str]) -> dict[str, Outcome]:
        if not task_ids:
            return {}
        keys = {task_id: self._key(TASK_PREFIX, task_id) for task_id in task_ids}
        found = self.read(list(keys.values()))
        return {
            task_id: unpack_outcome(task_id, found[key].value)
            for task_id, key in keys.items()
            if key in found
        }

    def forget(self, task_ids: Sequence[str]) -> None:
        if task_ids:
            self.delete([self._key(TASK_PREFIX, task_id) for task_id in task_ids])

    def cleanup(self) -> int:
        return 0  # what has expired vanishes by itself


class CountingKeyValueBackend(KeyValueBackend):
    """The same, of which `write` is atomic: the members of chords can be counted.

    What a member contributes lies under a key of its own.  Which members there are stands in
    one more value, a bit for each: a member that comes again sets the bit that is set.
    """

    def add_parts(self, parts: Sequence[ChordPart]) -> list[ChordPart]:
        groups: dict[str, list[ChordPart]] = {}
        for part in parts:
            groups.setdefault(part.group, []).append(part)
            self.write(self._part(part.group, part.index), part.payload, None)
        counts = {name: self._set_bits(name, members) for name, members in groups.items()}
        return [part for part in parts if counts[part.group] >= part.size]

    def _set_bits(self, group: str, parts: Sequence[ChordPart]) -> int:
        """Add members to those that are there; how many there are then."""
        key = self._key(GROUP_PREFIX, f"{group}.parts")
        for _ in range(_ATTEMPTS):
            entry = self.read([key]).get(key)
            members = _Members.unpack(entry.value) if entry is not None else _Members(0.0, 0)
            bits = members.bits
            for part in parts:
                bits |= 1 << part.index
            now = time.time()
            touched = members.touched
            # All expire together: whenever half of their time is over it begins anew.
            if touched and self.expires and not 0 <= now - touched < self.expires / 2:
                self.touch([self._part(group, index) for index in members.indexes()])
                touched = now
            value = _Members(touched or now, bits).pack()
            if self.write(key, value, entry and entry.token):
                return bits.bit_count()
        raise OperationalError(f"chord {group}: others count its members all the time")

    def _part(self, group: str, index: int) -> str:
        return self._key(GROUP_PREFIX, f"{group}.part-{index}")

    def _indexes(self, group: str) -> list[int]:
        key = self._key(GROUP_PREFIX, f"{group}.parts")
        entry = self.read([key]).get(key)
        return _Members.unpack(entry.value).indexes() if entry is not None else []

    def chord_parts(self, group: str) -> dict[int, bytes]:
        keys = {index: self._part(group, index) for index in self._indexes(group)}
        found = self.read(list(keys.values()))
        return {index: found[key].value for index, key in keys.items() if key in found}

    def forget_parts(self, group: str) -> None:
        keys = [self._part(group, index) for index in self._indexes(group)]
        # The count goes last: whoever dies before that forgets them once more.
        self.delete([*keys, self._key(GROUP_PREFIX, f"{group}.parts")])


class _Members(NamedTuple):
    """Which members of a chord have ended.

    Attributes:
        touched: the time from which all expire together.
        bits: a one for each member's place.
    """

    touched: float
    bits: int

    def pack(self) -> bytes:
        length = (self.bits.bit_length() + 7) // 8
        return struct.pack("<d", self.touched) + self.bits.to_bytes(length, "little")

    @classmethod
    def unpack(cls, value: bytes) -> _Members:
        (touched,) = struct.unpack_from("<d", value)
        return cls(touched, int.from_bytes(value[8:], "little"))

    def indexes(self) -> list[int]:
        return [index for index in range(self.bits.bit_length()) if self.bits >> index & 1]


def key_prefix(options: dict[str, object]) -> str:
    """The option ``global_keyprefix``, as Celery reads it for stores of keys and values."""
    prefix = str(options.get("global_keyprefix") or "")
    return f"{prefix}_" if prefix and prefix[-1] not in ":_-." else prefix
