"""Between the end of a task and the record of it: what is written is written once."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import states
from taskq.brokers.base import QueueDepth
from taskq.result import AsyncResult
from tests.faults.conftest import MakeStage, everywhere
from tests.faults.locks import locked
from tests.faults.stage import Stage
from tests.faults.tasks import make_app


def chain_with_callback(stage: Stage) -> AsyncResult[Any]:
    """A task that waits at its gate, a callback of it, and a next step, in the queue "later"."""
    first = stage.app.tasks["hold"].s("task")
    first.link(stage.app.tasks["after"].s("callback").set(queue="later"))
    chain = first | stage.app.tasks["after"].s("next").set(queue="later")
    return chain.apply_async(queue="default")


@everywhere
class TestOneStore:
    """Results lie with the messages: outcome, next steps and acknowledgement are one step."""

    @pytest.fixture
    def stage(self, make_stage: MakeStage) -> Stage:
        return make_stage(broker_lease=2, broker_connection_timeout=0.3, redis_socket_timeout=1)

    def test_death_between_the_task_and_its_settlement(self, stage: Stage) -> None:
        first = stage.worker(concurrency=1)
        result = chain_with_callback(stage)
        stage.wait_journal("start", "task")
        with locked(stage.settings["broker_url"]):
            stage.gates.open("task")
            first.wait_log("cannot write outcomes")
            first.kill()
        assert result.parent is not None
        assert not result.parent.exists()
        assert stage.app.broker.depth("later") == QueueDepth()

        second = stage.worker("-Q", "default,later", concurrency=1)
        (child,) = second.children()
        assert result.get(timeout=20) == child.pid
        stage.assert_all_done([result, result.parent])
        stage.wait(lambda: stage.app.broker.depth("later") == QueueDepth(), "an empty queue")
        assert stage.journal.count("end", "task") == 2
        assert stage.journal.count("after", "next") == 1
        assert stage.journal.count("after", "callback") == 1
        assert second.terminate() == 0

    def test_a_lock_held_by_another_program_only_delays(self, stage: Stage) -> None:
        worker = stage.worker(concurrency=2)
        results = stage.send_notes(range(30))
        held = stage.send("hold", "task")
        stage.wait_journal("start", "task")
        with locked(stage.settings["broker_url"]):
            stage.gates.open("task")
            worker.wait_log("cannot write outcomes")
        stage.assert_all_done([*results, held])
        assert stage.journal.count("run") == 30
        assert stage.journal.count("start") == 1
        assert worker.terminate() == 0


class TestTwoStores:
    """Results lie elsewhere: published, then stored, then acknowledged."""

    @pytest.fixture
    def stage(self, make_stage: MakeStage, results_url: str) -> Stage:
        stage = make_stage(
            broker_lease=2,
            broker_connection_timeout=0.3,
            redis_socket_timeout=1,
            result_backend=results_url,
        )
        stage.app.backend.fetch(["that makes the file"])
        return stage

    @everywhere
    def test_death_after_publishing_sends_nothing_twice(self, stage: Stage) -> None:
        first = stage.worker(concurrency=1)
        result = chain_with_callback(stage)
        stage.wait_journal("start", "task")
        with locked(stage.settings["result_backend"]):
            stage.gates.open("task")
            first.wait_log("cannot write outcomes")
            stage.wait(lambda: stage.app.broker.depth("later").ready == 2, "the next steps")
            first.kill()

        second = stage.worker("-Q", "default,later", concurrency=1)
        (child,) = second.children()
        assert result.parent is not None
        assert result.parent.get(timeout=20) == child.pid
        result.get(timeout=20)
        stage.assert_all_done([result, result.parent])
        stage.wait(lambda: stage.app.broker.depth("later") == QueueDepth(), "an empty queue")
        assert stage.journal.count("end", "task") == 2
        assert stage.journal.count("after", "next") == 1
        assert stage.journal.count("after", "callback") == 1
        assert second.terminate() == 0

    @everywhere
    def test_death_after_storing_changes_no_result(self, stage: Stage) -> None:
        first = stage.worker(concurrency=1)
        (child,) = first.children()
        result = stage.send("hold", "task")
        stage.wait_journal("start", "task")
        with locked(stage.settings["broker_url"]):
            stage.gates.open("task")
            assert result.get(timeout=20) == child.pid
            first.kill()

        second = stage.worker(concurrency=1)
        stage.assert_all_done([result])
        stage.wait(lambda: stage.depth() == QueueDepth(), "the acknowledgement")
        assert stage.app.AsyncResult(result.id).get(timeout=1) == child.pid
        assert second.terminate() == 0

    @everywhere
    def test_results_that_are_away_are_stored_later(self, stage: Stage) -> None:
        worker = stage.worker(concurrency=2)
        with locked(stage.settings["result_backend"]):
            results = stage.send_notes(range(200))
            worker.wait_log("cannot write outcomes")
            ran = stage.journal.count("run")
            assert ran > 2, "the tasks go on"
            assert stage.outcomes(results) == {}
            # Longer than the lease: what waits to be stored is not given to anybody else.
            other = stage.worker(concurrency=1)
        stage.assert_all_done(results)
        assert set(stage.outcomes(results).values()) == {states.SUCCESS}
        assert stage.journal.count("run") == 200
        assert "outcomes can be written again" in worker.log()
        assert [worker.terminate(), other.terminate()] == [0, 0]

    def test_results_whose_file_has_been_deleted(self, stage: Stage) -> None:
        """Nobody writes on into a file that no longer has a name."""
        worker = stage.worker(concurrency=1)
        assert stage.send("note", "before").get(timeout=20) == "before"
        for suffix in ("", "-wal", "-shm"):
            (stage.folder / f"results.db{suffix}").unlink(missing_ok=True)
        result = stage.send("note", "after")
        stage.wait_journal("run", "after")
        with make_app(stage.folder, **stage.settings) as newcomer:
            assert newcomer.AsyncResult(result.id).get(timeout=5) == "after"
        assert result.get(timeout=5) == "after"
        stage.assert_all_done([result])
        assert worker.terminate() == 0
