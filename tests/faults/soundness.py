"""Is what a fault has left behind whole?"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def check(database: Path) -> None:
    """The file is sound (https://www.sqlite.org/pragma.html#pragma_integrity_check)."""
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
