"""A real worker, started by the real command, on the embedded store: what users do every day."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from taskq.exceptions import NotRegistered, TaskRevokedError
from tests.e2e.project import Flaky
from tests.faults.stage import Stage


class TestCalls:
    def test_plain_and_async_functions(self, stage: Stage) -> None:
        worker = stage.worker()
        assert stage.send("add", 2, 3).get(timeout=20) == 5
        assert stage.send("double", 21).get(timeout=20) == 42
        assert stage.app.send_task("add", kwargs={"x": 1, "y": 2}).get(timeout=20) == 3
        results = stage.app.send_many([stage.app.tasks["add"].s(n, n) for n in range(500)])
        stage.assert_all_done(results)
        assert [result.get(timeout=1) for result in results] == [2 * n for n in range(500)]
        assert worker.terminate() == 0

    def test_from_an_event_loop(self, stage: Stage) -> None:
        worker = stage.worker()

        async def run() -> list[int]:
            tasks = stage.app.tasks
            results = [await tasks["add"].adelay(n, 1) for n in range(20)]
            return list(await asyncio.gather(*results))

        assert asyncio.run(run()) == list(range(1, 21))
        assert worker.terminate() == 0

    def test_what_a_task_raises_reaches_who_waits(self, stage: Stage) -> None:
        worker = stage.worker()
        with pytest.raises(ValueError, match="unexpected") as caught:
            stage.send("fail", "unexpected").get(timeout=20)
        assert "project.py" in "".join(caught.value.__notes__)
        with pytest.raises(KeyError, match="expected"):
            stage.send("fail", "expected").get(timeout=20)
        ignored = stage.send("fail", "ignore")
        stage.assert_all_done([])
        assert not ignored.exists()
        log = worker.log()
        assert log.count("raised unexpected") == 1
        assert log.count("raised expected") == 1
        assert worker.terminate() == 0

    def test_what_a_task_can_know_of_itself(self, stage: Stage) -> None:
        worker = stage.worker("-Q", "default,special")
        result = stage.send("who", queue="special", priority=7)
        assert result.get(timeout=20) == {
            "id": result.id,
            "hostname": "worker1@here",
            "queue": "special",
            "priority": 7,
            "parent": None,
            "root": result.id,
        }
        assert worker.terminate() == 0


class TestTime:
    def test_a_delayed_task_runs_when_it_is_due(self, stage: Stage) -> None:
        worker = stage.worker()
        begun = time.time()
        late = stage.send("note", "late", countdown=0.5)
        at_once = stage.send("note", "at-once")
        assert at_once.get(timeout=20) == "at-once"
        assert stage.depth().delayed == 1
        assert stage.journal.count("run", "late") == 0
        assert late.get(timeout=20) == "late"
        assert time.time() - begun >= 0.5
        assert worker.terminate() == 0

    def test_one_that_has_expired_does_not_run(self, stage: Stage) -> None:
        expired = stage.send("note", "expired", expires=0.01)
        kept = stage.send("note", "kept", expires=60)
        begun = time.time()
        stage.wait(lambda: time.time() > begun + 0.05, "it to expire")
        worker = stage.worker()
        assert kept.get(timeout=20) == "kept"
        with pytest.raises(TaskRevokedError, match="expired"):
            expired.get(timeout=20)
        assert expired.state == "REVOKED"
        assert stage.journal.count("run", "expired") == 0
        assert worker.terminate() == 0


class TestRetries:
    def test_by_hand(self, stage: Stage) -> None:
        worker = stage.worker()
        assert stage.send("retry", 2).get(timeout=20) == 2
        exhausted = stage.send("retry", 99)
        with pytest.raises(Flaky):
            exhausted.get(timeout=20)
        stage.assert_all_done([exhausted])
        assert worker.terminate() == 0

    def test_by_itself_with_all_handlers(self, stage: Stage) -> None:
        worker = stage.worker()
        assert stage.send("flaky", "good", 2).get(timeout=20) == 2
        bad = stage.send("flaky", "bad", 99)
        with pytest.raises(Flaky):
            bad.get(timeout=20)
        stage.assert_all_done([bad])
        counts = {
            (event, key): stage.journal.count(event, key)
            for key in ("good", "bad")
            for event in ("before_start", "on_retry", "on_success", "on_failure", "after_RETRY")
        }
        assert counts == {
            ("before_start", "good"): 3,
            ("on_retry", "good"): 2,
            ("on_success", "good"): 1,
            ("on_failure", "good"): 0,
            ("after_RETRY", "good"): 2,
            ("before_start", "bad"): 4,
            ("on_retry", "bad"): 3,
            ("on_success", "bad"): 0,
            ("on_failure", "bad"): 1,
            ("after_RETRY", "bad"): 3,
        }
        assert worker.terminate() == 0


class TestComposition:
    def test_a_chain(self, stage: Stage) -> None:
        worker = stage.worker()
        add, double = stage.app.tasks["add"], stage.app.tasks["double"]
        result = (add.s(1, 2) | add.s(10) | double.s() | add.si(5, 5)).delay()
        assert result.get(timeout=20) == 10
        assert result.parent is not None
        assert result.parent.get(timeout=1) == 26
        assert result.parent.parent is not None
        assert result.parent.parent.get(timeout=1) == 13
        assert worker.terminate() == 0

    def test_a_chain_ends_where_it_fails(self, stage: Stage) -> None:
        worker = stage.worker()
        tasks = stage.app.tasks
        chain = tasks["fail"].s("unexpected") | tasks["note"].si("never")
        chain.tasks[0].link_error(tasks["told"].s("error"))
        result = chain.apply_async(link_error=tasks["note"].si("errback"))
        assert result.parent is not None
        with pytest.raises(ValueError, match="unexpected"):
            result.parent.get(timeout=20)
        stage.wait(lambda: stage.journal.count("run", "errback") == 1, "the errback")
        stage.assert_all_done([result.parent])
        assert stage.journal.count("run", "never") == 0
        assert worker.terminate() == 0

    def test_callbacks(self, stage: Stage) -> None:
        worker = stage.worker()
        told, note = stage.app.tasks["told"], stage.app.tasks["note"]
        good = stage.app.tasks["add"].apply_async(
            (1, 2), link=[told.s("one"), told.s("two")], link_error=note.si("bad")
        )
        bad = stage.app.tasks["fail"].apply_async(
            ("unexpected",), link=told.s("three"), link_error=note.si("errback")
        )
        stage.wait(lambda: stage.journal.count() == 3, "callbacks and errback")
        stage.assert_all_done([good, bad])
        assert {(entry.event, entry.key) for entry in stage.journal.read()} == {
            ("told", "one=3"),
            ("told", "two=3"),
            ("run", "errback"),
        }
        assert worker.terminate() == 0


class TestOrder:
    def test_the_urgent_goes_first_and_equals_in_order(self, stage: Stage) -> None:
        for number in range(30):
            stage.send("note", f"p{number % 3}-{number}", priority=number % 3 * 4)
        worker = stage.worker(concurrency=1)
        stage.wait(lambda: stage.journal.count("run") == 30, "30 runs")
        keys = [entry.key for entry in stage.journal.read("run")]
        expected = [f"p{p}-{number}" for p in (2, 1, 0) for number in range(p, 30, 3)]
        assert keys == expected
        assert worker.terminate() == 0

    def test_workers_serve_their_own_queues(self, stage: Stage) -> None:
        one = stage.worker("-Q", "one")
        two = stage.worker("-Q", "two,default")
        results = [stage.send("who", queue=queue) for queue in ("one", "two", "default") * 5]
        hosts = [result.get(timeout=20)["hostname"] for result in results]
        assert hosts == ["worker1@here", "worker2@here", "worker2@here"] * 5
        assert [one.terminate(), two.terminate()] == [0, 0]


class TestOptions:
    def test_children_are_replaced_after_so_many_tasks(self, stage: Stage) -> None:
        worker = stage.worker("--max-tasks-per-child", "10", concurrency=2)
        results = [stage.send("note", number) for number in range(100)]
        stage.assert_all_done(results)
        pids = [entry.pid for entry in stage.journal.read("run")]
        assert len(pids) == 100
        # A packet of short tasks may take a child a little further.
        assert len(set(pids)) >= 4
        assert "WorkerLostError" not in worker.log()
        assert worker.terminate() == 0

    def test_the_solo_pool(self, stage: Stage) -> None:
        worker = stage.worker(concurrency=0)
        assert stage.send("add", 2, 3).get(timeout=20) == 5
        assert stage.send("double", 21).get(timeout=20) == 42
        assert stage.send("retry", 2).get(timeout=20) == 2
        with pytest.raises(ValueError, match="unexpected"):
            stage.send("fail", "unexpected").get(timeout=20)
        assert worker.terminate() == 0

    def test_an_app_whose_import_starts_a_thread(self, stage: Stage) -> None:
        """No fork survives threads whole: the children start afresh."""
        worker = stage.worker(STAGE_THREAD="1", concurrency=2)
        assert "background" in worker.log()
        results = [stage.send("note", number) for number in range(50)]
        stage.assert_all_done(results)
        assert stage.journal.count("run") == 50
        assert stage.send("parent", 1).get(timeout=20)["value"] == 2
        (victim, _) = worker.children()
        os.kill(victim.pid, signal.SIGKILL)
        worker.wait(lambda: not victim.alive and len(worker.children()) == 2, "a new child")
        assert stage.send("add", 1, 1).get(timeout=20) == 2
        assert worker.terminate() == 0


class TestInsideOfATask:
    def test_it_sends_and_waits_and_tells_of_its_progress(self, stage: Stage) -> None:
        worker = stage.worker(concurrency=2)
        result = stage.send("parent", 41)
        value = result.get(timeout=20)
        assert value == {
            "value": 42,
            "state": "PROGRESS",
            "info": {"sent": value["child"]},
            "child": value["child"],
        }
        assert stage.send("aparent", 1).get(timeout=20) == 2
        assert worker.terminate() == 0

    def test_errors_reach_it(self, stage: Stage) -> None:
        worker = stage.worker(concurrency=2)
        with pytest.raises(RuntimeError, match="never wait for a result inside a task"):
            stage.send("careless").get(timeout=20)
        with pytest.raises(Exception, match="nowhere"):
            stage.send("wrong").get(timeout=20)
        with pytest.raises(NotRegistered, match="no_such"):
            stage.send("no_such").get(timeout=20)
        assert worker.terminate() == 0
