"""Messages that no sound program sends, or that are very large.  The worker survives them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from taskq.brokers.base import QueueDepth
from taskq.exceptions import ContentDisallowed, EncodeError, NotRegistered
from taskq.message import TaskMessage, new_id, pack
from tests.faults.conftest import MakeStage, and_rabbitmq
from tests.faults.stage import Stage, WorkerProcess


@pytest.fixture
def stage(make_stage: MakeStage) -> Stage:
    return make_stage(broker_lease=60)


@pytest.fixture
def worker(stage: Stage) -> WorkerProcess:
    return stage.worker(concurrency=1)


def message(
    task: str = "note",
    body: bytes | Any = (["key"], {}, {}),
    headers: Mapping[str, Any] | None = None,
    **properties: Any,
) -> TaskMessage:
    """A message as somebody else might make it."""
    return TaskMessage(
        {"id": new_id(), "task": task, "lang": "py", "retries": 0, **(headers or {})},
        body if isinstance(body, bytes) else json.dumps(body).encode(),
        routing_key="default",
        **properties,
    )


def still_works(stage: Stage, worker: WorkerProcess, children: list[Any]) -> None:
    """The worker runs the next task, in the child that it had before, and ends in order."""
    assert stage.send("note", "next").get(timeout=20) == "next"
    assert worker.children() == children
    assert worker.terminate() == 0


class TestUnreadable:
    @and_rabbitmq
    @pytest.mark.usefixtures("leases")
    def test_envelopes(self, stage: Stage, worker: WorkerProcess) -> None:
        children = worker.children()
        packed = [
            b"",
            b"\x00",
            b"not a message",
            b"\x91\xc0",
            b"\xdd\xff\xff\xff\xff",
            b"\x92\x80\xc4\x00",
        ]
        stage.put(packed)
        stage.wait(lambda: len(stage.dead_letters()) == len(packed), "dead letters")
        letters = stage.dead_letters()
        assert sorted(letter.packed for letter in letters) == sorted(packed)
        assert all(letter.message is None and letter.reason for letter in letters)
        still_works(stage, worker, children)

    @and_rabbitmq
    def test_bodies(self, stage: Stage, worker: WorkerProcess) -> None:
        children = worker.children()
        sent = [
            message(body=b"{nonsense"),
            message(body=b"\xff\xfe"),
            message(body=b""),
            message(body="text"),
            message(body=[]),
            message(body=[["key"], {}]),
            message(body=["key", {}, {}]),
            message(body=[["key"], ["no", "object"], {}]),
            message(body=[["key"], {}, "no embed"]),
            message(body=[["key"], {}, {"callbacks": "no list"}]),
            message(body=[["key"], {}, {"errbacks": 7}]),
            message(body=[["key"], {}, {"chain": {}}]),
            message(body=[["key"], {}, {"callbacks": [7]}]),
            message(body=[["key"], {}, {"chain": [{"task": 7}]}]),
            message(body=[["key"], {}, {"chain": [{"task": "note", "options": 7}]}]),
            message(headers={"compression": "no-such-compression"}),
            message(headers={"compression": "application/x-gzip"}),
        ]
        stage.app.broker.publish(sent)
        results = [stage.app.AsyncResult(one.id) for one in sent]
        stage.assert_all_done(results, dead=len(sent))
        assert set(stage.outcomes(results).values()) == {"FAILURE"}
        letters = {letter.message.id: letter for letter in stage.dead_letters() if letter.message}
        assert letters.keys() == {one.id for one in sent}
        assert all(letter.reason for letter in letters.values())
        assert stage.journal.count() == 0
        still_works(stage, worker, children)

    @and_rabbitmq
    def test_what_shall_follow(self, stage: Stage, worker: WorkerProcess) -> None:
        """Nothing can follow, and whoever waits is told so."""
        children = worker.children()
        steps: list[dict[str, Any]] = [
            {"task": "note", "args": 7},
            {"task": "note", "kwargs": [1]},
            {"task": "note", "options": {"priority": 99}},
            {"task": "note", "options": {"countdown": "a while"}},
            {"task": "note", "options": {"exchange": "nowhere", "routing_key": 7}},
            {"task": "note", "subtask_type": ["a"]},
        ]
        sent = [
            message(body=[["key"], {}, {name: [step]}])
            for name in ("callbacks", "chain")
            for step in steps
        ]
        sent += [message("reject", [[1, 2], {}, {"errbacks": [step]}]) for step in (7, {}, *steps)]
        stage.app.broker.publish(sent)
        results = [stage.app.AsyncResult(one.id) for one in sent]
        stage.assert_all_done(results)
        assert set(stage.outcomes(results).values()) == {"FAILURE"}
        still_works(stage, worker, children)

    @and_rabbitmq
    def test_a_content_type_that_is_not_accepted(self, stage: Stage, worker: WorkerProcess) -> None:
        """It is refused before anybody decodes it."""
        children = worker.children()
        bomb = b"cos\nsystem\n(S'touch %s'\ntR." % bytes(stage.folder / "exploded")
        sent = message(body=bomb, content_type="application/x-python-serialize")
        stage.app.broker.publish([sent])
        result = stage.app.AsyncResult(sent.id)
        with pytest.raises(ContentDisallowed, match="x-python-serialize"):
            result.get(timeout=20)
        assert not (stage.folder / "exploded").exists()
        stage.assert_all_done([result], dead=1)
        still_works(stage, worker, children)


@and_rabbitmq
@pytest.mark.usefixtures("leases")
def test_headers_that_make_no_sense(stage: Stage, worker: WorkerProcess) -> None:
    """Some matter to nobody; the others make a dead letter.  Nothing is lost or stays."""
    children = worker.children()
    buried: list[dict[str, Any]] = [
        *({"expires": value} for value in ("the day after tomorrow", {}, -1)),
        *({"timelimit": value} for value in ("long", [1], ["a", "b"], [-1, -1], {"hard": 1})),
        *({"id": value} for value in (None, ["a"], 7)),
        *({"task": value} for value in (None, ["note"])),
    ]
    ignored: list[dict[str, Any]] = [
        *({"retries": value} for value in ("many", None)),
        {"shadow": {"a": 1}},
        {"group": 7, "parent_id": [], "root_id": 1.5},
        {"ignore_result": "perhaps"},
        {"eta": "never"},
        {"stamps": 3, "stamped_headers": 4},
    ]
    sent = [message(headers=headers) for headers in (*buried, *ignored)]
    stage.app.broker.publish(sent)
    stage.put([pack(message(priority=priority)) for priority in (-1, 10, 1 << 40)])
    dead = len(buried) + 3
    stage.wait(lambda: stage.journal.count("run") == len(ignored), f"{len(ignored)} runs")
    stage.wait(lambda: stage.depth() == QueueDepth(dead=dead), f"{dead} dead letters")
    assert all(letter.reason for letter in stage.dead_letters())
    still_works(stage, worker, children)


@and_rabbitmq
class TestCalls:
    def test_an_unknown_task(self, stage: Stage, worker: WorkerProcess) -> None:
        children = worker.children()
        result = stage.send("no.such.task")
        with pytest.raises(NotRegistered, match=r"no\.such\.task"):
            result.get(timeout=20)
        stage.assert_all_done([result], dead=1)
        (letter,) = stage.dead_letters()
        assert "NotRegistered" in letter.reason
        still_works(stage, worker, children)

    def test_wrong_arguments(self, stage: Stage, worker: WorkerProcess) -> None:
        children = worker.children()
        bodies = [([], {}, {}), ([1, 2, 3], {}, {}), ([1], {"no": 1}, {})]
        sent = [message(body=body) for body in bodies]
        stage.app.broker.publish(sent)
        results = [stage.app.AsyncResult(one.id) for one in sent]
        for result in results:
            with pytest.raises(TypeError, match="note"):
                result.get(timeout=20)
        stage.assert_all_done(results)
        still_works(stage, worker, children)

    def test_a_refused_task_can_be_read_and_sent_back(
        self, stage: Stage, worker: WorkerProcess
    ) -> None:
        result = stage.send("reject", False)
        stage.wait(lambda: len(stage.dead_letters()) == 1, "a dead letter")
        (letter,) = stage.dead_letters()
        assert "rejected by the task" in letter.reason
        assert stage.app.broker.retry_dead([letter.id]) == 1
        stage.wait(
            lambda: [one.id for one in stage.dead_letters()] not in ([], [letter.id]),
            "it to be refused again",
        )
        (again,) = stage.dead_letters()
        assert again.message is not None
        assert again.message.id == result.id
        assert worker.terminate() == 0


class TestSize:
    @and_rabbitmq
    def test_a_body_of_50_megabytes(self, stage: Stage, worker: WorkerProcess) -> None:
        children = worker.children()
        result = stage.send("length", "x" * (50 << 20))
        assert result.get(timeout=60) == 50 << 20
        still_works(stage, worker, children)

    def test_a_result_of_50_megabytes(self, stage: Stage, worker: WorkerProcess) -> None:
        children = worker.children()
        assert len(stage.send("give", "bytes", 50 << 20).get(timeout=60)) == 50 << 20
        still_works(stage, worker, children)

    @and_rabbitmq
    def test_many_of_every_size(self, stage: Stage) -> None:
        """About the sizes at which a packet travels in another way."""
        worker = stage.worker(concurrency=2)
        sizes = [
            size + n for size in ((1 << 16) - 400, 1 << 17, 1 << 20) for n in range(0, 800, 50)
        ]
        lengths = [stage.send("length", "x" * size) for size in sizes]
        texts = [stage.send("give", "bytes", size) for size in sizes]
        stage.assert_all_done([*lengths, *texts])
        assert [result.get(timeout=1) for result in lengths] == sizes
        assert [len(result.get(timeout=1)) for result in texts] == sizes
        assert worker.terminate() == 0

    @and_rabbitmq
    def test_ends_that_are_hard_to_write_down(self, stage: Stage, worker: WorkerProcess) -> None:
        children = worker.children()
        results = {
            how: stage.send("awkward", how)
            for how in ("return", "numbers", "raise", "unprintable", "headers", "names")
        }
        # The one whose retry cannot be sent is a dead letter.
        stage.assert_all_done(list(results.values()), dead=1)
        ends = {how: result.get(propagate=False) for how, result in results.items()}
        assert ends["return"] == "\ud800"
        assert ends["numbers"][1] == 1 << 100
        assert isinstance(ends["raise"], ValueError)
        assert type(ends["unprintable"]).__name__ == "Unprintable"
        assert isinstance(ends["headers"], TypeError)
        assert isinstance(ends["names"], TypeError)
        still_works(stage, worker, children)

    @and_rabbitmq
    def test_a_result_that_cannot_be_encoded(self, stage: Stage, worker: WorkerProcess) -> None:
        children = worker.children()
        results = [stage.send("give", what) for what in ("object", "set")]
        for result in results:
            with pytest.raises(EncodeError, match="object"):
                result.get(timeout=20)
        stage.assert_all_done(results)
        still_works(stage, worker, children)
