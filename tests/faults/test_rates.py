"""Rate limits in a real worker: kept, changed while it runs, and nobody else waits for them."""

from __future__ import annotations

from tests.faults.conftest import MakeStage, everywhere


@everywhere
def test_limits_hold_nobody_else_up(make_stage: MakeStage) -> None:
    stage = make_stage(task_annotations={"clock": {"rate_limit": "5/h"}})
    worker = stage.worker("--prefetch-multiplier", "1", concurrency=1)
    limited = stage.send_all("clock", range(20))
    others = stage.send_notes(range(100, 150))
    assert [result.get(timeout=20) for result in others] == list(range(100, 150))
    stage.wait(lambda: stage.depth().delayed == 19, "the others to be given back")
    assert sum(result.ready() for result in limited) == 1
    here = ["worker1@here"]
    (reply,) = stage.app.control.rate_limit("clock", "20/s", here, reply=True, timeout=20)
    assert reply == {"worker1@here": {"ok": "new rate limit set successfully"}}
    times = sorted(r.get(timeout=20) for r in stage.send_all("clock", range(200, 210)))
    assert times[-1] - times[0] >= 0.35  # ten, a twentieth of a second apart
    assert sum(result.ready() for result in limited) == 1  # their time has not come
    assert worker.terminate() == 0
