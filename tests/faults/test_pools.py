"""Each pool in a real worker: tasks that use connections of their own, and how it all ends."""

from __future__ import annotations

import os
import signal

import pytest

from taskq import chord, states
from taskq.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from tests.faults.conftest import MakeStage, everywhere
from tests.faults.stage import Stage

each_pool = pytest.mark.parametrize("pool", ["threads", "asyncio", "eventlet", "gevent"])


@each_pool
@everywhere
def test_tasks_send_and_wait_and_store(pool: str, make_stage: MakeStage) -> None:
    """Broker and result store are reached from inside of tasks, many at a time."""
    stage = make_stage(tasks="tests.e2e.project")
    worker = stage.worker(pool=pool, concurrency=12)
    parents = [stage.send("parent", n) for n in range(5)]
    for n, result in enumerate(parents):
        told = result.get(timeout=20)
        assert told["value"] == n + 1
        assert (told["state"], told["info"]) == ("PROGRESS", {"sent": told["child"]})
    aparents = [stage.send("aparent", n) for n in range(5)]
    assert [result.get(timeout=20) for result in aparents] == [n + 1 for n in range(5)]
    doubles = [stage.send("double", n) for n in range(50)]
    assert [result.get(timeout=20) for result in doubles] == [2 * n for n in range(50)]
    assert stage.send("retry", 2).get(timeout=20) == 2
    add, total = stage.app.tasks["add"], stage.app.tasks["total"]
    body = chord([add.s(n, n) for n in range(10)])(total.s("sum"))
    assert body.get(timeout=20) == 90
    assert stage.send("who").get(timeout=20)["hostname"] == "worker1@here"
    stage.assert_all_done([*parents, *aparents, *doubles])
    assert "Traceback" not in worker.log().replace("Flaky", "")
    assert worker.terminate() == 0


@each_pool
def test_its_process_is_killed(pool: str, stage: Stage) -> None:
    worker = stage.worker(pool=pool, concurrency=10)
    held = stage.send_all("hold", map(str, range(5)))
    for n in range(5):
        stage.wait_journal("start", n)
    (child,) = worker.children()
    os.kill(child.pid, signal.SIGKILL)
    for n in range(5):
        stage.wait_journal("start", n, count=2)
        stage.gates.open(str(n))
    stage.assert_all_done(held)
    assert all(result.successful() for result in held)
    assert worker.terminate() == 0


@each_pool
def test_limits_and_revoking(pool: str, stage: Stage) -> None:
    """One is stopped gently, one is warned, and one ends the process: nobody else is harmed."""
    worker = stage.worker(pool=pool, concurrency=10)
    neighbour, victim = stage.send("hold", "neighbour"), stage.send("hold", "victim")
    stage.wait_journal("start", "victim")
    stage.wait_journal("start", "neighbour")
    victim.revoke(terminate=True)
    warned = [stage.send(name, "warned", soft_time_limit=0.2) for name in ("hold", "co_hold")]
    for result in warned:
        with pytest.raises(SoftTimeLimitExceeded):
            result.get(timeout=20)
    stage.wait(lambda: victim.ready(), "its end")
    assert victim.state == states.REVOKED
    assert stage.journal.count("start", "neighbour") == 1
    late = stage.send("seize", "late", 60, time_limit=0.3)
    with pytest.raises(TimeLimitExceeded):
        late.get(timeout=20)
    stage.wait_journal("start", "neighbour", count=2)
    stage.gates.open("neighbour")
    stage.assert_all_done([neighbour, victim, late, *warned])
    assert neighbour.successful()
    assert worker.terminate() == 0


@each_pool
def test_a_warm_shutdown_lets_all_of_them_end(pool: str, stage: Stage) -> None:
    worker = stage.worker(pool=pool, concurrency=3, members=2)
    running = stage.send_all("hold", map(str, range(6)))
    waiting = stage.send_notes(range(20))
    for n in range(6):
        stage.wait_journal("start", n)
    worker.signal(signal.SIGTERM)
    worker.wait_log("warm shutdown")
    stage.wait(lambda: stage.depth().ready == 20, "what waits to be given back")
    for n in range(6):
        stage.gates.open(str(n))
    assert worker.end() == 0
    assert len({result.get(timeout=1) for result in running}) == 2  # two processes
    assert not any(result.ready() for result in waiting)
