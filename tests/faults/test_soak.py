"""The same faults for a minute each: for windows that a few tries do not hit."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import defaultdict

import pytest

from tests.faults.conftest import MakeStage
from tests.faults.stage import Stage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LENGTH = 60
"""Seconds."""


def pause(shortest: float, longest: float) -> None:
    """A random length of time: the moment of the next fault."""
    time.sleep(random.uniform(shortest, longest))


def first_runs(stage: Stage) -> dict[str, list[int]]:
    """Which processes have run each key."""
    pids: dict[str, list[int]] = defaultdict(list)
    for entry in stage.journal.read("run"):
        pids[entry.key].append(entry.pid)
    return pids


@pytest.mark.parametrize("frozen", [False, True], ids=["", "parent frozen after each"])
def test_children_die(make_stage: MakeStage, frozen: bool) -> None:
    stage = make_stage(broker_lease=120, task_max_crashes=50)
    worker = stage.worker(concurrency=3)
    results, killed = [], set()
    end = time.monotonic() + LENGTH
    while time.monotonic() < end:
        if stage.depth().ready < 1500:
            results += stage.send_notes(range(len(results), len(results) + 1500))
        pause(0.01, 0.3)
        child = random.choice(worker.children() or [None])
        if child is not None:
            os.kill(child.pid, signal.SIGKILL)
            killed.add(child.pid)
            if frozen:
                pause(0.0, 0.1)
                worker.freeze()
                pause(0.1, 0.5)
                worker.thaw()
    stage.assert_all_done(results)
    assert set(stage.outcomes(results).values()) == {"SUCCESS"}
    runs = first_runs(stage)
    assert len(runs) == len(results)
    # Nothing runs again but what a dead process was running.
    assert all(pids[0] in killed for pids in runs.values() if len(pids) > 1)
    assert "Traceback" not in worker.log()
    assert worker.terminate() == 0


def test_workers_die_and_stop(make_stage: MakeStage) -> None:
    stage = make_stage(broker_lease=1)
    workers = [stage.worker() for _ in range(2)]
    results = []
    end = time.monotonic() + LENGTH
    while time.monotonic() < end:
        if stage.depth().ready < 1500:
            results += stage.send_notes(range(len(results), len(results) + 1500))
        pause(0.0, 0.5)
        number = random.randrange(2)
        worker = workers[number]
        fault = random.choice(["kill", "stop", "quit", "freeze"])
        if fault == "kill":
            worker.kill()
        elif fault == "freeze":
            worker.freeze()
            pause(0.5, 2)
            worker.thaw()
            continue
        else:
            worker.wait_ready()
            worker.signal(signal.SIGTERM if fault == "stop" else signal.SIGQUIT)
            assert worker.end() == 0, worker.log()
        workers[number] = stage.worker(ready=random.random() < 0.5)
    stage.assert_all_done(results, timeout=60)
    assert set(stage.outcomes(results).values()) == {"SUCCESS"}
    assert len(first_runs(stage)) == len(results)
    assert "Traceback" not in stage.logs()
    for worker in workers:
        worker.wait_ready()
        assert worker.terminate() == 0
