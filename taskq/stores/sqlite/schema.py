"""The tables of an SQLite file, and how a file of an older version gets them."""

from __future__ import annotations

import sqlite3

from taskq.exceptions import ImproperlyConfigured

SCHEMA_VERSION = 4
READY, DELAYED, LEASED = 0, 1, 2
"""The values of ``messages.state``."""

# messages.until is the due time of a delayed message and the end of a leased one's lease.
# The ready messages alone are indexed by rank, the others alone by time: both indexes
# stay small, and a settled message leaves nothing behind.  A query uses them only if it
# repeats their condition to the letter (https://www.sqlite.org/partialindex.html, 3).
_SCHEMA = """
CREATE TABLE messages (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    state INTEGER NOT NULL,
    until REAL NOT NULL DEFAULT 0,
    owner INTEGER NOT NULL DEFAULT 0,
    deliveries INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    message BLOB NOT NULL
);
CREATE INDEX messages_ready ON messages (queue, priority DESC, seq) WHERE state = 0;
CREATE INDEX messages_until ON messages (state, until) WHERE state > 0;
CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    reason TEXT NOT NULL,
    died REAL NOT NULL,
    deliveries INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    message BLOB NOT NULL
);
CREATE TABLE queues (
    name TEXT PRIMARY KEY,
    expires REAL
) WITHOUT ROWID;
CREATE TABLE bindings (
    exchange TEXT NOT NULL,
    type TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    queue TEXT NOT NULL REFERENCES queues (name) ON DELETE CASCADE,
    PRIMARY KEY (exchange, routing_key, queue)
) WITHOUT ROWID;
CREATE TABLE sent_steps (
    step TEXT PRIMARY KEY,
    expires REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE results (
    task_id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    expires INTEGER NOT NULL,
    payload BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX results_expires ON results (expires) WHERE expires > 0;
"""
# What each version has added to the one before.
_ADDED = {
    2: """
CREATE TABLE chord_parts (
    group_id TEXT NOT NULL,
    place INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (group_id, place)
) WITHOUT ROWID;
CREATE INDEX chord_parts_expires ON chord_parts (expires) WHERE expires > 0;
CREATE TABLE revoked (
    task_id TEXT PRIMARY KEY,
    expires REAL NOT NULL,
    signal TEXT NOT NULL
) WITHOUT ROWID;
""",
    3: """
CREATE TABLE notices (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    channel TEXT NOT NULL,
    told REAL NOT NULL,
    notice BLOB NOT NULL
);
CREATE TABLE paused (
    queue TEXT PRIMARY KEY
) WITHOUT ROWID;
""",
    4: """
CREATE TABLE schedule_entries (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    definition BLOB NOT NULL,
    source TEXT NOT NULL,
    revision TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    due REAL,
    last_due REAL,
    last_run REAL,
    runs INTEGER NOT NULL,
    missed INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    lateness REAL NOT NULL,
    error TEXT NOT NULL,
    PRIMARY KEY (namespace, name)
) WITHOUT ROWID;
CREATE TABLE schedule_outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace TEXT NOT NULL,
    until REAL NOT NULL,
    message BLOB NOT NULL
);
CREATE TABLE schedule_versions (
    namespace TEXT PRIMARY KEY,
    version INTEGER NOT NULL
) WITHOUT ROWID;
""",
}


def create_schema(connection: sqlite3.Connection, path: str) -> None:
    """Make a new file, or bring one of an older version up to date."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have been faster between the first look and the lock.
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise ImproperlyConfigured(
                    f"{path} is a database of another program: name another file in broker_url"
                )
            _execute_all(connection, _SCHEMA)
        for number, statements in _ADDED.items():
            if number > version:
                _execute_all(connection, statements)
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # Ctrl-C may come when it has just been committed
            connection.execute("ROLLBACK")
        raise


def _execute_all(connection: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";\n"):
        connection.execute(statement)
