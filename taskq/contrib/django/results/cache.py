"""The result store ``django-cache``: results in any of Django's caches.

Django's caches can add what is not there, and can not compare and set.  So chords are not
counted by numbers: a member is a key that is added, and a chord is complete when all keys are
there.  That not all of them need to be looked at for each member, they are taken in blocks, and
full blocks in blocks again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

from django.core.cache import BaseCache, caches

from taskq.backends.base import ChordPart
from taskq.backends.keyvalue import GROUP_PREFIX, Entry, KeyValueBackend
from taskq.exceptions import OperationalError, TaskQError

_BLOCK = 64
"""Members of a block."""
_LOCK_FOR = 5
"""Seconds after which the lock of whoever died with it is anybody's."""
_PAUSE = 0.005
_LONGEST_KEY = 200
"""Characters; memcached takes 250, and Django adds a prefix and a version."""


class DjangoCacheBackend(KeyValueBackend):
    """Results in a cache.

    Args:
        alias: in Django's setting ``CACHES``.
        expires: seconds that a value is kept; 0 keeps it for ever.
        prefix: every key begins with it, behind what the cache adds.
    """

    def __init__(self, alias: str, expires: float = 86400.0, prefix: str = "") -> None:
        super().__init__(expires, prefix)
        self.alias = alias

    @property
    def _cache(self) -> BaseCache:
        # Each thread has its own.
        return caches[self.alias]

    @property
    def _timeout(self) -> int | None:
        # Some caches count whole seconds, and cut off the rest of the one in which it ends.
        return math.ceil(self.expires) + 1 if self.expires else None

    def legal(self, key: str) -> bool:
        return len(key) <= _LONGEST_KEY and key.isascii() and key.isprintable() and " " not in key

    def _explained(self, error: Exception) -> TaskQError:
        reason = " ".join(str(error).split()) or type(error).__name__
        return OperationalError(f"the cache {self.alias!r} cannot be used: {reason}")

    # The four verbs

    def read(self, keys: Sequence[str]) -> dict[str, Entry]:
        found = self._get_many(keys)
        return {key: Entry(value, value) for key, value in found.items()}

    def _get_many(self, keys: Sequence[str]) -> dict[str, Any]:
        try:
            return dict(self._cache.get_many(list(keys)))
        except Exception as exc:
            raise self._explained(exc) from exc

    def write(self, key: str, value: bytes, token: object | None) -> bool:
        try:
            if token is None:
                return bool(self._cache.add(key, value, self._timeout))
            return self._replace(key, value, token)
        except TaskQError:
            raise
        except Exception as exc:
            raise self._explained(exc) from exc

    def _replace(self, key: str, value: bytes, token: object) -> bool:
        """Put a value in the place of another one, unless that has changed meanwhile."""
        lock = f"{key}.lock"
        end = time.monotonic() + 2 * _LOCK_FOR
        while not self._cache.add(lock, 1, _LOCK_FOR):
            if time.monotonic() > end:
                raise OperationalError(f"the cache {self.alias!r}: {lock} stays locked")
            time.sleep(_PAUSE)
        try:
            if self._cache.get(key) != token:
                return False
            self._cache.set(key, value, self._timeout)
            return True
        finally:
            self._cache.delete(lock)

    def touch(self, keys: Sequence[str]) -> None:
        try:
            for key in keys:
                self._cache.touch(key, self._timeout)
        except Exception as exc:
            raise self._explained(exc) from exc

    def delete(self, keys: Sequence[str]) -> None:
        try:
            self._cache.delete_many(list(keys))
        except Exception as exc:
            raise self._explained(exc) from exc

    # Chords

    def add_parts(self, parts: Sequence[ChordPart]) -> list[ChordPart]:
        sizes: dict[str, int] = {}
        for part in parts:
            if part.group not in sizes:
                sizes[part.group] = part.size
                self._keep_alive(part.group, part.size)
            self.write(self._place(part.group, 0, part.index), part.payload, None)
        complete = {
            group
            for group, size in sizes.items()
            if self._complete(group, size, {part.index for part in parts if part.group == group})
        }
        return [part for part in parts if part.group in complete]

    def _keep_alive(self, group: str, size: int) -> None:
        """Keep a chord's size; all of it expires together, from its half-life on anew."""
        key, now = self._size(group), time.time()
        if self.write(key, b"%d %f" % (size, now), None) or not self.expires:
            return
        found = self._get_many([key]).get(key, b"0 0")
        if 0 <= now - float(found.split()[1]) < self.expires / 2:
            return
        for level, count in _levels(size):
            self.touch([self._place(group, level, place) for place in range(count)])
        self.write(key, b"%d %f" % (size, now), found)

    def _complete(self, group: str, size: int, places: set[int]) -> bool:
        """Are all members there?

        Two who add the last ones do not see each other before both have written, and then at
        least the later one sees all, in each of the levels.
        """
        for level, count in _levels(size):
            full = set()
            for block in sorted({place // _BLOCK for place in places}):
                start = block * _BLOCK
                keys = [
                    self._place(group, level, place)
                    for place in range(start, min(start + _BLOCK, count))
                ]
                if len(self._get_many(keys)) == len(keys):
                    full.add(block)
                    self.write(self._place(group, level + 1, block), b"1", None)
            if not full:
                return False
            places = full
        return True

    def chord_parts(self, group: str) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        for keys in self._members(group):
            values = self._get_many(list(keys.values()))
            found.update((place, values[key]) for place, key in keys.items() if key in values)
        return found

    def forget_parts(self, group: str) -> None:
        size = self._known_size(group)
        for level, count in _levels(size):
            self.delete([self._place(group, level, place) for place in range(count)])
        # The size goes last: whoever dies before that forgets them once more.
        self.delete([self._size(group)])

    def _members(self, group: str) -> Iterator[dict[int, str]]:
        """The keys of the members by their places, in pieces."""
        size = self._known_size(group)
        for start in range(0, size, 500):
            yield {
                place: self._place(group, 0, place)
                for place in range(start, min(start + 500, size))
            }

    def _known_size(self, group: str) -> int:
        found = self._get_many([self._size(group)])
        return int(found[self._size(group)].split()[0]) if found else 0

    def _size(self, group: str) -> str:
        return self._key(GROUP_PREFIX, f"{group}.size")

    def _place(self, group: str, level: int, place: int) -> str:
        return self._key(GROUP_PREFIX, f"{group}.part-{level}-{place}")


def _levels(size: int) -> Iterator[tuple[int, int]]:
    """The levels of the blocks of a chord of that size: number, and how many there are in it."""
    level, count = 0, size
    while count > 1 or not level:
        yield level, count
        level, count = level + 1, -(-count // _BLOCK)
