"""Processes die: a child, the nursery, the whole worker.  No task is lost."""

from __future__ import annotations

import os
import random
import signal

import pytest

from taskq.exceptions import WorkerLostError
from tests.faults.cgroups import memory_limit
from tests.faults.conftest import MakeStage, and_rabbitmq
from tests.faults.stage import Stage
from tests.faults.tracing import traced


class TestChild:
    @and_rabbitmq
    def test_its_task_runs_again_and_the_other_child_goes_on(self, stage: Stage) -> None:
        worker = stage.worker(concurrency=2)
        victim, other = stage.send("hold", "victim"), stage.send("hold", "other")
        stage.wait_journal("start", "victim")
        stage.wait_journal("start", "other")
        (first,) = stage.journal.read("start", "victim")

        os.kill(first.pid, signal.SIGKILL)
        stage.wait_journal("start", "victim", 2)
        for gate in ("victim", "other"):
            stage.gates.open(gate)

        second = stage.journal.read("start", "victim")[1]
        assert second.pid != first.pid
        assert victim.get(timeout=10) == second.pid
        assert other.get(timeout=10) == stage.journal.read("start", "other")[0].pid
        assert stage.journal.count("start", "other") == 1
        stage.assert_all_done([victim, other])
        assert "crash 1 of 3" in worker.log()
        assert worker.terminate() == 0

    def test_a_state_on_the_way_does_not_stay_when_the_second_run_fails(
        self, make_stage: MakeStage
    ) -> None:
        stage = make_stage(broker_lease=60, task_track_started=True, task_max_crashes=2)
        worker = stage.worker(concurrency=1)
        result = stage.send("die", "poison", 99)
        with pytest.raises(WorkerLostError):
            result.get(timeout=30)
        assert result.state == "FAILURE"
        assert worker.terminate() == 0
        assert result.state == "FAILURE"

    @pytest.mark.parametrize("task", ["die", "leave"])
    @and_rabbitmq
    def test_a_poisonous_task_is_buried_and_the_queue_drains(
        self, make_stage: MakeStage, task: str
    ) -> None:
        stage = make_stage(broker_lease=60)
        worker = stage.worker(concurrency=2)
        poison = stage.send(task, "poison", *([99] if task == "die" else []))
        others = stage.send_notes(range(20))

        with pytest.raises(WorkerLostError, match=r"crash 3 of 3"):
            poison.get(timeout=30)
        stage.assert_all_done([poison, *others], dead=1)
        assert stage.journal.count("start", "poison") == 3
        assert stage.journal.count("run") == 20
        (letter,) = stage.dead_letters()
        assert letter.message is not None
        assert (letter.message.id, letter.crashes, letter.deliveries) == (poison.id, 3, 3)
        assert "WorkerLostError" in letter.reason
        assert ("SIGKILL" if task == "die" else "exited with status 3") in letter.reason
        assert worker.terminate() == 0

    def test_killed_for_its_memory_it_is_poison_like_any_other(self, make_stage: MakeStage) -> None:
        stage = make_stage(broker_lease=60)
        worker = stage.worker(concurrency=2)
        (nursery,) = worker.nursery()
        children = [child.pid for child in worker.children()]
        with memory_limit(64 << 20, nursery.pid, *children) as limited:
            if not limited:
                pytest.skip("needs the right to make a memory cgroup")
            greedy = stage.send("devour", "greedy", 512 << 20)
            others = stage.send_notes(range(20))
            with pytest.raises(WorkerLostError, match="SIGKILL"):
                greedy.get(timeout=60)
            stage.assert_all_done([greedy, *others], dead=1)
            assert stage.journal.count("start", "greedy") == 3
            assert stage.journal.count("run") == 20
            assert worker.terminate() == 0

    def test_a_task_that_it_took_and_never_began_is_given_back(self, make_stage: MakeStage) -> None:
        """It dies after the packet has left the socket, and before the slot names it."""
        stage = make_stage(broker_lease=300)
        worker = stage.worker(concurrency=1)
        (child,) = worker.children()
        with traced(child.pid) as process:
            if process is None:
                pytest.skip("needs the right to trace a process")
            result = stage.send("note", "lost")
            process.kill_after_receiving()

        assert result.get(timeout=20) == "lost"
        assert not child.alive
        assert stage.journal.count("run", "lost") == 1
        stage.assert_all_done([result])
        assert "crash" not in worker.log()
        assert worker.terminate() == 0

    def test_one_that_is_stopped_while_idle_takes_nothing_with_it(self, stage: Stage) -> None:
        worker = stage.worker(concurrency=3)
        idle, *rest = worker.children()
        os.kill(idle.pid, signal.SIGSTOP)
        stage.wait(lambda: idle.stopped, "the child to stand")
        holds = [stage.send("hold", key) for key in ("one", "two")]
        stage.wait(lambda: stage.journal.count("start") == 2, "two tasks running")
        # Now only the stopped one is free: this goes to the socket and waits there.
        waiting = stage.send("note", "waiting")
        stage.wait(lambda: stage.depth().leased == 3, "all three in the worker")

        os.kill(idle.pid, signal.SIGKILL)
        assert waiting.get(timeout=20) == "waiting"
        for gate in ("one", "two"):
            stage.gates.open(gate)
        assert {hold.get(timeout=20) for hold in holds} == {child.pid for child in rest}
        stage.assert_all_done([*holds, waiting])
        assert [stage.journal.count("run", "waiting"), stage.journal.count("end")] == [1, 2]
        assert worker.terminate() == 0

    @and_rabbitmq
    def test_children_killed_at_random_lose_nothing(self, make_stage: MakeStage) -> None:
        stage = make_stage(broker_lease=60, task_max_crashes=50)
        worker = stage.worker(concurrency=3)
        results = []
        kills = 0
        for number in range(15):
            results += stage.send_notes(range(number * 100, number * 100 + 100))
            goal = number * 100 + random.randrange(100)
            stage.wait(lambda goal=goal: stage.journal.count() > goal, f"{goal} runs")
            children = worker.children()
            if children:
                os.kill(random.choice(children).pid, signal.SIGKILL)
                kills += 1
        stage.assert_all_done(results)
        assert set(stage.outcomes(results).values()) == {"SUCCESS"}
        runs = stage.journal.read("run")
        assert {entry.key for entry in runs} == {str(number) for number in range(1500)}
        # One that died with its task may have run it; nobody else may have.
        assert len(runs) <= 1500 + kills
        assert worker.terminate() == 0


@and_rabbitmq
class TestAcknowledgedBefore:
    """With ``acks_late=False`` a crash loses the task, and says so."""

    def test_a_crash_is_a_failure(self, stage: Stage) -> None:
        worker = stage.worker(concurrency=1)
        result = stage.send("hold_early", "early")
        stage.wait_journal("start", "early")
        assert stage.depth().leased == 0, "it is acknowledged before it starts"
        os.kill(stage.journal.read("start", "early")[0].pid, signal.SIGKILL)
        with pytest.raises(WorkerLostError, match="SIGKILL"):
            result.get(timeout=20)
        stage.assert_all_done([result])
        assert worker.terminate() == 0
        assert stage.journal.count("start", "early") == 1

    def test_as_is_one_that_shall_not_run_again(self, make_stage: MakeStage) -> None:
        stage = make_stage(broker_lease=60, task_reject_on_worker_lost=False)
        worker = stage.worker(concurrency=1)
        result = stage.send("die", "once", 99)
        with pytest.raises(WorkerLostError, match="SIGKILL"):
            result.get(timeout=20)
        stage.assert_all_done([result])
        assert stage.journal.count("start", "once") == 1
        assert worker.terminate() == 0


@and_rabbitmq
class TestNursery:
    def test_without_it_the_worker_gives_everything_back_and_ends(
        self, make_stage: MakeStage
    ) -> None:
        stage = make_stage(broker_lease=300)
        worker = stage.worker(concurrency=2)
        results = [stage.send("hold", key, "open") for key in range(6)]
        stage.wait(lambda: stage.journal.count("start") == 2, "two tasks running")
        tree = worker.tree()
        (nursery,) = worker.nursery()
        os.kill(nursery.pid, signal.SIGKILL)

        assert worker.end() == 1
        assert not any(one.alive for one in tree)
        assert stage.depth().ready == 6
        stage.gates.open("open")
        other = stage.worker(concurrency=2)
        stage.assert_all_done(results)
        assert stage.journal.count("end") == 6
        assert other.terminate() == 0


@and_rabbitmq
class TestWorker:
    def test_its_task_goes_to_another_and_no_orphan_goes_on_with_it(self, stage: Stage) -> None:
        first = stage.worker(concurrency=1)
        result = stage.send("hold", "task")
        stage.wait_journal("start", "task")
        second = stage.worker(concurrency=1)
        first.kill()

        stage.wait_journal("start", "task", 2)
        stage.gates.open("task")
        (child,) = second.children()
        assert result.get(timeout=20) == child.pid
        # The first run would have ended too, had its process been alive.
        assert [entry.pid for entry in stage.journal.read("end")] == [child.pid]
        stage.assert_all_done([result])
        assert second.terminate() == 0

    def test_one_that_dies_at_any_moment_loses_nothing(self, make_stage: MakeStage) -> None:
        stage = make_stage(broker_lease=1)
        results = stage.send_all("work", range(500))
        kills = 0
        while stage.journal.count() < 400:
            worker = stage.worker(ready=False)
            goal = stage.journal.count() + random.randrange(1, 80)
            worker.wait(lambda goal=goal: stage.journal.count() >= goal, f"{goal} runs")
            worker.kill()
            kills += 1
        last = stage.worker()
        stage.assert_all_done(results)
        assert set(stage.outcomes(results).values()) == {"SUCCESS"}
        runs = stage.journal.read("run")
        assert {entry.key for entry in runs} == {str(number) for number in range(500)}
        assert kills >= 2
        assert last.terminate() == 0
