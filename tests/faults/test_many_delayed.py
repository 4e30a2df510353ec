"""A hundred thousand tasks that are due later: they lie in the broker, not in a worker."""

from __future__ import annotations

import json
import time

import pytest

from tests.faults.conftest import MakeStage, everywhere
from tests.faults.processes import memory

COUNT = 100_000
AHEAD = 60.0
"""Seconds until the first is due: time to send all of them and to start workers anew."""
RATE = 1500
"""How many are due each second."""


@everywhere
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_they_outlive_all_workers_and_come_in_time(make_stage: MakeStage) -> None:
    stage = make_stage(broker_lease=2)
    first = stage.worker()
    stage.assert_all_done(stage.send_notes(range(500)))  # its memory is at work by now
    before = memory(first.pid)
    begun = time.time()
    due = [begun + AHEAD + number / RATE for number in range(COUNT)]
    clock = stage.app.tasks["clock"]
    results = []
    for start in range(0, COUNT, 10_000):
        now = time.time()
        calls = [clock.s(n).set(countdown=due[n] - now) for n in range(start, start + 10_000)]
        results += stage.app.send_many(calls)
    assert stage.depth().delayed == COUNT
    assert memory(first.pid) - before < 8 << 20
    revoked = results[:: COUNT // 10]
    first.kill()
    for result in revoked:
        result.revoke()
    workers = [stage.worker(), stage.worker()]
    ready = time.time()  # on a busy machine after the first are due
    resting = [memory(worker.pid) for worker in workers]
    stage.assert_all_done(results, timeout=300)
    grown = [memory(worker.pid) - size for worker, size in zip(workers, resting, strict=True)]
    assert max(grown) < 16 << 20
    assert {stage.outcomes([result])[result.id] for result in revoked} == {"REVOKED"}
    ran = stage.app.backend.fetch([result.id for result in results])
    late = [
        json.loads(ran[result.id].payload)["result"] - max(moment, ready)
        for result, moment in zip(results, due, strict=True)
        if ran[result.id].state == "SUCCESS"
    ]
    assert len(late) == COUNT - len(revoked)
    assert min(late) > -0.1 or ready > due[0]
    # A second is what is promised; the rest is for a busy machine.
    assert max(late) < 5
    assert [worker.terminate() for worker in workers] == [0, 0]
