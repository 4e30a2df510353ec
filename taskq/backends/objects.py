"""Results as objects of a store such as S3, through fsspec, with Celery's names.

Such a store reads and writes whole objects, and lists what is there.  What it is told first
it keeps (where it knows a conditional PUT, as S3 and Google do); of two that replace the same
object at the same time the later one stays.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, TypeVar

from taskq.backends.base import ChordPart
from taskq.backends.keyvalue import GROUP_PREFIX, TASK_PREFIX, Entry, KeyValueBackend, Write
from taskq.exceptions import ImproperlyConfigured, OperationalError

T = TypeVar("T")
R = TypeVar("R")

_AT_ONCE = 16
"""Requests that are on their way at the same time."""
_THERE = object()
"""The token of everything that is there: these stores compare nothing."""


class ObjectsBackend(KeyValueBackend):
    """The result store of ``s3://``, ``gs://``, ``azureblockblob://`` and ``fsspec+…://``.

    Args:
        protocol: fsspec's name of the kind of store.
        root: bucket and what all names begin with, as fsspec has it.
        options: of fsspec's file system.
        expires: seconds that an outcome is kept; 0 keeps it for ever.
        prefix: every object's name begins with it, behind the root.

    Raises:
        ImproperlyConfigured: fsspec does not know the protocol, or the options are wrong.
    """

    polls = (0.1, 2.0)

    def __init__(
        self,
        protocol: str,
        root: str,
        options: dict[str, Any],
        expires: float = 86400.0,
        prefix: str = "",
    ) -> None:
        super().__init__(expires, prefix)
        self.place = f"{protocol}://{root}"
        self._protocol = protocol
        self._root = root
        # What others write would not be seen in a list that is kept.
        self._options = {"use_listings_cache": False, **options, "skip_instance_cache": True}
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._opened = self._open()
        self._creates = True

    def _open(self) -> Any:
        import fsspec

        try:
            return fsspec.filesystem(self._protocol, **self._options)
        except (TypeError, ValueError) as exc:
            raise ImproperlyConfigured(f"result store {self.place}: {exc}") from exc

    @property
    def _fs(self) -> Any:
        """The file system of this process; its thread does not survive a fork."""
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    self._opened, self._pid = self._open(), os.getpid()
        return self._opened

    def legal(self, key: str) -> bool:
        return len(key.encode()) <= 500 and key.isprintable() and "/" not in key

    def _path(self, key: str) -> str:
        path: str = self._fs._strip_protocol(f"{self._root}{key}")
        return path

    def _ask(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except (FileNotFoundError, FileExistsError):
            raise
        except TypeError as exc:  # an option that the file system does not have, told late
            raise ImproperlyConfigured(f"result store {self.place}: {exc}") from exc
        except Exception as exc:  # each file system has errors of its own
            raise OperationalError(
                f"result store {self.place}: {type(exc).__name__}: {exc}"
            ) from exc

    def read(self, keys: Sequence[str]) -> dict[str, Entry]:
        paths = {self._path(key): key for key in keys}
        answers = self._ask(lambda: self._fs.cat(list(paths), on_error="return"))
        there = {}
        for path, answer in answers.items():
            if isinstance(answer, FileNotFoundError):
                continue
            if isinstance(answer, BaseException):
                raise OperationalError(
                    f"result store {self.place}: {type(answer).__name__}: {answer}"
                ) from answer
            there[path] = answer
        expired = dict(zip(there, _at_once(self._expired, list(there)), strict=True))
        return {
            paths[path]: Entry(value, _THERE) for path, value in there.items() if not expired[path]
        }

    def _expired(self, path: str) -> bool:
        if not self.expires:
            return False
        try:
            return self._old(self._ask(lambda: self._fs.modified(path)))
        except FileNotFoundError:
            return True

    def _old(self, modified: datetime) -> bool:
        moment = modified if modified.tzinfo else modified.replace(tzinfo=UTC)
        # They tell whole seconds, cut off: one more, never to keep for less than was asked.
        return moment.timestamp() + math.ceil(self.expires) + 1 <= time.time()

    def write(self, key: str, value: bytes, token: object | None) -> bool:
        path = self._path(key)
        if token is None:
            created = self._create(path, value)
            if created or not self._expired(path):
                return created
        self._put(path, value)
        return True

    def _put(self, path: str, value: bytes, mode: str = "overwrite") -> None:
        try:
            self._ask(lambda: self._fs.pipe_file(path, value, mode=mode))
        except FileNotFoundError as exc:
            raise OperationalError(f"result store {self.place}: {exc}") from exc

    def _create(self, path: str, value: bytes) -> bool:
        """Write what is not there; in one step, where the store can do that."""
        if self._creates:
            try:
                self._put(path, value, mode="create")
                return True
            except FileExistsError:
                return False
            except OperationalError as exc:
                if "NotImplemented" not in str(exc):
                    raise
                self._creates = False
        if self._ask(lambda: self._fs.exists(path)):
            return False
        self._put(path, value)
        return True

    def write_all(self, writes: Sequence[Write]) -> list[bool]:
        return _at_once(lambda each: self.write(*each), writes)

    def touch(self, keys: Sequence[str]) -> None:
        """Nothing to do: the members of a chord expire by the newest of them."""

    def delete(self, keys: Sequence[str]) -> None:
        _at_once(self._delete, [self._path(key) for key in keys])

    def _delete(self, path: str) -> None:
        try:
            self._ask(lambda: self._fs.rm_file(path))
        except FileNotFoundError:
            pass

    # Chords: a folder of objects for each, one for each member

    def _folder(self, group: str) -> str:
        return self._path(self._key(GROUP_PREFIX, f"{group}.parts"))

    def _member(self, part: ChordPart) -> str:
        return f"{self._key(GROUP_PREFIX, f'{part.group}.parts')}/{part.index}"

    def _list(self, folder: str) -> list[dict[str, Any]]:
        """What is in a folder, as it is now: these stores' lists are never late."""
        try:
            found = self._ask(lambda: self._fs.ls(folder, detail=True, refresh=True))
        except FileNotFoundError:
            return []
        return [item for item in found if item["type"] == "file"]

    def add_parts(self, parts: Sequence[ChordPart]) -> list[ChordPart]:
        self.write_all([Write(self._member(part), part.payload, None) for part in parts])
        # Written first and counted then: of two at the same time the later one counts both.
        counts = {
            group: len(self._list(self._folder(group))) for group in {part.group for part in parts}
        }
        return [part for part in parts if counts[part.group] >= part.size]

    def chord_parts(self, group: str) -> dict[int, bytes]:
        paths = {item["name"]: int(_last(item)) for item in self._list(self._folder(group))}
        if not paths:
            return {}
        found = self._ask(lambda: self._fs.cat(list(paths), on_error="raise"))
        return {paths[path]: value for path, value in found.items()}

    def forget_parts(self, group: str) -> None:
        _at_once(self._delete, [item["name"] for item in self._list(self._folder(group))])

    def cleanup(self) -> int:
        if not self.expires:
            return 0
        root = self._root.rpartition("/")[0]
        try:
            found = self._ask(lambda: self._fs.find(root, detail=True, refresh=True))
        except FileNotFoundError:
            return 0
        tasks, groups = (self._path(f"{self._prefix}{p}") for p in (TASK_PREFIX, GROUP_PREFIX))
        old = []
        chords: dict[str, list[tuple[datetime, str]]] = {}
        for path, item in found.items():
            if path.startswith(tasks) and self._old(_modified(item)):
                old.append(path)
            elif path.startswith(groups):
                members = chords.setdefault(path.rpartition("/")[0], [])
                members.append((_modified(item), path))
        _at_once(self._delete, old)
        for members in chords.values():
            if self._old(max(members)[0]):
                _at_once(self._delete, [path for _, path in members])
        return len(old)

    def close(self) -> None:
        close_session = getattr(self._opened, "close_session", None)
        session = getattr(self._opened, "_s3", None)
        if self._pid == os.getpid() and close_session is not None and session is not None:
            close_session(self._opened.loop, session)
            self._opened = self._open()


def _at_once(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Call a function for each of these, many at a time, since each waits for the network."""
    if len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(min(len(items), _AT_ONCE)) as threads:
        return list(threads.map(function, items))


def _last(item: dict[str, Any]) -> str:
    return str(item["name"]).rpartition("/")[2]


def _modified(item: dict[str, Any]) -> datetime:
    """When an object was written, under whichever name its file system tells that."""
    for name in ("LastModified", "last_modified", "updated", "mtime", "created"):
        value = item.get(name)
        if isinstance(value, datetime):
            return value
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
        if isinstance(value, str):
            return datetime.fromisoformat(value)
    return datetime.now(UTC)
