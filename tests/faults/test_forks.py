"""Processes that fork with their connections open, and threads that share them."""

from __future__ import annotations

import json
import subprocess
import sys

from taskq.brokers.base import QueueDepth
from tests.faults.conftest import everywhere
from tests.faults.forking_producer import TOTAL
from tests.faults.soundness import check
from tests.faults.stage import CHECKOUT, Stage


@everywhere
def test_parent_and_child_publish_together(stage: Stage, place: str) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.faults.forking_producer"),
            *(str(stage.folder), json.dumps(stage.settings)),
        ],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    if place == "sqlite":
        check(stage.database)
    assert stage.depth().ready == TOTAL
    worker = stage.worker()
    stage.wait(lambda: stage.depth() == QueueDepth(), "an empty queue")
    runs = stage.journal.read("run")
    assert len(runs) == len({entry.key for entry in runs}) == TOTAL
    assert worker.terminate() == 0


@everywhere
def test_a_worker_whose_app_has_a_connection_open(stage: Stage, place: str) -> None:
    """Its children inherit the connection, and make their own instead."""
    worker = stage.worker(STAGE_PUBLISH="1")
    results = [stage.send("send_on", key) for key in range(20)]
    results += [stage.app.AsyncResult(result.get(timeout=20)) for result in results]
    stage.assert_all_done(results)
    assert stage.journal.count("run", "at-import") == 1
    assert stage.journal.count("run") == 21
    assert worker.terminate() == 0
    if place == "sqlite":
        check(stage.database)
