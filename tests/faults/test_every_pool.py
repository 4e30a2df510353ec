"""The faults of the other modules in the pools that are not prefork.

There they are told in more detail, and on every broker.
"""

from __future__ import annotations

import hashlib
import os
import signal
import time

import pytest

from taskq import states
from taskq.brokers.base import QueueDepth
from taskq.exceptions import SoftTimeLimitExceeded, WorkerLostError
from tests.faults.conftest import MakeStage
from tests.faults.stage import Stage, WorkerProcess

LEASE = 1.0

CREWS = ("threads", "asyncio", "eventlet", "gevent")
each_crew = pytest.mark.parametrize("pool", CREWS)
each_pool = pytest.mark.parametrize("pool", [*CREWS, "solo"])


@pytest.fixture
def stage(make_stage: MakeStage) -> Stage:
    return make_stage(broker_lease=LEASE)


def start(stage: Stage, pool: str, members: int = 1) -> WorkerProcess:
    """A worker that runs two tasks at a time in each process; the solo pool runs one."""
    if pool == "solo":
        return stage.worker(concurrency=0)
    return stage.worker(concurrency=2, pool=pool, members=members)


def pass_leases(stage: Stage, count: float) -> None:
    begun = time.monotonic()
    stage.wait(lambda: time.monotonic() > begun + count * LEASE, f"{count} leases to pass")


@each_crew
def test_one_of_its_processes_is_killed(pool: str, stage: Stage) -> None:
    worker = start(stage, pool, members=2)
    held = stage.send_all("hold", map(str, range(4)))
    for n in range(4):
        stage.wait_journal("start", n)
    pids = {entry.key: entry.pid for entry in stage.journal.read("start")}
    assert len(set(pids.values())) == 2
    os.kill(pids["0"], signal.SIGKILL)
    for key, pid in pids.items():
        stage.wait_journal("start", key, count=2 if pid == pids["0"] else 1)
        stage.gates.open(key)
    stage.assert_all_done(held)
    for result, (key, pid) in zip(held, sorted(pids.items()), strict=True):
        # Whoever was in the other process has noticed nothing.
        assert (result.get(timeout=5) == pid) == (pid != pids["0"]), key
    assert worker.terminate() == 0


@each_crew
def test_a_poisonous_task_is_buried(pool: str, make_stage: MakeStage) -> None:
    stage = make_stage(broker_lease=60)
    worker = start(stage, pool, members=2)
    poison = stage.send("die", "poison", 99)
    others = stage.send_notes(range(20))
    with pytest.raises(WorkerLostError, match="crash 3 of 3"):
        poison.get(timeout=30)
    stage.assert_all_done([poison, *others], dead=1)
    assert stage.journal.count("start", "poison") == 3
    assert {result.state for result in others} == {states.SUCCESS}
    (letter,) = stage.dead_letters()
    assert "SIGKILL" in letter.reason
    assert worker.terminate() == 0


def test_a_task_that_kills_solo_workers_is_buried(make_stage: MakeStage) -> None:
    """There is nobody to count its crashes; but how often it is delivered is counted."""
    stage = make_stage(broker_lease=LEASE, task_max_deliveries=2)
    poison = stage.send("die", "poison", 99)
    for _ in range(2):
        assert stage.worker(concurrency=0, ready=False).end() == -signal.SIGKILL
    worker = stage.worker(concurrency=0)
    stage.assert_all_done([poison, stage.send("note", "other")], dead=1)
    assert stage.journal.count("start", "poison") == 2
    assert "delivered 3 times" in stage.dead_letters()[0].reason
    assert worker.terminate() == 0


@each_crew
def test_a_soft_limit_in_c_code_waits_until_it_returns(pool: str, stage: Stage) -> None:
    worker = start(stage, pool)
    begun = time.process_time()
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 100_000)
    rounds = int(100_000 / (time.process_time() - begun))  # a second of a processor
    result = stage.send("block", "task", rounds, soft_time_limit=0.2)
    if pool in ("threads", "asyncio"):
        with pytest.raises(SoftTimeLimitExceeded):
            result.get(timeout=30)
        assert stage.journal.count("end", "task") == 0
    else:  # a green thread is reached where it waits, and this one never does
        assert result.get(timeout=30) == "done"
    assert stage.send("note", "next").get(timeout=20) == "next"
    assert worker.terminate() == 0


@each_pool
def test_long_tasks_run_once_and_go_to_others_when_their_worker_dies(
    pool: str, stage: Stage
) -> None:
    first = start(stage, pool)
    result = stage.send("hold", "task")
    stage.wait_journal("start", "task")
    second = start(stage, pool)
    pass_leases(stage, 3)
    assert stage.journal.count("start") == 1
    first.kill()  # no process of it lives on, either
    stage.wait_journal("start", "task", 2)
    stage.gates.open("task")
    assert result.get(timeout=20) == stage.journal.read("start")[1].pid
    assert stage.journal.count("end") == 1
    stage.assert_all_done([result])
    assert second.terminate() == 0


@each_pool
def test_whoever_settles_first_wins(pool: str, stage: Stage) -> None:
    """A worker stands still for longer than its lease, and then goes on."""
    frozen = start(stage, pool)
    chain = stage.app.tasks["hold"].s("task") | stage.app.tasks["after"].s("chain")
    result = chain.apply_async()
    assert result.parent is not None
    stage.wait_journal("start", "task")
    frozen.freeze()
    other = start(stage, pool)
    stage.wait_journal("start", "task", 2)
    stage.gates.open("task")
    winner = stage.journal.read("start", "task")[1].pid
    assert result.get(timeout=20) == winner
    frozen.thaw()
    stage.wait_journal("end", "task", 2)
    frozen.wait_log("succeeded in")
    assert [frozen.terminate(), other.terminate()] == [0, 0]
    assert stage.app.AsyncResult(result.parent.id).get(timeout=1) == winner
    assert stage.journal.count("after", "chain") == 1
    assert stage.depth() == QueueDepth()


@each_pool
def test_what_does_not_end_in_time_goes_back(pool: str, make_stage: MakeStage) -> None:
    """At the deadline after TERM, and at once after QUIT; then somebody else runs all of it."""
    stage = make_stage(broker_lease=60, worker_shutdown_timeout=0.3)
    results = stage.send_all("hold", map(str, range(5)))
    at_a_time = 1 if pool == "solo" else 2
    for number, how in enumerate((signal.SIGTERM, signal.SIGQUIT), 1):
        worker = start(stage, pool)
        goal = number * at_a_time
        stage.wait(lambda goal=goal: stage.journal.count("start") == goal, f"{goal} tasks running")
        worker.signal(how)
        assert worker.end() == 0
        assert stage.depth() == QueueDepth(ready=5)
    assert stage.journal.count("end") == 0
    for n in range(5):
        stage.gates.open(str(n))
    worker = start(stage, pool)
    stage.assert_all_done(results)
    assert {result.state for result in results} == {states.SUCCESS}
    assert stage.journal.count("end") == 5
    assert worker.terminate() == 0


@each_pool
def test_revoked_and_paused_while_no_worker_is_there(pool: str, stage: Stage) -> None:
    results = stage.send_notes(range(4))
    stage.app.control.revoke(results[1].id)
    stage.app.control.pause("default")
    worker = start(stage, pool)
    worker.wait_log("queue default is paused")
    assert stage.depth().ready == 4
    assert worker.terminate() == 0
    worker = start(stage, pool)
    worker.wait_log("queue default is paused")
    stage.app.control.resume("default")
    stage.assert_all_done(results)
    assert [result.state for result in results] == [
        "SUCCESS", "REVOKED", "SUCCESS", "SUCCESS",
    ]  # fmt: skip
    assert {entry.key for entry in stage.journal.read("run")} == {"0", "2", "3"}
    assert worker.terminate() == 0


def test_what_the_solo_pool_cannot_stop_goes_on(stage: Stage) -> None:
    worker = start(stage, "solo")
    result = stage.send("hold", "task", time_limit=0.2, soft_time_limit=0.1)
    stage.wait_journal("start", "task")
    worker.wait_log("the solo pool applies no time limits")
    result.revoke(terminate=True)
    worker.wait_log("the solo pool cannot end a task that runs")
    stage.gates.open("task")
    stage.assert_all_done([result])
    assert result.successful()
    assert worker.terminate() == 0
