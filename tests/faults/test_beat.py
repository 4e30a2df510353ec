"""Beats that are killed, stopped and started anew; stores that are locked or broken."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from taskq.beat.stores import Claim, Record
from taskq.beat.stores.base import IN_STORE
from taskq.brokers.base import QueueDepth
from tests.faults.beats import PATIENCE, Beats
from tests.faults.stage import Stage
from tests.servers import RabbitMQServer, RedisServer, VirtualHost
from tests.waiting import wait_until

MakeBeats = Callable[..., Beats]
ALL = 20
"""Entries of which each tick must be sent, however late."""
EVERY = 0.2
ENTRIES = {
    **{f"all{n}": {"task": "note", "schedule": EVERY, "missed": "all"} for n in range(ALL)},
    "once": {"task": "note", "schedule": 0.3, "missed": "once"},
    "skip": {"task": "note", "schedule": 0.3, "missed": "skip", "max_lateness": 0.2},
}


@pytest.fixture
def make_beats(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MakeBeats]:
    """Makes the beats of a place: sqlite, redis, or outbox, a file beside a Redis broker."""
    made: list[Beats] = []

    def make(place: str = "sqlite", **settings: Any) -> Beats:
        broker, store = f"sqlite:///{tmp_path}/taskq.db", None
        if place != "sqlite":
            redis: RedisServer = request.getfixturevalue("redis")
            broker = redis.url
        if place == "outbox":
            store = f"sqlite:///{tmp_path}/beat.db"
        folder = tmp_path / "logs"
        folder.mkdir(exist_ok=True)
        made.append(Beats(folder, store, broker_url=broker, **settings))
        return made[-1]

    yield make
    for beats in made:
        beats.close()


def ill_treat(beats: Beats, seconds: float, skews: tuple[float, ...], seed: int) -> None:
    """Ill-treat three beats, and count what they have sent."""
    beats.ill_treat(seconds, skews, seed)
    # One more, which sends what is still missing, and ends when it has.
    last = beats.start().wait_ready()
    wait_until(
        lambda: all(
            not record.due or record.due > beats.store.poll()[0] - 2 * EVERY
            for record in beats.store.load()
        ),
        PATIENCE,
        "the last beat to catch up",
    )
    assert last.terminate() == 0
    times = beats.due_times()
    for n in range(ALL):
        assert_every_tick_once(times[f"all{n}"], EVERY)
        assert beats.record(f"all{n}").runs == len(times[f"all{n}"])
    for name in ("once", "skip"):
        assert len(times[name]) == len(set(times[name]))
        record = beats.record(name)
        assert record.runs == len(times[name])
        # What was not sent was left out by the policy, and is counted.
        assert record.last_due is not None
        assert record.runs + record.missed >= (record.last_due - times[name][0]) / 0.3 + 0.9


def assert_every_tick_once(times: list[float], every: float) -> None:
    assert len(times) == len(set(times))
    # Due times are kept with all their digits, and shown to the microsecond.
    steps = [second - first for first, second in pairwise(times)]
    assert all(abs(step - every) < 1e-3 for step in steps), steps
    assert len(times) > 10


PLACES = pytest.mark.parametrize(
    ("place", "skews"),
    [
        ("sqlite", (0.0, 0.0, 0.0)),
        # The server's clock counts, whatever theirs say.
        ("redis", (0.0, 90.0, -3600.0)),
        ("outbox", (0.0, 0.0, 0.0)),
    ],
    ids=["sqlite", "redis", "outbox"],
)


@PLACES
def test_each_tick_once_while_beats_are_killed_and_stopped(
    make_beats: MakeBeats, place: str, skews: tuple[float, ...]
) -> None:
    ill_treat(make_beats(place, beat_schedule=ENTRIES, beat_lease=1), 5.0, skews, seed=3)


@pytest.mark.slow
@PLACES
def test_each_tick_once_for_a_long_time(
    make_beats: MakeBeats, place: str, skews: tuple[float, ...]
) -> None:
    ill_treat(make_beats(place, beat_schedule=ENTRIES, beat_lease=2), 75.0, skews, seed=7)


def test_another_beat_goes_on_at_once_when_one_is_stopped(make_beats: MakeBeats) -> None:
    beats = make_beats("redis", beat_schedule={"a": {"task": "note", "schedule": 0.2}})
    one, other = beats.start().wait_ready(), beats.start().wait_ready()
    wait_until(lambda: len(beats.sent()) > 2, PATIENCE, "ticks")
    one.freeze()
    before = beats.record("a").runs
    wait_until(lambda: beats.record("a").runs > before + 10, PATIENCE, "ticks of the other")
    one.thaw()
    other.freeze()
    before = beats.record("a").runs
    wait_until(lambda: beats.record("a").runs > before + 10, PATIENCE, "ticks of the first")
    times = beats.due_times()["a"]
    assert len(times) == len(set(times))


def test_what_a_killed_beat_has_claimed_and_not_sent_is_sent_by_another(
    make_beats: MakeBeats,
) -> None:
    beats = make_beats("outbox", beat_schedule={"a": {"task": "note", "schedule": 0.2}})
    beats.start().wait_ready()
    wait_until(lambda: len(beats.sent()) > 2, PATIENCE, "ticks")
    # As if it had died after the claim: a message that nobody publishes.
    lost = beats.app.producer.build("note", (), {}, {"task_id": "lost"})
    lost.headers.update(periodic_task_name="lost", periodic_task_due="2026-01-01T00:00:00+00:00")
    record = Record("lost", b"{}", "code", "r", due=1.0)
    beats.store.put([record])
    assert beats.store.claim([Claim("lost", "r", 1.0, 1.0, None, [lost], runs=1)]) == {"lost"}
    wait_until(lambda: any(m.id == "lost" for m in beats.sent()), PATIENCE, "the lost message")


@pytest.mark.rabbitmq
def test_on_rabbitmq_a_store_beside_it_decides(tmp_path: Path, rabbitmq: RabbitMQServer) -> None:
    beats = Beats(
        tmp_path,
        f"sqlite:///{tmp_path}/beat.db",
        broker_url=rabbitmq.url,
        task_default_queue="beats-of-test",
        beat_schedule={"a": {"task": "note", "schedule": 0.2, "missed": "all"}},
    )
    try:
        one, other = beats.start().wait_ready(), beats.start().wait_ready()
        wait_until(lambda: beats.record("a").runs > 5, PATIENCE, "ticks")
        one.terminate()
        before = beats.record("a").runs
        wait_until(lambda: beats.record("a").runs > before + 5, PATIENCE, "ticks of the other")
        other.terminate()
        # What was claimed last may not be published yet: one more beat does it.
        beats.start().wait_ready().terminate()
        runs = beats.record("a").runs
        wait_until(
            lambda: beats.app.broker.depth("beats-of-test").ready == runs, PATIENCE, "all ticks"
        )
    finally:
        beats.close()


@pytest.mark.rabbitmq
@pytest.mark.parametrize(
    ("seconds", "seed"), [(4.0, 3), pytest.param(75.0, 7, marks=pytest.mark.slow)]
)
def test_on_rabbitmq_each_tick_runs_once(
    tmp_path: Path, rabbitmq: VirtualHost, redis: RedisServer, seconds: float, seed: int
) -> None:
    """A beat that dies between publishing and noting it leaves two messages: one of them runs."""
    schedule = {f"all{n}": {"task": "tick", "schedule": EVERY, "missed": "all"} for n in range(ALL)}
    settings = {"broker_url": rabbitmq.url, "result_backend": redis.url}
    beats = Beats(tmp_path, redis.url, beat_schedule=schedule, beat_lease=1, **settings)
    stage = Stage(tmp_path, broker_lease=2, **settings)
    try:
        workers = [stage.worker(), stage.worker()]
        beats.ill_treat(seconds, (0.0, 90.0, -3600.0), seed)
        last = beats.start().wait_ready()
        wait_until(
            lambda: all(
                record.due is not None and record.due > beats.store.poll()[0] - 2 * EVERY
                for record in beats.store.load()
            ),
            PATIENCE,
            "the last beat to catch up",
        )
        # One copy of each more, as if a beat had stopped for longer than its lease.
        again = [beats.app.producer.build("tick", (), {}, {"task_id": str(n)}) for n in range(9)]
        for number, message in enumerate(again):
            message.headers.update(periodic_task_name="twin", periodic_task_due=str(number))
            message.once = f"beat:twin:{number}"
        for _ in range(3):
            beats.app.broker.publish(again)
        assert last.terminate() == 0
        runs = sum(beats.record(name).runs for name in schedule) + len(again)
        stage.wait(lambda: stage.journal.count("tick") >= runs, f"{runs} ticks", 60.0)
        stage.wait(lambda: stage.depth() == QueueDepth(), "an empty queue")
        times: dict[str, list[str]] = {}
        for entry in stage.journal.read("tick"):
            name, due = entry.key.split("@")
            times.setdefault(name, []).append(due)
        assert sorted(times.pop("twin")) == [str(n) for n in range(len(again))]
        for found in times.values():
            moments = sorted(datetime.fromisoformat(due).timestamp() for due in found)
            assert_every_tick_once(moments, EVERY)
        assert stage.journal.count("tick") == runs
        assert "was sent twice" in stage.logs()
        assert [worker.terminate() for worker in workers] == [0, 0]
    finally:
        beats.close()
        stage.close()


# Live edits


@pytest.mark.parametrize("place", ["sqlite", "redis"])
def test_an_entry_that_is_added_runs_within_a_second_on_all_beats(
    make_beats: MakeBeats, place: str
) -> None:
    beats = make_beats(place)
    one = beats.start().wait_ready()
    beats.start().wait_ready()
    definition = b'{"task":"note","schedule":{"every":0.2}}'
    start = beats.store.poll()[0]
    beats.store.put([Record("live", definition, IN_STORE, "r1", due=start)])
    wait_until(lambda: beats.record("live").last_run is not None, PATIENCE, "the first run")
    record = beats.record("live")
    assert record.last_run is not None
    one.freeze()
    before = beats.record("live").runs
    wait_until(lambda: beats.record("live").runs > before + 2, PATIENCE, "runs of the other")
    beats.store.remove(["live"])
    one.thaw()
    wait_until(lambda: beats.store.read(["live"]) == [], PATIENCE, "its end")


# Stores that are in a bad way


def test_a_locked_store_is_waited_for(make_beats: MakeBeats, tmp_path: Path) -> None:
    beats = make_beats(
        broker_connection_timeout=0.2,
        beat_schedule={"a": {"task": "note", "schedule": 0.2, "missed": "all"}},
    )
    beat = beats.start().wait_ready()
    wait_until(lambda: len(beats.sent()) > 2, PATIENCE, "ticks")
    with closing(sqlite3.connect(tmp_path / "taskq.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        beat.wait_log("nothing can be sent")
        other.execute("ROLLBACK")
    beat.wait_log("beat: goes on")
    assert beat.terminate() == 0
    assert "another process holds its lock" in beat.log.read_text()
    assert_steps(beats.due_times()["a"])


def assert_steps(times: list[float]) -> None:
    assert all(abs(second - first - 0.2) < 1e-3 for first, second in pairwise(times))


def test_connections_to_redis_that_were_cut_are_made_again(
    make_beats: MakeBeats, redis: RedisServer
) -> None:
    beats = make_beats(
        "redis", beat_schedule={"a": {"task": "note", "schedule": 0.2, "missed": "all"}}
    )
    beat = beats.start().wait_ready()
    wait_until(lambda: len(beats.sent()) > 2, PATIENCE, "ticks")
    redis.call("CLIENT", "KILL", "TYPE", "normal")
    # This connection was ended as well, and is opened anew.
    beats.store.close()
    before = beats.record("a").runs
    wait_until(lambda: beats.record("a").runs > before + 5, PATIENCE, "ticks")
    assert beat.terminate() == 0
    assert_steps(beats.due_times()["a"])


@pytest.mark.parametrize("place", ["sqlite", "redis"])
def test_a_store_that_is_lost_gets_the_entries_of_the_code_again(
    make_beats: MakeBeats, tmp_path: Path, request: pytest.FixtureRequest, place: str
) -> None:
    beats = make_beats(place, beat_schedule={"a": {"task": "note", "schedule": 0.2}})
    beat = beats.start().wait_ready()
    wait_until(lambda: len(beats.sent()) > 2, PATIENCE, "ticks")
    if place == "redis":
        request.getfixturevalue("redis").call("FLUSHALL")
    else:
        for path in tmp_path.glob("taskq.db*"):
            path.unlink()
    beat.wait_log("has lost its entries")
    wait_until(lambda: len(beats.sent()) > 2, PATIENCE, "ticks again")


@pytest.mark.parametrize("harm", ["damaged", "no-database", "read-only-folder"])
def test_a_store_that_cannot_be_used_is_a_clear_error(
    make_beats: MakeBeats, tmp_path: Path, harm: str
) -> None:
    beats = make_beats(beat_schedule={"a": {"task": "note", "schedule": 1}})
    path = tmp_path / "taskq.db"
    if harm == "no-database":
        path.write_bytes(b"this is no database" * 1000)
    elif harm == "damaged":
        beats.app.broker.queues()  # makes the file
        beats.app.close()
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (size - 4096))
    else:
        path.mkdir()
    beat = beats.start()
    assert beat.end() == 1
    text = beat.log.read_text()
    assert "Error:" in text
    assert str(path) in text
    assert "Traceback" not in text


def test_a_store_of_an_older_version_is_brought_up_to_date(
    make_beats: MakeBeats, tmp_path: Path
) -> None:
    beats = make_beats(beat_schedule={"a": {"task": "note", "schedule": 0.2}})
    beats.app.broker.queues()  # makes the file
    with closing(sqlite3.connect(tmp_path / "taskq.db")) as connection:
        for table in ("schedule_entries", "schedule_outbox", "schedule_versions"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("PRAGMA user_version = 3")
        connection.commit()
    beats.app.close()
    beats.start().wait_ready()
    wait_until(lambda: len(beats.sent()) > 2, PATIENCE, "ticks")
