"""Tasks that another one replaces, and members that nobody can read, in real workers."""

from __future__ import annotations

import random
from typing import Any

import pytest

from taskq import Middleware, Signature, chord, group
from taskq.brokers.base import QueueDepth
from taskq.message import TaskMessage
from tests.faults.conftest import MakeStage, and_rabbitmq, everywhere
from tests.faults.stage import PATIENCE, Stage
from tests.faults.test_chords import assert_failed, assert_ran, send, task


def become(stage: Stage, key: str, into: Signature, times: int = 0) -> Signature:
    return task(stage, "become", key, dict(into), times)


@and_rabbitmq
class TestReplacing:
    @pytest.mark.parametrize("deaths", [0, 1])
    def test_a_member_of_a_chord(self, stage: Stage, deaths: int) -> None:
        worker = stage.worker()
        note = task(stage, "note", "new").set(immutable=True)
        members = [
            become(stage, "task", task(stage, "note", "task"), deaths),
            become(stage, "group", group(note, note), deaths),
            become(stage, "twice", become(stage, "again", task(stage, "note", "twice"), deaths)),
            task(stage, "note", "first") | become(stage, "last", note).set(immutable=True),
        ]
        result = send(stage, *members)
        assert_ran(stage, result, ["task", ["new", "new"], "twice", "new"])
        assert stage.journal.count("run", "task") == stage.journal.count("run", "twice") == 1
        assert stage.journal.count("run", "new") == 3
        assert stage.journal.count("start", "task") == 1 + deaths
        assert worker.terminate() == 0

    def test_one_in_a_chain(self, stage: Stage) -> None:
        worker = stage.worker()
        members = [task(stage, "note", 1), task(stage, "note", 2)]
        steps = become(stage, "x", chord(members, task(stage, "after", "b"))) | task(
            stage, "after", "end"
        )
        assert steps.delay().get(timeout=PATIENCE) == [1, 2]
        stage.wait(lambda: stage.depth() == QueueDepth(), "an empty queue")
        assert stage.journal.count("after", "b") == stage.journal.count("after", "end") == 1
        assert worker.terminate() == 0

    def test_one_that_fails(self, stage: Stage) -> None:
        worker = stage.worker()
        member = become(stage, "x", task(stage, "falter", "x", 0, True))
        assert_failed(stage, send(stage, task(stage, "note", 1), member), "it has faltered")
        assert worker.terminate() == 0

    @pytest.mark.slow
    def test_workers_die_at_any_moment(self, make_stage: MakeStage) -> None:
        stage = make_stage(broker_lease=1)
        results = []
        for number in range(10):
            work = [task(stage, "work", f"{number}-{key}") for key in range(3)]
            members = [become(stage, f"{number}-{key}", each) for key, each in enumerate(work)]
            results.append(chord(members, task(stage, "after", str(number)))())
        for _ in range(3):
            worker = stage.worker(ready=False)
            goal = stage.journal.count() + random.randrange(1, 25)
            worker.wait(
                lambda goal=goal: (
                    stage.journal.count() >= goal or len(stage.outcomes(results)) == len(results)
                ),
                f"{goal} runs",
            )
            worker.kill()
        last = stage.worker()
        stage.assert_all_done(results)
        for number, result in enumerate(results):
            assert result.get(timeout=1) == [f"{number}-{key}" for key in range(3)]
        assert last.terminate() == 0


class Damage(Middleware):
    """Makes the bodies of some messages unreadable on their way."""

    def on_message(self, message: TaskMessage) -> None:
        if message.headers.get("damaged"):
            message.body = b"no JSON"
        if message.headers.get("foreign"):
            message.content_type = "application/x-python-serialize"


@everywhere
@pytest.mark.parametrize("how", ["damaged", "foreign"])
def test_a_member_that_nobody_can_read(stage: Stage, how: str) -> None:
    stage.app.add_middleware(Damage())
    worker = stage.worker()
    member: Any = task(stage, "note", 2).set(headers={how: True})
    why = "DecodeError" if how == "damaged" else "ContentDisallowed"
    assert_failed(stage, send(stage, task(stage, "note", 1), member), why, dead=1)
    assert worker.terminate() == 0
