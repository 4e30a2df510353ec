"""The worker is told to stop: gently, in a hurry, at a bad moment.  No task is lost."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from taskq.brokers.base import QueueDepth
from taskq.exceptions import WorkerLostError
from tests.faults.conftest import MakeStage, and_rabbitmq
from tests.faults.locks import locked
from tests.faults.stage import Stage

QUICKLY = 300
"""Seconds of a lease that no test outlives: what comes back sooner was given back."""


@pytest.fixture
def stage(make_stage: MakeStage) -> Stage:
    return make_stage(broker_lease=QUICKLY)


class TestWarm:
    @and_rabbitmq
    @pytest.mark.usefixtures("leases")
    def test_what_runs_ends_and_what_has_not_begun_goes_to_others_at_once(
        self, stage: Stage
    ) -> None:
        first = stage.worker(concurrency=1)
        long = stage.send("hold", "long")
        stage.wait_journal("start", "long")
        prefetched = stage.send_notes(range(3))
        stage.wait(lambda: stage.depth().leased == 4, "three more in the worker's hands")

        first.signal(signal.SIGTERM)
        stage.wait(lambda: stage.depth() == QueueDepth(ready=3, leased=1), "three given back")
        later = stage.send("note", "later")
        second = stage.worker(concurrency=1)
        assert [result.get(timeout=20) for result in prefetched] == [0, 1, 2]
        assert later.get(timeout=20) == "later"
        (child,) = second.children()
        assert {entry.pid for entry in stage.journal.read("run")} == {child.pid}
        assert stage.depth() == QueueDepth(leased=1), "the long one still runs"

        stage.gates.open("long")
        assert first.end() == 0
        assert long.get(timeout=5) == stage.journal.read("end", "long")[0].pid
        stage.assert_all_done([long, *prefetched, later])
        assert stage.journal.count("start") == 1
        assert second.terminate() == 0

    @and_rabbitmq
    def test_at_the_deadline_the_rest_goes_back(self, make_stage: MakeStage) -> None:
        stage = make_stage(broker_lease=QUICKLY, worker_shutdown_timeout=0.5)
        first = stage.worker(concurrency=2)
        results = [stage.send("hold", key) for key in ("one", "two", "three")]
        stage.wait(lambda: stage.journal.count("start") == 2, "two tasks running")

        assert first.terminate() == 0
        assert stage.depth() == QueueDepth(ready=3)
        assert stage.journal.count("end") == 0
        for key in ("one", "two", "three"):
            stage.gates.open(key)
        second = stage.worker()
        stage.assert_all_done(results)
        assert stage.journal.count("end") == 3
        assert second.terminate() == 0

    def test_a_task_that_ends_within_the_deadline_ends(self, make_stage: MakeStage) -> None:
        stage = make_stage(broker_lease=QUICKLY, worker_shutdown_timeout=60)
        worker = stage.worker(concurrency=1)
        result = stage.send("hold", "task")
        stage.wait_journal("start", "task")
        worker.signal(signal.SIGTERM)
        worker.wait_log("warm shutdown")
        stage.gates.open("task")
        assert worker.end() == 0
        stage.assert_all_done([result], timeout=1)

    @and_rabbitmq
    def test_an_idle_worker_just_ends(self, stage: Stage) -> None:
        worker = stage.worker()
        assert worker.terminate() == 0
        assert "Traceback" not in worker.log()

    def test_ctrl_c_reaches_the_whole_group_and_disturbs_no_task(self, stage: Stage) -> None:
        worker = stage.worker(concurrency=2)
        results = [stage.send("hold", key, "open") for key in range(2)]
        stage.wait(lambda: stage.journal.count("start") == 2, "two tasks running")
        worker.tree()
        os.killpg(worker.pid, signal.SIGINT)
        worker.wait_log("warm shutdown")
        stage.gates.open("open")
        assert worker.end() == 0
        stage.assert_all_done(results)
        assert stage.journal.count("end") == 2
        assert "Traceback" not in worker.log()

    @and_rabbitmq
    def test_under_load_nothing_is_lost_or_runs_twice(self, stage: Stage) -> None:
        results = []
        for _ in range(5):
            results += stage.send_notes(range(len(results), len(results) + 1000))
            worker = stage.worker()
            # A quick worker may have run more than it was given time for: no more than there are.
            goal = min(stage.journal.count() + random.randrange(600), len(results) - 1)
            worker.wait(lambda goal=goal: stage.journal.count() > goal, f"{goal} runs")
            assert worker.terminate() == 0
            assert stage.depth().leased == 0
        last = stage.worker()
        stage.assert_all_done(results)
        assert stage.journal.count("run") == len(results)
        assert last.terminate() == 0

    @pytest.mark.parametrize("moment", range(6))
    def test_while_it_starts(self, stage: Stage, moment: int) -> None:
        result = stage.send("note", "task")
        worker = stage.worker(ready=False)
        # The moment is what is tested: from before its first import to after "ready".
        time.sleep(moment * random.uniform(0.06, 0.1))
        assert worker.terminate() in (0, -signal.SIGTERM)
        assert "Traceback" not in worker.log()
        assert stage.depth().leased == 0
        second = stage.worker()
        stage.assert_all_done([result])
        assert stage.journal.count("run", "task") == 1
        assert second.terminate() == 0


@and_rabbitmq
class TestCold:
    @pytest.mark.parametrize(
        "signals",
        [
            (signal.SIGQUIT,),
            (signal.SIGTERM, signal.SIGTERM),
            (signal.SIGINT, signal.SIGINT),
            (signal.SIGTERM, signal.SIGQUIT),
        ],
        ids=lambda signals: "+".join(one.name for one in signals),
    )
    def test_what_runs_goes_back_at_once(
        self, stage: Stage, signals: tuple[signal.Signals, ...]
    ) -> None:
        first = stage.worker(concurrency=2)
        results = [stage.send("hold", key, "open") for key in range(5)]
        stage.wait(lambda: stage.journal.count("start") == 2, "two tasks running")
        first.signal(signals[0])
        for number in signals[1:]:
            first.signal_again(number, after="warm shutdown")

        assert first.end() == 0
        assert "cold shutdown" in first.log()
        assert stage.depth() == QueueDepth(ready=5)
        stage.gates.open("open")
        second = stage.worker()
        stage.assert_all_done(results)
        assert stage.journal.count("start") == 7
        assert stage.journal.count("end") == 5
        assert second.terminate() == 0

    @pytest.mark.usefixtures("leases")
    def test_it_counts_neither_as_a_crash_nor_as_a_delivery(self, make_stage: MakeStage) -> None:
        stage = make_stage(broker_lease=QUICKLY, task_max_crashes=1, task_max_deliveries=1)
        result = stage.send("hold", "task")
        for number in range(3):
            worker = stage.worker(concurrency=1)
            stage.wait_journal("start", "task", number + 1)
            worker.signal(signal.SIGQUIT)
            assert worker.end() == 0
        stage.gates.open("task")
        worker = stage.worker(concurrency=1)
        stage.assert_all_done([result])
        assert result.state == "SUCCESS"
        assert worker.terminate() == 0


@and_rabbitmq
class TestAcknowledgedBefore:
    """With ``acks_late=False`` a stop loses nothing that it need not lose."""

    @pytest.mark.usefixtures("leases")
    def test_what_has_not_begun_goes_back_and_what_has_ends(self, stage: Stage) -> None:
        first = stage.worker(concurrency=1)
        results = [stage.send("hold_early", key, "open") for key in range(4)]
        stage.wait(lambda: stage.journal.count("start") == 1, "one task running")
        stage.wait(lambda: stage.depth() == QueueDepth(leased=3), "three that wait")

        first.signal(signal.SIGTERM)
        stage.wait(lambda: stage.depth() == QueueDepth(ready=3), "three given back")
        stage.gates.open("open")
        assert first.end() == 0
        assert stage.journal.count("end") == 1
        second = stage.worker(concurrency=1)
        stage.assert_all_done(results)
        assert stage.journal.count("end") == stage.journal.count("start") == 4
        assert second.terminate() == 0

    @pytest.mark.usefixtures("leases")
    def test_a_cold_stop_records_what_it_loses(self, stage: Stage) -> None:
        worker = stage.worker(concurrency=1)
        results = [stage.send("hold_early", key, "open") for key in range(2)]
        stage.wait(lambda: stage.journal.count("start") == 1, "one task running")
        stage.wait(lambda: stage.depth() == QueueDepth(leased=1), "one that waits")
        worker.signal(signal.SIGQUIT)
        assert worker.end() == 0
        assert stage.depth() == QueueDepth(ready=1)
        with pytest.raises(WorkerLostError, match="acknowledged"):
            results[0].get(timeout=1)


@and_rabbitmq
class TestStoreAway:
    """The outcome of a finished task cannot be written just when the worker is to stop."""

    @pytest.fixture
    def stage(self, make_stage: MakeStage) -> Stage:
        return make_stage(
            broker_lease=QUICKLY, broker_connection_timeout=0.3, redis_socket_timeout=1
        )

    @pytest.mark.usefixtures("leases")
    def test_it_waits_and_then_ends_in_order(self, stage: Stage) -> None:
        worker = stage.worker(concurrency=1)
        result = stage.send("hold", "task")
        stage.wait_journal("start", "task")
        with locked(stage.settings["broker_url"]):
            stage.gates.open("task")
            worker.wait_log("cannot write outcomes")
            worker.signal(signal.SIGTERM)
            worker.signal_again(signal.SIGTERM, after="warm shutdown")
            worker.wait_log("cold shutdown")
        assert worker.end() == 0
        assert result.state == "SUCCESS"
        assert stage.depth() == QueueDepth()
        assert stage.journal.count("start", "task") == 1

    @pytest.mark.usefixtures("leases")
    def test_a_third_signal_ends_the_wait(self, stage: Stage) -> None:
        worker = stage.worker(concurrency=1)
        result = stage.send("hold", "task")
        stage.wait_journal("start", "task")
        with locked(stage.settings["broker_url"]):
            stage.gates.open("task")
            worker.wait_log("cannot write outcomes")
            worker.signal(signal.SIGTERM)
            worker.signal_again(signal.SIGTERM, after="warm shutdown")
            worker.signal_again(signal.SIGTERM, after="cold shutdown")
            assert worker.end() == 1
            assert "1 outcomes could not be written" in worker.log()
            assert "Traceback" not in worker.log()
        assert result.state == "PENDING"


class TestSolo:
    """The solo pool runs tasks in the worker's own process, which cannot be killed for them."""

    def test_warm(self, stage: Stage) -> None:
        worker = stage.worker(concurrency=0)
        result = stage.send("hold", "task")
        waiting = stage.send("note", "waiting")
        stage.wait_journal("start", "task")
        stage.wait(lambda: stage.depth().leased == 2, "both in the worker's hands")
        worker.signal(signal.SIGTERM)
        stage.wait(lambda: stage.depth() == QueueDepth(ready=1, leased=1), "one given back")
        stage.gates.open("task")
        assert worker.end() == 0
        assert result.get(timeout=1) == worker.pid
        assert not waiting.exists()

    def test_cold(self, stage: Stage) -> None:
        worker = stage.worker(concurrency=0)
        stage.send("hold", "task")
        stage.wait_journal("start", "task")
        worker.signal(signal.SIGQUIT)
        assert worker.end() == 0
        assert stage.depth() == QueueDepth(ready=1)
        stage.gates.open("task")
        assert stage.journal.count("end") == 0
