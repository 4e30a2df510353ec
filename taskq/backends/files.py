"""Results in files of one folder, with Celery's names; also on a file system of the network.

A file is written beside its place and then put there, so that nobody reads half of one: a new
one by a link, which fails if there is one, and another's successor by a rename under a lock.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from urllib.parse import unquote

from taskq.backends.keyvalue import (
    GROUP_PREFIX,
    TASK_PREFIX,
    CountingKeyValueBackend,
    Entry,
)
from taskq.exceptions import ImproperlyConfigured, OperationalError

_LOCK = ".taskq-lock"
_NEW = ".taskq-new-"
_MAX_NAME = 200
_ABANDONED = 3600.0
"""Seconds after which nobody will put a file in its place any more."""

Token = tuple[int, int]


class FilesBackend(CountingKeyValueBackend):
    """The result store of ``file:///folder``.

    Args:
        url: the folder, which is made if it is not there.
        expires: seconds that an outcome is kept; 0 keeps it for ever.
        prefix: every file's name begins with it.

    Raises:
        ImproperlyConfigured: there is no such folder, and it cannot be made.
    """

    polls = (0.005, 0.25)

    def __init__(self, url: str, expires: float = 86400.0, prefix: str = "") -> None:
        super().__init__(expires, prefix)
        self.folder = read_folder(url)
        try:
            os.makedirs(self.folder, exist_ok=True)
        except OSError as exc:
            raise ImproperlyConfigured(
                f"result_backend={url!r}: the folder cannot be made: {exc.strerror}"
            ) from exc

    def legal(self, key: str) -> bool:
        # Celery's clean-up, and ours, goes by the beginning of the name.
        return len(key.encode()) <= _MAX_NAME and "/" not in key and "\0" not in key

    def _path(self, key: str) -> str:
        return f"{self.folder}/{key}"

    def _expired(self, info: os.stat_result) -> bool:
        return bool(self.expires) and info.st_mtime + self.expires <= time.time()

    def read(self, keys: Sequence[str]) -> dict[str, Entry]:
        found = {}
        with self._explained():
            for key in keys:
                try:
                    with open(self._path(key), "rb") as file:
                        info = os.fstat(file.fileno())
                        value = file.read()
                except FileNotFoundError:
                    continue
                # Celery writes in place, and an empty file is one that it has just begun.
                if value and not self._expired(info):
                    found[key] = Entry(value, _token(info))
        return found

    def write(self, key: str, value: bytes, token: object | None) -> bool:
        path, new = self._path(key), f"{self.folder}/{_NEW}{secrets.token_hex(8)}"
        with self._explained():
            try:
                with open(new, "xb") as file:
                    file.write(value)
                if token is None:
                    with suppress(FileExistsError):
                        os.link(new, path)
                        return True
                return self._replace(path, new, token)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(new)

    def _replace(self, path: str, new: str, token: object | None) -> bool:
        with self._locked():
            try:
                info = os.stat(path)
            except FileNotFoundError:
                return False
            replaceable = self._expired(info) if token is None else _token(info) == token
            if replaceable or info.st_size == 0:
                os.replace(new, path)
                return True
            return False

    def touch(self, keys: Sequence[str]) -> None:
        with self._explained():
            for key in keys:
                with suppress(FileNotFoundError):
                    os.utime(self._path(key))

    def delete(self, keys: Sequence[str]) -> None:
        with self._explained():
            for key in keys:
                with suppress(FileNotFoundError):
                    os.unlink(self._path(key))

    def cleanup(self) -> int:
        count = 0
        prefixes = f"{self._prefix}{TASK_PREFIX}", f"{self._prefix}{GROUP_PREFIX}"
        with self._explained(), os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.startswith(prefixes):
                    count += self._clean(entry.path) and entry.name.startswith(prefixes[0])
                elif entry.name.startswith(_NEW):
                    with suppress(FileNotFoundError):
                        if entry.stat().st_mtime + _ABANDONED < time.time():
                            os.unlink(entry.path)
        return count

    def _clean(self, path: str) -> bool:
        with suppress(FileNotFoundError):
            if self._expired(os.stat(path)):
                with self._locked():  # somebody may just have put another one there
                    if self._expired(os.stat(path)):
                        os.unlink(path)
                        return True
        return False

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among all processes that replace files in this folder."""
        with open(f"{self.folder}/{_LOCK}", "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # ends with the file, however this process does
            yield

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise OperationalError(
                f"results in {self.folder}: {exc.strerror}: {exc.filename}"
            ) from exc


def _token(info: os.stat_result) -> Token:
    return info.st_ino, info.st_mtime_ns


def read_folder(url: str) -> str:
    """The folder that a URL names.

    Raises:
        ImproperlyConfigured: none, or one of another machine.
    """
    path = url.partition("://")[2].removeprefix("localhost")
    if not path.startswith("/"):
        raise ImproperlyConfigured(
            f"result_backend={url!r} names no folder: write file:///var/lib/taskq/results"
        )
    return unquote(path).rstrip("/") or "/"
