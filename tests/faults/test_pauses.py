"""A paused queue keeps what it holds, whatever is restarted; what runs goes on."""

from __future__ import annotations

from taskq.brokers.base import QueueDepth
from tests.faults.conftest import everywhere
from tests.faults.stage import Stage


@everywhere
def test_paused_while_a_worker_holds_messages(stage: Stage) -> None:
    worker = stage.worker(concurrency=1)
    running = stage.send("hold", "gate")
    stage.wait_journal("start", "gate")
    waiting = stage.send_notes(range(3))
    stage.wait(lambda: stage.depth().leased == 4, "the worker to hold all of them")
    stage.app.control.pause("default")
    stage.wait(lambda: "queue default is paused" in worker.log(), "the worker to say so")
    stage.wait(lambda: stage.depth().ready == 3, "what has not been started to go back")
    stage.gates.open("gate")
    assert running.get(timeout=20)
    worker.kill()

    again = stage.worker(concurrency=1)
    stage.wait(lambda: "queue default is paused" in again.log(), "the next worker to say so")
    later = stage.send("note", "later")
    assert stage.depth() == QueueDepth(ready=4)
    stage.app.control.resume("default")
    stage.assert_all_done([*waiting, later])
    stage.wait(lambda: "queue default is resumed" in again.log(), "the worker to say so")
    assert stage.journal.count("run") == 4
    assert again.terminate() == 0
