"""Time limits, and tasks that resist them."""

from __future__ import annotations

import hashlib
import time

import pytest

from taskq.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from tests.faults.conftest import MakeStage, and_rabbitmq
from tests.faults.stage import Stage


@pytest.fixture
def stage(make_stage: MakeStage) -> Stage:
    return make_stage(broker_lease=60)


@pytest.fixture(scope="module")
def rounds_per_second() -> float:
    """How many rounds of the blocking C call take a second of processor time."""
    begun = time.process_time()
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 100_000)
    return 100_000 / (time.process_time() - begun)


class TestHard:
    @and_rabbitmq
    def test_it_ends_the_process_and_nobody_else_notices(self, stage: Stage) -> None:
        worker = stage.worker(concurrency=2)
        other = stage.send("hold", "other")
        stage.wait_journal("start", "other")
        late = stage.send("hold", "late", time_limit=0.3)
        with pytest.raises(TimeLimitExceeded, match=r"0\.3 s"):
            late.get(timeout=20)
        assert stage.send("note", "next").get(timeout=20) == "next"
        stage.gates.open("other")
        assert other.get(timeout=20) == stage.journal.read("start", "other")[0].pid
        stage.assert_all_done([late, other])
        assert stage.journal.count("start", "late") == 1
        assert worker.terminate() == 0

    def test_not_even_c_code_escapes_it(self, stage: Stage, rounds_per_second: float) -> None:
        worker = stage.worker(concurrency=1)
        tasks = [
            stage.send("block", "block", int(60 * rounds_per_second), time_limit=0.3),
            stage.send("seize", "seize", 60, time_limit=0.3),
        ]
        for result in tasks:
            with pytest.raises(TimeLimitExceeded):
                result.get(timeout=20)
        stage.assert_all_done(tasks)
        assert stage.journal.count("start") == 2
        assert stage.journal.count("end") == 0
        assert worker.terminate() == 0

    @and_rabbitmq
    def test_where_it_is_not_acknowledged_it_runs_again(self, make_stage: MakeStage) -> None:
        stage = make_stage(broker_lease=60, task_acks_on_timeout=False, task_max_deliveries=3)
        worker = stage.worker(concurrency=1)
        result = stage.send("hold", "late", time_limit=0.2)
        stage.wait_journal("start", "late", 2)
        stage.gates.open("late")
        assert result.get(timeout=20) == stage.journal.read("end", "late")[-1].pid
        stage.assert_all_done([result])
        assert worker.terminate() == 0

    @and_rabbitmq
    def test_but_not_for_ever(self, make_stage: MakeStage) -> None:
        stage = make_stage(broker_lease=60, task_acks_on_timeout=False, task_max_deliveries=2)
        worker = stage.worker(concurrency=1)
        result = stage.send("hold", "late", time_limit=0.2)
        stage.wait(lambda: stage.depth().dead == 1, "a dead letter")
        stage.assert_all_done([result], dead=1)
        assert stage.journal.count("start", "late") == 2
        assert "delivered 3 times" in stage.dead_letters()[0].reason
        assert worker.terminate() == 0

    def test_the_worker_and_the_settings_can_set_it(self, make_stage: MakeStage) -> None:
        stage = make_stage(broker_lease=60, task_time_limit=60)
        worker = stage.worker("--time-limit", "0.3", concurrency=1)
        with pytest.raises(TimeLimitExceeded):
            stage.send("hold", "late").get(timeout=20)
        assert worker.terminate() == 0


class TestSoft:
    @and_rabbitmq
    def test_it_reaches_a_task_that_waits(self, stage: Stage) -> None:
        worker = stage.worker(concurrency=2)
        results = [
            stage.send("hold", "late", soft_time_limit=0.3),
            stage.send("co_hold", "late", soft_time_limit=0.3),
        ]
        children = worker.children()
        for result in results:
            with pytest.raises(SoftTimeLimitExceeded):
                result.get(timeout=20)
        stage.assert_all_done(results)
        assert stage.journal.count("limit", "late") == 1
        assert worker.children() == children, "no process had to die for it"
        assert worker.terminate() == 0

    def test_a_task_may_clean_up_in_peace(self, stage: Stage) -> None:
        """What comes again after a while must not come while it is cleaning up."""
        worker = stage.worker(concurrency=1)
        # Short tasks that wait behind it make the parent look often.
        stage.assert_all_done(stage.send_all("quick", range(300)))
        result = stage.send("clean_up", "task", 0.6, soft_time_limit=0.3)
        waiting = stage.send_all("quick", range(100))
        assert result.get(timeout=20) == "cleaned"
        stage.assert_all_done([result, *waiting])
        assert stage.journal.count("limit", "task") == 1
        assert worker.terminate() == 0

    def test_one_that_swallows_it_gets_it_again(self, stage: Stage) -> None:
        worker = stage.worker(concurrency=1)
        result = stage.send("swallow", "task", 2, soft_time_limit=0.2)
        with pytest.raises(SoftTimeLimitExceeded):
            result.get(timeout=20)
        assert stage.journal.count("limit", "task") == 2
        assert worker.terminate() == 0

    def test_one_that_always_swallows_it_ends_at_the_hard_limit(self, stage: Stage) -> None:
        worker = stage.worker(concurrency=1)
        result = stage.send("swallow", "task", 1000, soft_time_limit=0.2, time_limit=2)
        with pytest.raises(TimeLimitExceeded):
            result.get(timeout=20)
        assert stage.journal.count("limit", "task") >= 1
        stage.assert_all_done([result])
        assert worker.terminate() == 0

    def test_c_code_returns_first(self, stage: Stage, rounds_per_second: float) -> None:
        worker = stage.worker(concurrency=1)
        result = stage.send("block", "task", int(rounds_per_second), soft_time_limit=0.2)
        with pytest.raises(SoftTimeLimitExceeded):
            result.get(timeout=20)
        assert stage.journal.count("end", "task") == 0
        assert stage.send("note", "next").get(timeout=20) == "next"
        assert worker.terminate() == 0

    def test_it_never_hits_the_task_after(self, stage: Stage) -> None:
        """Tasks that end at about their limit, and others right behind them."""
        worker = stage.worker(concurrency=2)
        results = [
            stage.send("after", "value", key)
            if key % 2
            else stage.send("doze", key, 0.05, soft_time_limit=0.05)
            for key in range(80)
        ]
        stage.assert_all_done(results)
        for key, result in enumerate(results):
            if key % 2:
                assert result.get(timeout=1) == "value"
            else:
                assert isinstance(
                    result.get(timeout=1, propagate=False), int | SoftTimeLimitExceeded
                )
        assert "WorkerLostError" not in worker.log()
        assert worker.terminate() == 0
