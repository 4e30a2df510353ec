"""What lies in Redis: lost, spoilt by others, kept over restarts, and gone when it is done with."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from redis import Redis

from taskq.brokers.base import QueueDepth
from taskq.exceptions import TaskQError
from taskq.stores.redis.keys import GROUP
from tests.faults.conftest import MakeStage
from tests.faults.processes import descriptors, memory
from tests.faults.stage import Stage, WorkerProcess
from tests.servers import RedisServer, redis_server

LEASE = 60
"""Seconds of a lease that no test outlives: what runs again would run for another reason."""
STREAM = "taskq:{default}:0"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis of one's own."""
    with redis_server(persist=True) as server:
        yield server


@pytest.fixture
def client(server: RedisServer) -> Iterator[Redis]:
    """A foreign program that knows no taskq."""
    with Redis(port=server.port) as client:
        yield client


@pytest.fixture
def broker_url(server: RedisServer) -> str:
    return server.url


@pytest.fixture
def stage(make_stage: MakeStage) -> Stage:
    return make_stage(broker_lease=LEASE)


class TestLoss:
    """An administrator's FLUSHALL, or keys that are evicted: the worker is there again at once."""

    def test_while_idle(self, stage: Stage, client: Redis) -> None:
        worker = stage.worker()
        assert stage.send("note", "before").get(timeout=20) == "before"
        client.flushall()
        result = stage.send("note", "after")
        assert result.get(timeout=20) == "after"
        stage.assert_all_done([result])
        assert client.exists(STREAM)
        assert worker.terminate() == 0

    def test_while_tasks_run(self, stage: Stage, client: Redis) -> None:
        """What runs keeps its result; what only waited in the queue is lost."""
        worker = stage.worker(concurrency=2)
        running = [stage.send("hold", key, "open") for key in range(2)]
        stage.wait(lambda: stage.journal.count("start") == 2, "two tasks running")
        client.flushall()
        result = stage.send("note", "after")
        stage.wait(lambda: stage.depth().leased == 1, "the next task in the worker")
        stage.gates.open("open")
        stage.assert_all_done([*running, result])
        assert set(stage.outcomes(running).values()) == {"SUCCESS"}
        assert stage.journal.count("start") == 2
        assert worker.terminate() == 0

    def test_by_eviction(self, make_stage: MakeStage, client: Redis) -> None:
        """A Redis that may evict is told of; what it evicts is lost, and nothing else."""
        stage = make_stage(broker_lease=LEASE, result_expires=3600)
        worker = stage.worker()
        done = stage.send_notes(range(100))
        stage.assert_all_done(done)
        client.config_set("maxmemory-policy", "allkeys-random")
        client.config_set("maxmemory", "1")
        stage.wait(lambda: client.dbsize() == 0, "everything to be evicted")
        client.config_set("maxmemory", "0")
        result = stage.send("note", "after")
        assert result.get(timeout=20) == "after"
        assert stage.outcomes(done) == {}
        assert "Traceback" not in worker.log()
        assert worker.terminate() == 0

    def test_under_load(self, stage: Stage, client: Redis) -> None:
        worker = stage.worker()
        for number in range(5):
            stage.send_notes(range(1000))
            stage.wait(lambda goal=number * 100: stage.journal.count() > goal, "it to have begun")
            client.flushall()
        result = stage.send("note", "after")
        assert result.get(timeout=20) == "after"
        stage.wait(lambda: stage.depth() == QueueDepth(), "an empty queue")
        assert "Traceback" not in worker.log()
        assert worker.terminate() == 0

    def test_of_scripts(self, stage: Stage, client: Redis) -> None:
        """SCRIPT FLUSH: nobody notices."""
        worker = stage.worker()
        results = []
        for number in range(20):
            results += stage.send_notes(range(number * 100, number * 100 + 100))
            client.script_flush()
        stage.assert_all_done(results)
        assert stage.journal.count("run") == 2000
        assert "cannot" not in worker.log()
        assert "Traceback" not in worker.log()
        assert worker.terminate() == 0


class TestForeignData:
    """Another program has written where taskq writes: that is told, and the worker lives."""

    def works(self, stage: Stage, worker: WorkerProcess) -> None:
        assert stage.send("note", "next").get(timeout=20) == "next"
        assert worker.terminate() == 0

    def test_under_a_results_key(self, stage: Stage, client: Redis) -> None:
        worker = stage.worker()
        client.sadd("celery-task-meta-spoilt", "foreign")
        stage.send("note", "spoilt", task_id="spoilt")
        others = stage.send_notes(range(50))
        stage.assert_all_done(others, dead=1)
        (letter,) = stage.dead_letters()
        assert "WRONGTYPE celery-task-meta-spoilt holds a set" in letter.reason
        assert stage.journal.count("run", "spoilt") == 1
        self.works(stage, worker)

    @pytest.mark.parametrize("key", [STREAM, "taskq:{default}:5", "taskq:{default}:delayed"])
    def test_under_a_queues_key(self, stage: Stage, client: Redis, key: str) -> None:
        worker = stage.worker()
        assert stage.send("note", "before").get(timeout=20) == "before"
        client.delete(key)
        client.set(key, "foreign")
        worker.wait_log("another program's data")
        priority, countdown = (5, 0) if key.endswith("5") else (0, 60 if "delayed" in key else 0)
        with pytest.raises(TaskQError, match="another program's data"):
            stage.send("note", "refused", priority=priority, countdown=countdown)
        client.delete(key)
        self.works(stage, worker)

    @pytest.mark.parametrize("key", ["dead", "crashes", "paused", "born", "swept", "room"])
    def test_under_another_key(self, stage: Stage, client: Redis, key: str) -> None:
        """What is not needed for a task does not keep it from running."""
        worker = stage.worker()
        client.delete(f"taskq:{{default}}:{key}")
        if key != "paused":  # whatever is there, it is paused
            client.lpush(f"taskq:{{default}}:{key}", "foreign")
        results = [stage.send("die", "once", 1), *stage.send_notes(range(10))]
        if key == "dead":
            stage.send("reject", False)
        stage.wait(lambda: len(stage.outcomes(results)) == len(results), "outcomes")
        client.delete(f"taskq:{{default}}:{key}")
        self.works(stage, worker)

    def test_within_a_queue(self, stage: Stage, client: Redis) -> None:
        """Entries of the stream and of the delayed set that no producer has written."""
        worker = stage.worker()
        for fields in ({"a": "b"}, {"m": "?", "d": "x", "c": "y"}, {"a": "1", "b": "2"}):
            client.xadd(STREAM, fields)
        client.zadd("taskq:{default}:delayed", {"foreign": 1, "7:x:y:z:w": 2})
        others = stage.send_notes(range(50))
        stage.wait(lambda: len(stage.outcomes(others)) == 50, "the others")
        stage.wait(lambda: stage.depth().dead == 5, "dead letters")
        assert stage.depth() == QueueDepth(dead=5)
        self.works(stage, worker)


class TestKept:
    def test_delayed_tasks_survive_all_restarts(
        self, make_stage: MakeStage, server: RedisServer
    ) -> None:
        """Thousands that are due long after the lease: each runs once, and in time."""
        stage = make_stage(broker_lease=1)
        first = stage.worker()
        begun = time.time()
        due = [begun + 4 + number / 2500 for number in range(5000)]
        clock = stage.app.tasks["clock"]
        results = stage.app.send_many(
            [clock.s(n).set(countdown=moment - time.time()) for n, moment in enumerate(due)]
        )
        stage.wait(lambda: stage.depth().delayed == 5000, "all of them")
        first.kill()
        server.restart()
        stage.app.close()
        workers = [stage.worker(), stage.worker()]
        ready = time.time()  # on a busy machine after the first are due
        stage.assert_all_done(results)
        assert stage.journal.count("run") == 5000
        ran = [result.get(timeout=1) for result in results]
        assert min(at - moment for at, moment in zip(ran, due, strict=True)) > -0.1
        # A second is what is promised; the rest is for a busy machine.
        assert max(at - max(moment, ready) for at, moment in zip(ran, due, strict=True)) < 5
        assert [worker.terminate() for worker in workers] == [0, 0]

    def test_a_pause_survives_all_restarts(self, stage: Stage, server: RedisServer) -> None:
        worker = stage.worker()
        assert stage.send("note", "before").get(timeout=20) == "before"
        stage.app.broker.pause("default")
        assert worker.terminate() == 0
        server.restart()
        stage.app.close()
        result = stage.send("note", "paused")
        worker = stage.worker()
        begun = time.monotonic()
        stage.wait(lambda: time.monotonic() > begun + 1.5, "it to look around")
        assert stage.depth() == QueueDepth(ready=1)
        stage.app.broker.resume("default")
        assert result.get(timeout=20) == "paused"
        assert worker.terminate() == 0

    def test_a_queue_that_a_worker_takes_on_and_gives_up(self, stage: Stage) -> None:
        """Consumers come and go while it works; what is in the queue is nobody's loss."""
        stage.send_all("note", range(500))
        workers = [stage.worker(concurrency=1) for _ in range(3)]
        assert [worker.terminate() for worker in workers] == [0, 0, 0]
        last = stage.worker()
        stage.wait(lambda: stage.depth() == QueueDepth(), "an empty queue")
        assert stage.journal.count("run") == 500
        assert last.terminate() == 0


def strays(client: Redis) -> set[str]:
    """Keys that neither belong to a declared queue for good, nor go by themselves."""
    lasting = {STREAM[:-1] + str(priority) for priority in range(10)}
    lasting |= {"taskq:queues", "taskq:{default}:born"}
    names = {name.decode() for name in client.scan_iter(count=1000)}
    return {name for name in names - lasting if client.pttl(name) < 0 and client.exists(name)}


class TestLeaks:
    def send_mixed(self, stage: Stage, count: int) -> None:
        """Tasks that succeed, are tried again, fail, are delayed; and wait for their end."""
        falter, note = stage.app.tasks["falter"], stage.app.tasks["note"]
        each = count // 5
        calls = [note.s(n) for n in range(2 * each)]
        calls += [falter.s(n, 2) for n in range(each)]
        calls += [falter.s(n, 1, True) for n in range(each)]
        calls += [note.s(n).set(countdown=0.1) for n in range(each)]
        stage.assert_all_done(stage.app.send_many(calls), timeout=60)

    def test_no_stray_keys(self, stage: Stage, client: Redis) -> None:
        worker = stage.worker()
        self.send_mixed(stage, 2000)
        assert strays(client) == set()
        assert [row["pending"] for row in client.xinfo_groups(STREAM)] == [0]
        assert worker.terminate() == 0
        # Its name has gone as well, so that no group grows with the workers that there were.
        names = {row["name"] for row in client.xinfo_consumers(STREAM, GROUP)}
        assert names <= {b"-"}
        assert strays(client) == set()

    @pytest.mark.slow
    @pytest.mark.timeout(600)
    def test_nothing_grows(self, make_stage: MakeStage, client: Redis) -> None:
        """100,000 tasks, and connections that are cut off again and again."""
        stage = make_stage(broker_lease=LEASE)
        worker = stage.worker()
        for _ in range(2):
            self.send_mixed(stage, 5000)
        before = memory(worker.pid), descriptors(worker.pid)
        for _ in range(18):
            client.client_kill_filter(_type="normal", skipme=True)
            stage.app.close()
            self.send_mixed(stage, 5000)
        assert memory(worker.pid) - before[0] < 16 << 20
        assert descriptors(worker.pid) - before[1] < 8
        assert strays(client) == set()
        assert worker.terminate() == 0
