"""Leases: kept while a task runs, lost while a worker is frozen, and who wins then."""

from __future__ import annotations

import time

import pytest

from taskq.brokers.base import QueueDepth
from tests.faults.conftest import MakeStage, everywhere
from tests.faults.locks import locked
from tests.faults.stage import Stage

LEASE = 1.5
"""Seconds: long enough for a loaded machine to renew it in time."""


@pytest.fixture
def stage(make_stage: MakeStage) -> Stage:
    return make_stage(broker_lease=LEASE)


@everywhere
def test_a_task_of_many_leases_runs_once(stage: Stage) -> None:
    workers = [stage.worker(concurrency=1), stage.worker(concurrency=1)]
    result = stage.send("hold", "long")
    waiting = [stage.send("hold", key, "long") for key in range(4)]
    begun = time.monotonic()
    stage.wait(lambda: time.monotonic() > begun + 3 * LEASE, "three leases to pass")
    stage.gates.open("long")
    stage.assert_all_done([result, *waiting])
    assert stage.journal.count("start") == stage.journal.count("end") == 5
    assert [worker.terminate() for worker in workers] == [0, 0]


@everywhere
class TestFrozen:
    """A worker stands still for longer than its lease, and then goes on."""

    def test_whoever_settles_first_wins(self, stage: Stage) -> None:
        frozen = stage.worker(concurrency=1)
        task = stage.app.tasks["hold"].s("task")
        chain = task | stage.app.tasks["after"].s("chain")
        chain.tasks[0].link(stage.app.tasks["after"].s("callback"))
        result = chain.apply_async()
        stage.wait_journal("start", "task")
        frozen.freeze()
        other = stage.worker(concurrency=1)
        stage.wait_journal("start", "task", 2)

        stage.gates.open("task")
        # Both end; only one worker can say so.
        stage.wait_journal("end", "task", 2)
        (child,) = other.children()
        assert result.parent is not None
        assert result.parent.get(timeout=20) == child.pid
        assert result.get(timeout=20) == child.pid
        stage.assert_all_done([result])
        frozen.thaw()
        frozen.wait_log("succeeded in")
        assert frozen.terminate() == 0

        assert stage.app.AsyncResult(result.parent.id).get(timeout=1) == child.pid
        assert stage.journal.count("after", "chain") == 1
        assert stage.depth() == QueueDepth()
        assert other.terminate() == 0

    def test_even_if_another_has_it_by_then(self, stage: Stage) -> None:
        frozen = stage.worker(concurrency=1)
        (child,) = frozen.children()
        result = (
            stage.app.tasks["hold"].s("task", "first") | stage.app.tasks["after"].s("x")
        ).delay()
        stage.wait_journal("start", "task")
        frozen.freeze()
        other = stage.worker(concurrency=1)
        stage.wait_journal("start", "task", 2)
        # The other one stands still in its turn, while the first ends.
        other.freeze()
        frozen.thaw()
        stage.gates.open("first")
        assert result.parent is not None
        assert result.parent.get(timeout=20) == child.pid
        assert result.get(timeout=20) == child.pid
        other.thaw()
        other.wait_log("succeeded in")
        assert other.terminate() == 0

        assert stage.app.AsyncResult(result.parent.id).get(timeout=1) == child.pid
        assert stage.journal.count("after", "x") == 1
        assert stage.depth() == QueueDepth()
        assert frozen.terminate() == 0

    def test_a_late_run_changes_nothing_of_how_it_ended(self, stage: Stage) -> None:
        """It tells of its progress and succeeds; but the task has failed elsewhere before."""
        frozen = stage.worker(concurrency=1)
        result = stage.send("stumble", "task")
        stage.wait_journal("start", "task")
        frozen.freeze()
        other = stage.worker(concurrency=1)
        stage.wait_journal("start", "task", 2)
        stage.gates.open("task-2")
        with pytest.raises(ValueError, match="stumbled"):
            result.get(timeout=20)
        stage.gates.open("task-1")
        stage.wait_journal("progress", "task")
        assert stage.app.AsyncResult(result.id).state == "FAILURE"
        frozen.thaw()
        frozen.wait_log("succeeded in")
        assert [frozen.terminate(), other.terminate()] == [0, 0]
        assert stage.app.AsyncResult(result.id).state == "FAILURE"

    def test_alone_it_goes_on_with_what_it_has(self, stage: Stage) -> None:
        """Nobody has taken its tasks over: it takes them back, and none runs twice."""
        worker = stage.worker(concurrency=2)
        results = [stage.send("hold", key, "open") for key in range(6)]
        stage.wait(lambda: stage.journal.count("start") == 2, "two tasks running")
        stage.wait(lambda: stage.depth().leased == 6, "the others in the worker")
        worker.freeze()
        begun = time.monotonic()
        stage.wait(lambda: time.monotonic() > begun + 1.5 * LEASE, "the lease to end")
        worker.thaw()
        begun = time.monotonic()
        stage.wait(lambda: time.monotonic() > begun + LEASE, "it to look around")
        stage.gates.open("open")
        stage.assert_all_done(results)
        assert stage.journal.count("start") == 6
        assert worker.terminate() == 0


@everywhere
def test_a_database_that_is_locked_for_longer_than_the_lease(make_stage: MakeStage) -> None:
    stage = make_stage(broker_lease=LEASE, broker_connection_timeout=0.3, redis_socket_timeout=1)
    worker = stage.worker(concurrency=2)
    results = [stage.send("hold", key, "open") for key in range(6)]
    stage.wait(lambda: stage.journal.count("start") == 2, "two tasks running")
    stage.wait(lambda: stage.depth().leased == 6, "the others in the worker")
    with locked(stage.settings["broker_url"]):
        worker.wait_log("cannot renew leases")
        begun = time.monotonic()
        stage.wait(lambda: time.monotonic() > begun + 1.5 * LEASE, "the lease to end")
        stage.gates.open("open")
        worker.wait_log("cannot write outcomes")
    stage.assert_all_done(results)
    assert stage.journal.count("start") == 6
    assert "outcomes can be written again" in worker.log()
    assert worker.terminate() == 0
