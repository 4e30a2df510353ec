"""Long and short tasks together: nothing waits behind a long one that need not."""

from __future__ import annotations

from tests.faults.conftest import everywhere
from tests.faults.stage import Stage


@everywhere
def test_no_result_waits_behind_a_long_task(stage: Stage) -> None:
    """Two long tasks among short ones, on two processes: what came before them is there."""
    worker = stage.worker(concurrency=2)
    first = stage.send_all("note", range(25))
    long = stage.send("hold", "one")
    second = stage.send_all("note", range(25, 50))
    longer = stage.send("hold", "two")

    for result in (*first, *second):
        result.get(timeout=20)
    stage.wait(lambda: stage.journal.count("start") == 2, "both long ones running")
    assert stage.journal.count("end") == 0
    behind = stage.send_all("note", range(50, 60))
    stage.gates.open("two")
    # One process is enough for all that comes behind.
    stage.wait(lambda: len(stage.outcomes([longer, *behind])) == 11, "what comes behind")
    assert stage.journal.count("end") == 1
    stage.gates.open("one")
    stage.assert_all_done([*first, long, *second, longer, *behind])
    assert stage.journal.count("run") == 60
    assert worker.terminate() == 0


@everywhere
def test_nor_behind_a_task_that_is_short_as_a_rule(stage: Stage) -> None:
    """What a child holds back of short tasks is read from it when one of them takes long."""
    worker = stage.worker(concurrency=1)
    stage.assert_all_done(stage.send_all("quick", range(1000)))
    quick = stage.app.tasks["quick"]
    calls = [quick.s(n) for n in range(10)]
    results = stage.app.send_many([*calls, quick.s("long", "gate"), *calls])
    before, long, behind = results[:10], results[10], results[11:]
    stage.wait_journal("start", "long")
    stage.wait(lambda: len(stage.outcomes(before)) == 10, "the results before it")
    assert not long.ready()
    stage.gates.open("gate")
    stage.assert_all_done([*before, long, *behind])
    assert worker.terminate() == 0


@everywhere
def test_a_long_task_holds_up_no_other_process(stage: Stage) -> None:
    worker = stage.worker(concurrency=3)
    long = [stage.send("hold", key) for key in ("one", "two")]
    stage.wait(lambda: stage.journal.count("start") == 2, "both long ones running")
    results = stage.send_all("note", range(500))
    stage.wait(lambda: len(stage.outcomes(results)) == 500, "the short ones")
    assert stage.journal.count("end") == 0
    for key in ("one", "two"):
        stage.gates.open(key)
    stage.assert_all_done([*long, *results])
    assert len({entry.pid for entry in stage.journal.read("run")}) == 1
    assert worker.terminate() == 0
