"""Signals beside those that stop a worker, and what is between a warm stop and a cold one."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from taskq.worker.autoscale import PATIENCE
from tests.faults.cgroups import processor_limit
from tests.faults.conftest import MakeStage
from tests.faults.stage import Stage


def test_hup_restarts_it(stage: Stage) -> None:
    worker = stage.worker()
    before = {child.pid for child in worker.children()}
    running = stage.send("hold", "gate")
    stage.wait_journal("start", "gate")
    worker.signal(signal.SIGHUP)
    worker.wait_log("restart, when what is running has ended")
    assert worker.log().count(" ready.") == 1
    stage.gates.open("gate")
    running.get(timeout=20)
    worker.wait(lambda: worker.log().count(" ready.") == 2, "it to be ready again")
    assert stage.send("note", "after").get(timeout=20) == "after"
    worker.wait(lambda: len(worker.children()) == 2, "its new children")
    assert not before & {child.pid for child in worker.children()}
    assert stage.journal.count("start", "gate") == 1
    assert worker.terminate() == 0


def test_usr1_shows_where_all_processes_are(stage: Stage) -> None:
    worker = stage.worker()
    running = stage.send("hold", "gate")
    stage.wait_journal("start", "gate")
    worker.signal(signal.SIGUSR1)
    worker.wait_log("stacks of 3 processes")
    worker.wait_log("in pass_through")
    worker.wait_log("keep_leases")
    stage.gates.open("gate")
    running.get(timeout=20)
    assert worker.terminate() == 0


def test_a_soft_shutdown_leaves_some_time(make_stage: MakeStage) -> None:
    stage = make_stage(broker_lease=60, worker_soft_shutdown_timeout=1.0)
    worker = stage.worker()
    short, long = stage.send("doze", 1, 0.3), stage.send("hold", "long")
    stage.wait_journal("start", "long")
    worker.signal(signal.SIGQUIT)
    worker.wait_log("soft shutdown, what still runs in 1 seconds")
    assert worker.end() == 0
    assert short.get(timeout=1) == 1
    assert not long.ready()
    assert stage.depth().ready == 1


def test_a_signal_ends_the_time_of_a_soft_shutdown(make_stage: MakeStage) -> None:
    stage = make_stage(broker_lease=60, worker_soft_shutdown_timeout=600)
    worker = stage.worker()
    stage.send("hold", "long")
    stage.wait_journal("start", "long")
    worker.signal(signal.SIGQUIT)
    worker.signal_again(signal.SIGQUIT, after="soft shutdown")
    assert worker.end() == 0
    assert stage.depth().ready == 1


def test_term_can_mean_quit(stage: Stage) -> None:
    worker = stage.worker(REMAP_SIGTERM="SIGQUIT")
    stage.send("hold", "long")
    stage.wait_journal("start", "long")
    worker.signal(signal.SIGTERM)
    assert worker.end() == 0
    assert "cold shutdown" in worker.log()
    assert stage.depth().ready == 1


def test_it_scales_itself(stage: Stage) -> None:
    worker = stage.worker("--autoscale", "5,2", concurrency=2)
    held = stage.send_all("hold", map(str, range(5)))
    for n in range(5):
        stage.wait_journal("start", n)
    worker.wait(lambda: len(worker.children()) == 5, "more children")
    for n in range(5):
        stage.gates.open(str(n))
    stage.assert_all_done(held)
    assert worker.terminate() == 0


@pytest.mark.slow
def test_it_shrinks_again_and_not_at_once(stage: Stage) -> None:
    worker = stage.worker("--autoscale", "4,2", concurrency=2)
    held = stage.send_all("hold", map(str, range(4)))
    worker.wait(lambda: len(worker.children()) == 4, "more children")
    for n in range(4):
        stage.gates.open(str(n))
    stage.assert_all_done(held)
    ended = time.monotonic()
    worker.wait(lambda: len(worker.children()) == 2, "fewer children", 60)
    assert time.monotonic() - ended > PATIENCE - 10
    assert worker.terminate() == 0


def test_a_container_tells_how_many_processors_there_are(stage: Stage) -> None:
    """One, where the group may use one, however many the machine has."""
    with processor_limit(1) as group:
        if group is None:
            pytest.skip("needs the right to make a cgroup for processors")
        inside = subprocess.run(
            [
                *("sh", "-c", f'echo $$ > {group}; exec "$@"', "sh", sys.executable, "-c"),
                "from taskq.worker.processors import processors; print(processors())",
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    assert inside.stdout == "1\n"
