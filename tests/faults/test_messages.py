"""Messages that no sound program sends, or that are very large.  The worker survives them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import pytest

from taskq.exceptions import ContentDisallowed, EncodeError, NotRegistered
from taskq.message import TaskMessage, new_id
from taskq.result import AsyncResult
from tests.faults.conftest import MakeStage
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


def published(stage: Stage, sent: TaskMessage) -> AsyncResult[Any]:
    """Publish a message as it is; the result of its task."""
    stage.app.broker.publish([sent])
    return stage.app.AsyncResult(sent.id)


class TestUnreadable:
    @pytest.mark.parametrize(
        "packed",
        [b"", b"\x00", b"not a message", b"\x91\xc0", b"\xdd\xff\xff\xff\xff", b"\x92\x80\xc4\x00"],
        ids=repr,
    )
    def test_an_envelope(self, stage: Stage, worker: WorkerProcess, packed: bytes) -> None:
        children = worker.children()
        with closing(sqlite3.connect(stage.database, isolation_level=None)) as connection:
            connection.execute(
                "INSERT INTO messages (queue, priority, state, message) VALUES ('default', 0, 0, ?)",
                (packed,),
            )
        stage.wait(lambda: len(stage.dead_letters()) == 1, "a dead letter")
        (letter,) = stage.dead_letters()
        assert letter.message is None
        assert letter.packed == packed
        assert letter.reason
        still_works(stage, worker, children)

    @pytest.mark.parametrize(
        ("body", "properties"),
        [
            (b"{nonsense", {}),
            (b"\xff\xfe", {}),
            (b"", {}),
            ("text", {}),
            ([], {}),
            ([["key"], {}], {}),
            (["key", {}, {}], {}),
            ([["key"], ["no", "object"], {}], {}),
            ([["key"], {}, "no embed"], {}),
            ([["key"], {}, {}], {"headers": {"compression": "no-such-compression"}}),
            ([["key"], {}, {}], {"headers": {"compression": "application/x-gzip"}}),
        ],
    )
    def test_a_body(
        self, stage: Stage, worker: WorkerProcess, body: Any, properties: dict[str, Any]
    ) -> None:
        children = worker.children()
        result = published(stage, message(body=body, **properties))
        with pytest.raises(Exception, match=r".+"):
            result.get(timeout=20)
        assert result.state == "FAILURE"
        (letter,) = stage.dead_letters()
        assert letter.message is not None
        assert letter.message.id == result.id
        assert letter.reason
        stage.assert_all_done([result], dead=1)
        still_works(stage, worker, children)

    @pytest.mark.parametrize("name", ["callbacks", "errbacks", "chain"])
    @pytest.mark.parametrize("steps", ["text", 7, [7], [{}]], ids=repr)
    def test_what_shall_follow(
        self, stage: Stage, worker: WorkerProcess, name: str, steps: Any
    ) -> None:
        """Nothing can follow, and whoever waits is told so."""
        children = worker.children()
        task, args = ("note", ["key"]) if name != "errbacks" else ("reject", ["one", "too many"])
        result = published(stage, message(task, (args, {}, {name: steps})))
        with pytest.raises(Exception, match=r".+"):
            result.get(timeout=20)
        stage.assert_all_done([result])
        still_works(stage, worker, children)

    def test_a_content_type_that_is_not_accepted(self, stage: Stage, worker: WorkerProcess) -> None:
        """It is refused before anybody decodes it."""
        children = worker.children()
        bomb = b"cos\nsystem\n(S'touch %s'\ntR." % bytes(stage.folder / "exploded")
        result = published(stage, message(body=bomb, content_type="application/x-python-serialize"))
        with pytest.raises(ContentDisallowed, match="x-python-serialize"):
            result.get(timeout=20)
        assert not (stage.folder / "exploded").exists()
        stage.assert_all_done([result], dead=1)
        still_works(stage, worker, children)


class TestHeaders:
    @pytest.mark.parametrize(
        "headers",
        [
            {"expires": "the day after tomorrow"},
            {"expires": {}},
            {"expires": -1},
            {"timelimit": "long"},
            {"timelimit": [1]},
            {"timelimit": ["a", "b"]},
            {"timelimit": [-1, -1]},
            {"timelimit": {"hard": 1}},
            {"retries": "many"},
            {"retries": None},
            {"id": None},
            {"id": ["a"]},
            {"task": None},
            {"task": ["note"]},
            {"shadow": {"a": 1}},
            {"group": 7, "parent_id": [], "root_id": 1.5},
            {"ignore_result": "perhaps"},
            {"eta": "never"},
            {"stamps": 3, "stamped_headers": 4},
        ],
        ids=json.dumps,
    )
    def test_that_make_no_sense(
        self, stage: Stage, worker: WorkerProcess, headers: dict[str, Any]
    ) -> None:
        """Whatever becomes of it, it is settled, and the worker goes on."""
        children = worker.children()
        stage.app.broker.publish([message(headers=headers)])
        stage.wait(lambda: stage.depth().leased + stage.depth().ready == 0, "an empty queue")
        assert stage.journal.count("run") + stage.depth().dead == 1
        still_works(stage, worker, children)

    @pytest.mark.parametrize("priority", [-1, 10, 1 << 40])
    def test_a_priority_that_does_not_exist(
        self, stage: Stage, worker: WorkerProcess, priority: int
    ) -> None:
        children = worker.children()
        stage.app.broker.publish([message(priority=priority)])
        stage.wait(lambda: stage.depth().leased + stage.depth().ready == 0, "an empty queue")
        assert stage.journal.count("run") + stage.depth().dead == 1
        still_works(stage, worker, children)


class TestCalls:
    def test_an_unknown_task(self, stage: Stage, worker: WorkerProcess) -> None:
        children = worker.children()
        result = stage.send("no.such.task")
        with pytest.raises(NotRegistered, match=r"no\.such\.task"):
            result.get(timeout=20)
        (letter,) = stage.dead_letters()
        assert "NotRegistered" in letter.reason
        stage.assert_all_done([result], dead=1)
        still_works(stage, worker, children)

    @pytest.mark.parametrize("body", [([], {}, {}), ([1, 2, 3], {}, {}), ([1], {"no": 1}, {})])
    def test_wrong_arguments(self, stage: Stage, worker: WorkerProcess, body: Any) -> None:
        children = worker.children()
        result = published(stage, message(body=body))
        with pytest.raises(TypeError, match="note"):
            result.get(timeout=20)
        stage.assert_all_done([result])
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
    def test_a_body_of_50_megabytes(self, stage: Stage, worker: WorkerProcess) -> None:
        children = worker.children()
        result = stage.send("length", "x" * (50 << 20))
        assert result.get(timeout=60) == 50 << 20
        still_works(stage, worker, children)

    def test_a_result_of_50_megabytes(self, stage: Stage, worker: WorkerProcess) -> None:
        children = worker.children()
        assert len(stage.send("give", "bytes", 50 << 20).get(timeout=60)) == 50 << 20
        still_works(stage, worker, children)

    @pytest.mark.parametrize("size", [(1 << 16) - 200, 1 << 16, 1 << 17, 1 << 20])
    def test_many_of_every_size(self, stage: Stage, size: int) -> None:
        """About the sizes at which a packet travels in another way."""
        worker = stage.worker(concurrency=2)
        results = [stage.send("length", "x" * (size + n)) for n in range(10)]
        results += [stage.send("give", "bytes", size + n) for n in range(10)]
        stage.assert_all_done(results)
        assert [result.get(timeout=1) for result in results[:10]] == [size + n for n in range(10)]
        assert [len(result.get(timeout=1)) for result in results[10:]] == [
            size + n for n in range(10)
        ]
        assert worker.terminate() == 0

    @pytest.mark.parametrize("what", ["object", "set"])
    def test_a_result_that_cannot_be_encoded(
        self, stage: Stage, worker: WorkerProcess, what: str
    ) -> None:
        children = worker.children()
        result = stage.send("give", what)
        with pytest.raises(EncodeError, match="object"):
            result.get(timeout=20)
        stage.assert_all_done([result])
        still_works(stage, worker, children)
