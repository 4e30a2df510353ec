"""Keeping everybody from writing, as a foreign program or an administrator would."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

from redis import Redis


def locked(place: Path | str) -> AbstractContextManager[None]:
    """Let nobody write there in this block.

    Args:
        place: an SQLite file, or the URL of one or of a Redis.
    """
    if str(place).startswith("redis:"):
        return _paused(str(place))
    return _locked(str(place).removeprefix("sqlite://").partition("?")[0])


@contextmanager
def _locked(path: str) -> Iterator[None]:
    with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


@contextmanager
def _paused(url: str) -> Iterator[None]:
    """Commands that write get no answer; those whose sender has gone are never carried out."""
    with closing(Redis.from_url(url)) as client:
        client.execute_command("CLIENT", "PAUSE", 600_000, "WRITE")
        try:
            yield
        finally:
            client.execute_command("CLIENT", "UNPAUSE")
