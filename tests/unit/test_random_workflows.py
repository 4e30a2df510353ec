"""Random workflows, run on the memory broker, mean what a plain sequential program says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskq import Signature, Task, TaskQ, chain, chord, group
from tests.unit.sequential import SequentialWorker

Node = tuple[Any, ...]
"""A workflow as plain data: ("add", n), ("si", n), ("fail",), ("become", node), ("chain", nodes),
("pipe", nodes), ("group", nodes) or ("chord", nodes, node)."""


class FailedError(Exception):
    """A step has failed."""


def total(value: Any) -> int:
    return sum(map(total, value)) if isinstance(value, list) else value


def meaning(node: Node, value: Any) -> Any:
    """What a workflow makes of a value."""
    kind = node[0]
    if kind == "add":
        return total(value) + node[1]
    if kind == "si":
        return node[1]
    if kind == "fail":
        raise FailedError
    if kind == "become":
        return meaning(node[1], value)
    if kind in ("chain", "pipe"):
        for step in node[1]:
            value = meaning(step, value)
        return value
    if kind == "group":
        return members(node[1], value)
    return meaning(node[2], members(node[1], value))


def members(nodes: list[Node], value: Any) -> list[Any]:
    """The values of a group's members, all of which run, whichever fails."""
    found: list[Any] = []
    failed = False
    for node in nodes:
        try:
            each = meaning(node, value)
        except FailedError:
            failed = True
            continue
        # The members of a group within the group are members of this one.
        found += each if node[0] == "group" else [each]
    if failed:
        raise FailedError
    return found


def ends_with_a_group(node: Node) -> bool:
    if node[0] in ("chain", "pipe"):
        return ends_with_a_group(node[1][-1])
    return node[0] == "group" or (node[0] == "chord" and ends_with_a_group(node[2]))


class World:
    """An app with the tasks that such workflows are made of."""

    def __init__(self) -> None:
        self.app = app = TaskQ("random", broker="memory://", set_as_current=False)
        self.notes: list[str] = []

        @app.task(name="add")
        def add(value: Any, n: int) -> int:
            return total(value) + n

        @app.task(name="constant")
        def constant(n: int) -> int:
            return n

        @app.task(name="fail")
        def fail(value: Any) -> None:
            raise ValueError("no")

        @app.task(name="become", bind=True)
        def become(self: Task[..., Any], value: Any, into: Any) -> Any:
            return self.replace(Signature.from_dict(into, app).clone((value,)))

        @app.task(name="note")
        def note(task_id: str) -> None:
            self.notes.append(task_id)

    def build(self, node: Node) -> Signature:
        kind, tasks = node[0], self.app.tasks
        if kind == "add":
            return tasks["add"].s(node[1])
        if kind == "si":
            return tasks["constant"].si(node[1])
        if kind == "fail":
            return tasks["fail"].s()
        if kind == "become":
            return tasks["become"].s(json.loads(json.dumps(self.build(node[1]))))
        if kind == "chain":
            return chain(*map(self.build, node[1]), app=self.app)
        if kind == "pipe":
            first, *rest = map(self.build, node[1])
            for step in rest:
                first = first | step
            return first
        many = group([self.build(each) for each in node[1]], app=self.app)
        return many if kind == "group" else chord(many, self.build(node[2]), app=self.app)


def several(nodes: st.SearchStrategy[Node], least: int) -> st.SearchStrategy[list[Node]]:
    return st.lists(nodes, min_size=least, max_size=4)


numbers = st.integers(0, 9)
leaves: st.SearchStrategy[Node] = st.one_of(
    st.tuples(st.just("add"), numbers),
    st.tuples(st.just("add"), numbers),
    st.tuples(st.just("si"), numbers),
    st.tuples(st.just("fail")),
)
workflows: st.SearchStrategy[Node] = st.recursive(
    leaves,
    lambda nodes: st.one_of(
        st.tuples(st.just("chain"), several(nodes, 1)),
        st.tuples(st.just("pipe"), several(nodes, 2)),
        st.tuples(st.just("group"), several(nodes, 0)),
        st.tuples(st.just("chord"), several(nodes, 0), nodes),
        st.tuples(st.just("become"), nodes),
    ),
    max_leaves=12,
)


def check(node: Node, seed: int | None, through_json: bool) -> None:
    world = World()
    app = world.app
    signature = world.build(node)
    if through_json:
        signature = Signature.from_dict(json.loads(json.dumps(signature)), app)
    signature.link_error(app.signature("note"))
    try:
        expected = meaning(node, 5)
        failed = False
    except FailedError:
        failed = True
    result: Any = signature.delay(5)
    worker = SequentialWorker(app, seed)
    worker.run()
    if failed:
        with pytest.raises(Exception):  # noqa: B017, PT011 - the error, or a ChordError because of it
            result.get(timeout=0)
        if not ends_with_a_group(node):
            # An errback runs twice only as any task does, when its worker dies.
            assert len(set(world.notes) if seed is not None else world.notes) == 1
    else:
        assert result.get(timeout=0) == expected
        assert world.notes == []
    assert app.backend.open_chords("", 9) == [], "every chord has come to its end"


LOOSE = settings(
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@settings(LOOSE, max_examples=150)
@given(workflows, st.none() | st.integers(0, 1000), st.booleans())
def test_a_random_workflow(node: Node, seed: int | None, through_json: bool) -> None:
    check(node, seed, through_json)


@pytest.mark.slow
@pytest.mark.timeout(600)
@settings(LOOSE, max_examples=5000)
@given(workflows, st.none() | st.integers(0, 1000), st.booleans())
def test_many_random_workflows(node: Node, seed: int | None, through_json: bool) -> None:
    check(node, seed, through_json)


@settings(LOOSE, max_examples=100)
@given(workflows)
def test_a_random_workflow_here(node: Node) -> None:
    world = World()
    try:
        expected = meaning(node, 5)
    except FailedError:
        with pytest.raises(Exception):  # noqa: B017, PT011 - as above
            world.build(node).apply((5,)).get()
        return
    assert world.build(node).apply((5,)).get() == expected
