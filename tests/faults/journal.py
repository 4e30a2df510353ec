"""A file in which tasks note what they do: what happened is counted there, not guessed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class Entry(NamedTuple):
    """One line: what happened, to which key, in which process."""

    event: str
    key: str
    pid: int


class Journal:
    """Lines that many processes append; each line is one write, so that none is torn.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, event: str, key: object) -> None:
        """Append a line."""
        line = f"{event} {key} {os.getpid()}\n".encode()
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(fd, line)
        finally:
            os.close(fd)

    def read(self, event: str | None = None, key: object = None) -> list[Entry]:
        """The lines so far, of one event and one key if they are given."""
        if not self._path.exists():
            return []
        lines = (line.split() for line in self._path.read_text().splitlines())
        entries = [Entry(name, text, int(pid)) for name, text, pid in lines]
        return [
            entry
            for entry in entries
            if event in (None, entry.event) and (key is None or entry.key == str(key))
        ]

    def count(self, event: str | None = None, key: object = None) -> int:
        """How many lines."""
        return len(self.read(event, key))
