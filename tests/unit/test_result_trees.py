"""What results know of each other, and what can be done with many of them."""

from __future__ import annotations

import io
import json
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from taskq import GroupResult, ResultSet, Task, TaskQ, allow_join_result, group, result_from_tuple
from taskq.exceptions import IncompleteStream, TimeoutError
from taskq.graph import CycleError, DependencyGraph
from taskq.joining import denied_join_result
from taskq.result import AsyncResult
from tests.unit.sequential import SequentialWorker

AnyTask = Task[..., Any]


@pytest.fixture
def add(app: TaskQ) -> AnyTask:
    @app.task(name="add")
    def add(a: int, b: int = 0) -> int:
        if a < 0:
            raise ValueError(a)
        return a + b

    return add


@pytest.fixture
def worker(app: TaskQ) -> SequentialWorker:
    return SequentialWorker(app)


# As plain data


def test_there_and_back(app: TaskQ, add: AnyTask) -> None:
    for result in (
        add.delay(1),
        (add.s(1) | add.s(2) | add.s(3)).delay(),
        group(add.s(1), add.s(2) | add.s(3)).delay(),
        (add.s(1) | group(add.s(1) | group(add.s(1), add.s(2)), add.s(2))).delay(),
        (group(add.s(1), add.s(2)) | add.s(1)).delay(),
    ):
        plain = json.loads(json.dumps(result.as_tuple()))
        again = result_from_tuple(plain, app)
        assert type(again) is type(result)
        assert json.loads(json.dumps(again.as_tuple())) == plain
        assert again == result
        assert result_from_tuple(result, app) is result
    (last,) = ((add.s(1) | add.s(2)).delay(),)
    assert last.parent is not None
    assert last.as_list() == [last.id, last.parent.id]


def test_a_long_chain_of_parents(app: TaskQ, add: AnyTask) -> None:
    steps = add.s(1)
    for _ in range(3_000):
        steps |= add.s(1)
    result = steps.delay()
    again = result_from_tuple(result.as_tuple(), app)
    assert len(again.as_list()) == 3_001
    result.forget()


# Groups that are kept


@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_a_saved_group(app: TaskQ, add: AnyTask, worker: SequentialWorker, serializer: str) -> None:
    app.conf.update(result_serializer=serializer)
    app._forget_cached()
    result = group(add.s(1), add.s(2) | add.s(3)).delay()
    assert result.save() is result
    again = GroupResult.restore(result.id, app=app)
    assert again is not None
    assert (again.id, again.as_tuple()) == (result.id, result.as_tuple())
    worker.run()
    assert again.get(timeout=0) == [1, 5]
    assert again == app.restore_group(result.id)
    again.delete()
    assert GroupResult.restore(result.id) is None
    result.save()
    result.forget()
    assert app.restore_group(result.id) is None
    assert [each.state for each in result] == ["PENDING", "PENDING"]


# Trees


@pytest.fixture
def family(app: TaskQ, add: AnyTask) -> AnyTask:
    @app.task(name="family", bind=True)
    def family(self: AnyTask, depth: int) -> int:
        if depth:
            group(self.s(depth - 1), add.s(depth, 100)).delay()
        return depth

    return family


def test_collecting(app: TaskQ, family: AnyTask, worker: SequentialWorker) -> None:
    result = family.delay(2)
    with pytest.raises(IncompleteStream, match="has not ended"):
        list(result.iterdeps())
    assert list(result.iterdeps(intermediate=True)) == [(None, result)]
    with pytest.raises(TimeoutError):
        list(result.collect(timeout=0))
    worker.run()
    values = [value for _, value in result.collect(timeout=0)]
    assert values == [2, [1, 102], 1, 102, [0, 101], 0, 101]
    assert result.get_leaf() == 101
    single = [v for r, v in result.collect() if isinstance(r, AsyncResult)]
    assert single == [2, 1, 102, 0, 101]


def test_a_graph(app: TaskQ, family: AnyTask, add: AnyTask, worker: SequentialWorker) -> None:
    result = (family.s(1) | add.s(1)).delay()
    assert len(result.graph) == 2
    with pytest.raises(IncompleteStream):
        result.build_graph()
    worker.run()
    assert result.parent is not None
    graph = result.parent.graph
    assert len(graph) == 5
    assert graph.topsort()[0] == result.parent
    assert result.parent in graph.edges()
    assert set(graph[result.parent]) >= {result}
    file = io.StringIO()
    text = graph.to_dot(file)
    assert text == file.getvalue()
    assert text.startswith("digraph")
    assert text.count("->") == 4
    picture = ET.fromstring(graph.to_svg())
    assert len(picture.findall(".//{http://www.w3.org/2000/svg}rect")) == 5
    assert len(picture.findall(".//{http://www.w3.org/2000/svg}path")) == 4


def test_graphs_of_anything() -> None:
    graph = DependencyGraph([("a", ["b", "c"]), ("b", ["c"]), ('<"\\>', [])])
    assert graph.topsort().index("c") > graph.topsort().index("b")
    assert graph["a"] == ["b", "c"]
    assert ("a" in graph, "x" in graph, list(graph)) == (True, False, ["a", "b", "c", '<"\\>'])
    assert "a -> b, c" in repr(graph)
    assert '\\"' in graph.to_dot()
    ET.fromstring(graph.to_svg())
    graph.add_edge("c", "a")
    with pytest.raises(CycleError, match="3 of these"):
        graph.topsort()
    ET.fromstring(DependencyGraph().to_svg())


# Callbacks


def test_then(app: TaskQ, add: AnyTask, worker: SequentialWorker) -> None:
    seen: list[Any] = []
    good, bad = add.delay(1), add.delay(-1)
    good.then(lambda result: seen.append(result.get()))
    bad.then(lambda result: seen.append("well"), on_error=lambda result: seen.append("badly"))
    many = ResultSet([good, bad])
    many.then(lambda results: seen.append("all"))
    worker.run()
    assert seen == []
    assert good.get(timeout=0) == 1
    assert bad.ready()
    assert seen == [1, "badly", "all"]
    good.then(lambda result: seen.append("again"))
    assert seen[-1] == "again"
    many.then(lambda results: seen.append("well"), on_error=lambda results: seen.append("bad"))
    assert seen[-1] == "bad"


def test_callbacks_of_get(app: TaskQ, add: AnyTask, worker: SequentialWorker) -> None:
    seen: list[Any] = []
    result = add.delay(1)
    with pytest.raises(TimeoutError):
        result.get(timeout=0.05, interval=0.01, on_interval=lambda: seen.append("waiting"))
    assert seen
    assert set(seen) == {"waiting"}
    seen.clear()
    worker.run()
    result.wait(callback=lambda key, value: seen.append((key, value)), on_message=seen.append)
    assert (seen[0]["status"], seen[1]) == ("SUCCESS", (result.id, 1))
    many = group(add.s(1), add.s(2)).delay()
    worker.run()
    seen.clear()
    assert many.join(callback=lambda key, value: seen.append(value), on_message=seen.append) == []
    assert seen[2:] == [1, 2]
    assert many.join_native() == [1, 2]


# Many


def test_what_a_set_can_do(app: TaskQ, add: AnyTask, worker: SequentialWorker) -> None:
    one, two, three = (add.delay(n) for n in range(3))
    many = app.ResultSet([one])
    many.add(two)
    many.update([two, three])
    assert len(many) == 3
    many.remove(two)
    many.discard(two.id)
    with pytest.raises(KeyError, match=two.id):
        many.remove(two)
    assert many.waiting()
    worker.run()
    assert (many.waiting(), many.get()) == (False, [0, 2])
    many.clear()
    assert (len(many), many.get(), many.ready()) == (0, [], True)
    assert (many.app, many.backend) == (app, app.backend)


def test_as_they_end(app: TaskQ, add: AnyTask, worker: SequentialWorker) -> None:
    many = group(add.s(n) for n in (1, -1, 3)).delay()
    iterator = many.as_completed(timeout=0.05)
    messages = app.broker.browse("default", 10)
    worker.settle(worker.report(messages[2]))
    assert next(iterator) is many[2]
    with pytest.raises(TimeoutError, match="2 of 3 results"):
        next(iterator)
    worker.run()
    assert set(many.as_completed(timeout=0)) == set(many)
    found = dict(many.iter_native(timeout=0))
    assert {key: document["status"] for key, document in found.items()} == {
        many[0].id: "SUCCESS",
        many[1].id: "FAILURE",
        many[2].id: "SUCCESS",
    }


async def test_as_they_end_on_a_loop(app: TaskQ, add: AnyTask, worker: SequentialWorker) -> None:
    many = group(add.s(n) for n in range(100)).delay()
    worker.run()
    assert sorted([await result async for result in many]) == list(range(100))
    again = app.restore_group(many.save().id)
    assert await again == list(range(100))
    assert [result async for result in again] == list(again)


def test_ten_thousand(app: TaskQ, add: AnyTask) -> None:
    many = group(add.s(n) for n in range(10_000)).delay()
    app.backend.store(
        [app.result_codec.encode(r.id, "SUCCESS", n) for n, r in enumerate(many.results)]
    )
    assert many.get(timeout=5) == list(range(10_000))
    assert sum(1 for _ in many.as_completed(timeout=5)) == 10_000
    many.forget()
    assert app.backend.fetch([result.id for result in many]) == {}


def test_revoking_many(app: TaskQ, add: AnyTask) -> None:
    many = group(add.s(1), group(add.s(2), add.s(3)) | add.s(4)).delay()
    many.revoke()
    assert set(app.broker.revoked()) == {each.id for each in many._singles()}


def test_errors_of_many(app: TaskQ, add: AnyTask, worker: SequentialWorker) -> None:
    many = group(add.s(1), add.s(-1)).delay()
    many.maybe_throw()
    worker.run()
    with pytest.raises(ValueError, match="-1"):
        many.maybe_throw()
    seen: list[Any] = []
    many.maybe_throw(propagate=False, callback=lambda key, value: seen.append(value))
    assert seen[0] == 1
    assert isinstance(seen[1], ValueError)
    assert many.failed()


# Waiting inside a task


def test_who_may_wait(app: TaskQ, add: AnyTask, worker: SequentialWorker) -> None:
    @app.task(name="waits")
    def waits(how: str) -> Any:
        result = group(add.s(1), add.s(2)).delay()
        if how == "allowed":
            with allow_join_result():
                return result.get(timeout=0, propagate=False)
        return result.get(timeout=0, disable_sync_subtasks=how != "said so")

    for how, error in (
        ("not allowed", RuntimeError),
        ("allowed", TimeoutError),
        ("said so", TimeoutError),
    ):
        result = waits.delay(how)
        worker.run()
        with pytest.raises(error):
            result.get(timeout=0)
    with denied_join_result(), pytest.raises(RuntimeError, match="never wait"):
        result.get(timeout=0)
