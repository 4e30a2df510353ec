"""Files that an earlier version has made are brought up to date, and nothing in them is lost."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from taskq import chord, states
from taskq.exceptions import ImproperlyConfigured
from taskq.message import TaskMessage, pack
from taskq.stores.sqlite.schema import SCHEMA_VERSION, create_schema
from tests.faults.conftest import MakeStage
from tests.faults.soundness import check
from tests.faults.stage import Stage

VERSION_1 = """
PRAGMA journal_mode=WAL;
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
PRAGMA user_version=1;
"""


def make_file(stage: Stage) -> None:
    """A file of version 1, with a waiting message, a dead letter and a result."""

    def packed(key: str) -> bytes:
        message: TaskMessage = stage.app.producer.build("note", (key,), {}, {"task_id": key})
        return pack(message)

    outcome = stage.app.result_codec.encode("ended", states.SUCCESS, 5)
    with closing(sqlite3.connect(stage.database)) as connection:
        connection.executescript(VERSION_1)
        connection.execute("INSERT INTO queues (name) VALUES ('default')")
        connection.execute(
            "INSERT INTO messages (queue, priority, state, message) VALUES ('default', 0, 0, ?)",
            (packed("waiting"),),
        )
        connection.execute(
            "INSERT INTO dead_letters (queue, priority, reason, died, deliveries, crashes, message)"
            " VALUES ('default', 0, 'it kills', ?, 3, 3, ?)",
            (time.time(), packed("dead")),
        )
        connection.execute(
            "INSERT INTO results VALUES ('ended', 'SUCCESS', 0, ?)", (outcome.payload,)
        )
        connection.commit()


def layout(path: Path) -> tuple[int, list[Any]]:
    """The version that a file bears, and what is in it."""
    with closing(sqlite3.connect(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return version, connection.execute(
            "SELECT type, name, sql FROM sqlite_master ORDER BY name"
        ).fetchall()


def test_an_older_file_is_brought_up_to_date(stage: Stage) -> None:
    make_file(stage)
    # Three processes find it at the same time.
    workers = [stage.worker(concurrency=1, ready=False) for _ in range(2)]
    assert stage.app.AsyncResult("ended").get(timeout=20) == 5
    assert stage.app.AsyncResult("waiting").get(timeout=20) == "waiting"
    note, after = stage.app.tasks["note"], stage.app.tasks["after"]
    result = chord([note.s(1), note.s(2)], after.s("body"))()
    assert result.get(timeout=20) == [1, 2]
    (dead,) = stage.dead_letters()
    stage.app.broker.retry_dead([dead.id])
    assert stage.app.AsyncResult("dead").get(timeout=20) == "dead"
    assert [worker.wait_ready().terminate() for worker in workers] == [0, 0]
    assert stage.journal.count("run") == 4
    check(stage.database)


def test_it_is_then_like_a_new_one(stage: Stage, make_stage: MakeStage) -> None:
    make_file(stage)
    new = make_stage()
    for each in (stage, new):
        each.app.broker.depth("default")
    assert layout(stage.database) == layout(new.database)
    assert layout(stage.database)[0] == SCHEMA_VERSION


def test_a_newer_file_is_left_alone(stage: Stage) -> None:
    make_file(stage)
    with closing(sqlite3.connect(stage.database)) as connection:
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    before = layout(stage.database)
    with pytest.raises(ImproperlyConfigured, match="newer taskq"):
        stage.app.broker.depth("default")
    assert layout(stage.database) == before


def test_ctrl_c_when_it_has_just_been_made(tmp_path: Path) -> None:
    """What interrupts stays what it is, and is no error of the database."""

    class Interrupted(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            cursor = super().execute(sql, *parameters)
            if sql == "COMMIT":
                raise KeyboardInterrupt
            return cursor

    path = str(tmp_path / "taskq.db")
    with closing(sqlite3.connect(path, isolation_level=None, factory=Interrupted)) as connection:
        with pytest.raises(KeyboardInterrupt):
            create_schema(connection, path)
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
