"""Chords: whatever happens to a member, the body runs once, or whoever waits is told once."""

from __future__ import annotations

import os
import random
import signal
import time
from typing import Any

import pytest

from taskq import chord, states
from taskq.brokers.base import QueueDepth
from taskq.canvas import Signature
from taskq.exceptions import ChordError
from taskq.result import AsyncResult
from tests.faults.conftest import MakeStage, and_rabbitmq
from tests.faults.locks import locked
from tests.faults.stage import PATIENCE, Stage


def task(stage: Stage, name: str, *args: Any, **options: Any) -> Signature:
    return stage.app.signature(name, args, **options)


def send(stage: Stage, *members: Signature, **options: Any) -> AsyncResult[Any]:
    """A chord whose body notes that it runs, and whose errback notes the body's id."""
    body = task(stage, "after", "body", **options).on_error(task(stage, "note"))
    return chord(members, body, app=stage.app).apply_async()


def assert_ran(
    stage: Stage, result: AsyncResult[Any], values: list[Any], timeout: float = PATIENCE
) -> None:
    """The body ran exactly once, with these values; nobody was told of an error."""
    assert result.get(timeout=timeout) == values
    stage.wait(lambda: stage.depth() == QueueDepth(), "an empty queue")
    assert stage.journal.count("after", "body") == 1
    assert stage.journal.count("run", result.id) == 0
    assert_forgotten(stage, result)


def assert_failed(stage: Stage, result: AsyncResult[Any], why: str, dead: int = 0) -> None:
    """The body never ran; whoever waits for it has the error, and its errback ran once."""
    with pytest.raises(ChordError, match=why):
        result.get(timeout=PATIENCE)
    stage.wait_journal("run", result.id)
    stage.wait(lambda: stage.depth() == QueueDepth(dead=dead), "an empty queue")
    assert stage.journal.count("run", result.id) == 1
    assert stage.journal.count("after", "body") == 0
    assert_forgotten(stage, result)


def assert_forgotten(stage: Stage, result: AsyncResult[Any]) -> None:
    if result.parent is not None:
        parts, group = stage.app.backend.chord_parts, result.parent.id
        # RabbitMQ does not say that a worker is still at it.
        stage.wait(lambda: parts(group) == {}, "what its members have contributed to be forgotten")


@and_rabbitmq
class TestMember:
    """Something happens to one member of several."""

    def test_all_succeed(self, stage: Stage) -> None:
        worker = stage.worker()
        members = [task(stage, "note", key) for key in range(20)]
        result = send(stage, *members, task(stage, "falter", "again", 2))
        assert_ran(stage, result, [*range(20), "again"])
        assert result.parent.get(timeout=1) == [*range(20), "again"]
        assert worker.terminate() == 0

    def test_in_the_pool_without_children(self, stage: Stage) -> None:
        worker = stage.worker(concurrency=0)
        good = send(stage, *(task(stage, "note", key) for key in range(5)))
        assert_ran(stage, good, list(range(5)))
        bad = chord(
            [task(stage, "note", 1), task(stage, "nowhere")],
            task(stage, "after", "bad").on_error(task(stage, "note")),
        )()
        with pytest.raises(ChordError, match="NotRegistered"):
            bad.get(timeout=PATIENCE)
        stage.wait_journal("run", bad.id)
        assert stage.journal.count("after", "bad") == 0
        assert worker.terminate() == 0

    @pytest.mark.parametrize("times", [0, 2])
    def test_it_fails(self, stage: Stage, times: int) -> None:
        worker = stage.worker()
        result = send(stage, task(stage, "note", 1), task(stage, "falter", "x", times, True))
        assert_failed(stage, result, "ValueError.*it has faltered")
        assert worker.terminate() == 0

    def test_all_fail(self, stage: Stage) -> None:
        worker = stage.worker()
        result = send(stage, *(task(stage, "falter", key, 0, True) for key in range(20)))
        assert_failed(stage, result, "it has faltered")
        assert worker.terminate() == 0

    def test_it_expires(self, stage: Stage) -> None:
        result = send(stage, task(stage, "note", 1), task(stage, "note", 2, expires=0.05))
        sent = time.monotonic()
        stage.wait(lambda: time.monotonic() > sent + 0.1, "its expiry")
        worker = stage.worker()
        assert_failed(stage, result, r"TaskRevokedError\('expired'\)")
        assert stage.journal.count("run", 2) == 0
        assert worker.terminate() == 0

    @pytest.mark.usefixtures("leases")
    def test_it_expires_in_a_worker_that_stops(self, make_stage: MakeStage) -> None:
        """Nobody has been told of its end yet, for no child was free: the next worker does."""
        stage = make_stage(broker_lease=60)
        stage.send("hold", "long")
        result = send(stage, task(stage, "note", 1, expires=0.05))
        sent = time.monotonic()
        stage.wait(lambda: time.monotonic() > sent + 0.1, "its expiry")
        first = stage.worker(concurrency=1)
        first.wait_log("is dropped: expired")
        first.signal(signal.SIGTERM)
        stage.wait(lambda: stage.depth() == QueueDepth(ready=1, leased=1), "the member given back")
        stage.gates.open("long")
        assert first.end() == 0
        second = stage.worker(concurrency=1)
        assert_failed(stage, result, r"TaskRevokedError\('expired'\)")
        assert second.terminate() == 0

    @pytest.mark.parametrize("running", [False, True])
    def test_it_is_revoked(self, stage: Stage, running: bool) -> None:
        worker = stage.worker()
        member = task(stage, "hold", "x") if running else task(stage, "note", 2, countdown=0.5)
        result = send(stage, task(stage, "note", 1), member)
        if running:
            stage.wait_journal("start", "x")
        result.parent.results[1].revoke(terminate=running)
        assert_failed(
            stage, result, "TaskRevokedError.*" + ("terminated" if running else "revoked")
        )
        assert stage.journal.count("run", 2) == stage.journal.count("end", "x") == 0
        assert worker.terminate() == 0

    def test_results_expire_before_the_last_one_has_ended(self, make_stage: MakeStage) -> None:
        stage = make_stage(result_expires=0.5)
        worker = stage.worker()
        result = send(stage, task(stage, "note", 1), task(stage, "hold", "late"))
        stage.wait_journal("run", 1)
        stage.wait_journal("start", "late")
        begun, first = time.monotonic(), result.parent.results[0]
        stage.wait(
            lambda: time.monotonic() > begun + 0.6 and not first.exists(), "its result to be gone"
        )
        stage.gates.open("late")
        assert result.get(timeout=PATIENCE)[0] == 1
        stage.wait(lambda: stage.depth() == QueueDepth(), "an empty queue")
        assert stage.journal.count("after", "body") == 1
        assert worker.terminate() == 0

    def test_it_is_of_an_unknown_task(self, stage: Stage) -> None:
        worker = stage.worker()
        result = send(stage, task(stage, "note", 1), task(stage, "nowhere"))
        assert_failed(stage, result, "NotRegistered", dead=1)
        assert worker.terminate() == 0

    def test_it_cannot_say_how_it_ended(self, stage: Stage) -> None:
        worker = stage.worker()
        members = [task(stage, "note", 1), task(stage, "awkward", "headers")]
        assert_failed(stage, send(stage, *members), "TypeError", dead=1)
        assert worker.terminate() == 0

    def test_its_result_cannot_be_encoded(self, stage: Stage) -> None:
        worker = stage.worker()
        result = send(stage, task(stage, "note", 1), task(stage, "give", "object"))
        assert_failed(stage, result, "EncodeError")
        assert worker.terminate() == 0

    def test_it_passes_its_hard_limit(self, stage: Stage) -> None:
        worker = stage.worker()
        members = [task(stage, "note", 1), task(stage, "hold", "never", time_limit=0.5)]
        assert_failed(stage, send(stage, *members), "TimeLimitExceeded")
        assert stage.journal.count("start", "never") == 1
        assert worker.terminate() == 0

    def test_it_kills_its_process_until_it_is_a_dead_letter(self, stage: Stage) -> None:
        worker = stage.worker()
        result = send(stage, task(stage, "note", 1), task(stage, "die", "poison", 99))
        assert_failed(stage, result, r"WorkerLostError.*crash 3 of 3", dead=1)
        assert stage.journal.count("start", "poison") == 3
        assert worker.terminate() == 0

    def test_its_errback_kills_the_process(self, stage: Stage) -> None:
        worker = stage.worker()
        member = task(stage, "falter", "x", 0, True).on_error(task(stage, "strike"))
        result = send(stage, task(stage, "note", 1), member)
        assert_failed(stage, result, r"WorkerLostError.*crash 3 of 3", dead=1)
        assert stage.journal.count("strike") == 4, "in each run, and when its end was told"
        assert worker.terminate() == 0

    def test_it_kills_its_process_and_then_succeeds(self, stage: Stage) -> None:
        worker = stage.worker()
        result = send(stage, task(stage, "note", 1), task(stage, "die", "once", 1))
        assert_ran(stage, result, [1, "alive"])
        assert worker.terminate() == 0

    def test_it_is_rejected(self, stage: Stage) -> None:
        worker = stage.worker()
        result = send(stage, task(stage, "note", 1), task(stage, "reject", False))
        assert_failed(stage, result, "Reject", dead=1)
        assert worker.terminate() == 0

    @pytest.mark.parametrize("end", ["a task", "a chord"])
    def test_it_is_a_chain_whose_first_step_fails(self, stage: Stage, end: str) -> None:
        worker = stage.worker()
        last = task(stage, "after", "last")
        if end == "a chord":
            last = chord([task(stage, "after", "last")] * 2, last)
        steps = task(stage, "falter", "x", 0, True) | task(stage, "after", "middle") | last
        assert_failed(stage, send(stage, task(stage, "note", 1), steps), "it has faltered")
        assert stage.journal.count("after") == 0
        assert worker.terminate() == 0

    def test_it_is_a_chord_that_fails(self, stage: Stage) -> None:
        worker = stage.worker()
        inner = chord(
            [task(stage, "note", 2), task(stage, "falter", "x", 0, True)],
            task(stage, "after", "inner"),
        )
        result = send(stage, task(stage, "note", 1), inner)
        assert_failed(stage, result, "ChordError.*it has faltered")
        assert stage.journal.count("after", "inner") == 0
        assert worker.terminate() == 0


@and_rabbitmq
class TestTwice:
    """A member runs twice, and counts once."""

    @pytest.mark.usefixtures("leases")
    def test_what_a_frozen_worker_says_late_is_not_counted(self, make_stage: MakeStage) -> None:
        stage = make_stage(broker_lease=1.5)
        frozen = stage.worker(concurrency=1)
        (child,) = frozen.children()
        result = send(stage, task(stage, "hold", "member"), task(stage, "note", 1))
        stage.wait_journal("start", "member")
        frozen.freeze()
        other = stage.worker(concurrency=1)
        stage.wait_journal("start", "member", 2)
        stage.gates.open("member")
        stage.wait_journal("end", "member", 2)
        (another,) = other.children()
        assert child.pid != another.pid
        assert_ran(stage, result, [another.pid, 1])
        frozen.thaw()
        frozen.wait_log("succeeded in")
        assert frozen.terminate() == 0
        assert_ran(stage, result, [another.pid, 1])
        assert other.terminate() == 0

    @pytest.mark.usefixtures("leases")
    def test_only_the_first_end_of_two_is_counted(self, make_stage: MakeStage) -> None:
        """One worker stands still with the member while another ends it, and a third has more."""
        stage = make_stage(broker_lease=1.5)
        frozen = stage.worker(concurrency=1)
        (child,) = frozen.children()
        result = send(stage, task(stage, "hold", "a", "first"), task(stage, "hold", "b"))
        stage.wait_journal("start", "a")
        frozen.freeze()
        other = stage.worker(concurrency=2)
        stage.wait_journal("start", "a", 2)
        other.freeze()
        frozen.thaw()
        stage.gates.open("first")
        stage.wait_journal("end", "a", 2)
        stage.wait(lambda: len(stage.outcomes(result.parent)) == 1, "the end of the first")
        other.thaw()
        other.wait_log("succeeded in")
        assert stage.journal.count("after") == 0
        stage.gates.open("b")
        values = result.get(timeout=PATIENCE)
        assert values[0] == child.pid
        assert_ran(stage, result, values)
        assert [frozen.terminate(), other.terminate()] == [0, 0]

    def test_its_worker_is_killed(self, stage: Stage) -> None:
        first = stage.worker(concurrency=2)
        result = send(stage, task(stage, "note", 1), task(stage, "hold", "member"))
        stage.wait_journal("start", "member")
        stage.wait_journal("run", 1)
        first.kill()
        stage.gates.open("member")
        second = stage.worker(concurrency=1)
        (child,) = second.children()
        assert_ran(stage, result, [1, child.pid])
        assert second.terminate() == 0


@and_rabbitmq
class TestBetween:
    """A worker dies between the end of the last member and the start of the body."""

    def test_before_the_body_is_sent(self, stage: Stage) -> None:
        first = stage.worker(concurrency=1)
        stage.send("hold", "block")
        stage.wait_journal("start", "block")
        result = send(stage, task(stage, "note", 1))
        stage.send("hold", "stop")  # has the only child before the chord's task comes
        stage.gates.open("block")
        stage.wait_journal("start", "stop")
        assert result.parent.get(timeout=PATIENCE) == [1]
        first.kill()
        assert stage.journal.count("after") == 0
        assert not result.exists()

        stage.gates.open("stop")
        second = stage.worker(concurrency=1)
        assert_ran(stage, result, [1])
        assert stage.journal.count("run", 1) == 1
        assert second.terminate() == 0

    def test_before_the_body_runs(self, stage: Stage) -> None:
        first = stage.worker(concurrency=1)
        result = send(stage, task(stage, "note", 1), task(stage, "note", 2), queue="later")
        stage.wait(lambda: stage.app.broker.depth("later").ready == 1, "the body")
        first.kill()
        second = stage.worker("-Q", "default,later", concurrency=1)
        assert_ran(stage, result, [1, 2])
        assert stage.app.broker.depth("later") == QueueDepth()
        assert second.terminate() == 0

    def test_at_any_moment(self, make_stage: MakeStage) -> None:
        stage = make_stage(broker_lease=1)
        results = []
        for number in range(30):
            members = [task(stage, "work", f"{number}-{key}") for key in range(5)]
            results.append(chord(members, task(stage, "after", str(number)))())
        kills = 0
        while kills < 6:
            worker = stage.worker(ready=False)
            goal = stage.journal.count() + random.randrange(1, 40)
            worker.wait(
                lambda goal=goal: (
                    stage.journal.count() >= goal or len(stage.outcomes(results)) == len(results)
                ),
                f"{goal} runs",
            )
            worker.kill()
            kills += 1
        last = stage.worker()
        stage.assert_all_done(results)
        for number, result in enumerate(results):
            assert result.get(timeout=1) == [f"{number}-{key}" for key in range(5)]
        # Only one that died with the body may have run it before.
        assert len(stage.journal.read("after")) <= len(results) + 2 * kills
        assert last.terminate() == 0


@and_rabbitmq
def test_children_die_all_the_time(make_stage: MakeStage) -> None:
    stage = make_stage(broker_lease=60, task_max_crashes=100)
    worker = stage.worker(concurrency=2)
    results = []
    for number in range(20):
        members = [task(stage, "work", f"{number}-{key}") for key in range(10)]
        results.append(chord(members, task(stage, "after", str(number)))())
    for goal in range(10, 150, 20):
        stage.wait(lambda goal=goal: stage.journal.count() > goal, f"{goal} runs")
        if children := worker.children():
            os.kill(random.choice(children).pid, signal.SIGKILL)
    stage.assert_all_done(results)
    assert set(stage.outcomes(results).values()) == {states.SUCCESS}
    for number, result in enumerate(results):
        assert result.get(timeout=1) == [f"{number}-{key}" for key in range(10)]
    assert worker.terminate() == 0


@and_rabbitmq
class TestTwoStores:
    """Members are counted elsewhere than where the messages are: in several steps."""

    @pytest.fixture
    def stage(self, make_stage: MakeStage, results_url: str) -> Stage:
        stage = make_stage(
            broker_lease=2,
            broker_connection_timeout=0.3,
            redis_socket_timeout=1,
            result_backend=results_url,
        )
        stage.app.backend.fetch(["that makes the file"])
        return stage

    @pytest.mark.usefixtures("leases")
    def test_death_after_counting(self, stage: Stage) -> None:
        """The last member is counted, and its message comes again: the body runs once."""
        first = stage.worker(concurrency=2)
        result = send(stage, task(stage, "note", 1), task(stage, "hold", "member"))
        stage.wait_journal("start", "member")
        stage.wait(lambda: len(stage.outcomes(result.parent)) == 1, "the other member")
        stage.wait(lambda: stage.depth() == QueueDepth(leased=1), "its acknowledgement")
        with locked(stage.settings["broker_url"]):
            stage.gates.open("member")
            first.wait_log("cannot write outcomes")
            parts = stage.app.backend.chord_parts(result.parent.id)
            first.kill()
        assert len(parts) == 2
        second = stage.worker(concurrency=1)
        (child,) = second.children()
        assert_ran(stage, result, [1, stage.journal.read("end", "member")[0].pid])
        assert child.pid in {entry.pid for entry in stage.journal.read("end", "member")}
        assert stage.journal.count("end", "member") == 2
        assert second.terminate() == 0

    def test_a_failure(self, stage: Stage) -> None:
        worker = stage.worker()
        result = send(stage, task(stage, "note", 1), task(stage, "falter", "x", 0, True))
        assert_failed(stage, result, "it has faltered")
        assert worker.terminate() == 0


@and_rabbitmq
@pytest.mark.parametrize("count", [0, 1, 2000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_as_many_members_as_one_likes(make_stage: MakeStage, count: int) -> None:
    stage = make_stage(broker_lease=60)
    worker = stage.worker()
    result = send(stage, *(task(stage, "note", key) for key in range(count)))
    assert_ran(stage, result, list(range(count)), timeout=PATIENCE + count / 100)
    assert stage.journal.count("run") == count
    assert worker.terminate() == 0
