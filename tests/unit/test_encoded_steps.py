"""The further steps of a long chain are passed on as bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from taskq import Task, TaskQ, chain, chord, group, states
from taskq.encoded_steps import EncodedSteps, open_long
from tests.unit.sequential import SequentialWorker


def body(count: int, padding: int = 300, **embed: Any) -> bytes:
    steps = [{"task": "t", "args": ["x" * padding, n], "options": {}} for n in range(count)]
    parts = {"callbacks": None, "errbacks": None, "chain": steps, "chord": None, **embed}
    return json.dumps([[1, "a"], {"b": 2}, parts], separators=(",", ":")).encode()


def test_a_long_chain_is_left_as_it_is() -> None:
    long = body(100, callbacks=[{"task": "c"}])
    args, kwargs, embed = open_long(long, json.loads)
    assert (args, kwargs, embed["callbacks"]) == ([1, "a"], {"b": 2}, [{"task": "c"}])
    steps = embed["chain"]
    assert isinstance(steps, EncodedSteps)
    expected = json.loads(long)[2]["chain"]
    assert (len(steps), steps[0], steps[-1]) == (100, expected[0], expected[-1])
    assert steps == expected
    assert steps[2:4] == expected[2:4]
    assert list(reversed(steps)) == expected[::-1]
    rest, following = steps.split()
    assert (following, len(rest)) == (expected[-1], 99)
    assert rest.into(body(0).replace(b"[]", b"null")) == body(99)
    assert rest.into(b"[[],{},{}]") is None


@pytest.mark.parametrize(
    "other", [b"", b"[]", body(3), body(5, 3000), body(100)[:-1], b"x" + body(100)], ids=len
)
def test_the_usual_way_for_all_else(other: bytes) -> None:
    assert open_long(other, json.loads) is None


@pytest.fixture
def add(app: TaskQ) -> Task[..., Any]:
    @app.task(name="add")
    def add(a: Any, b: Any, padding: str = "") -> Any:
        return a + b

    return add


def long_chain(add: Task[..., Any], *extra: Any, count: int = 60) -> Any:
    return chain(add.s(0), *[add.s(1, padding="x" * 200) for _ in range(count)], *extra)


def test_chains_that_are_long(app: TaskQ, add: Task[..., Any]) -> None:
    @app.task(name="look", bind=True)
    def look(self: Task[..., Any], value: Any, again: bool = False) -> Any:
        steps = self.request.chain
        assert isinstance(steps, Sequence)
        assert steps[-1]["task"] == "add"
        if again and not self.request.retries:
            raise self.retry(countdown=0)
        return value

    for extra, expected in (
        ((), 60),
        ((group(add.s(1), add.s(2)), add.map([])), []),
        ((chord([add.s(1), add.s(2)], add.s([5])),), [61, 62, 5]),
        ((add.s(Decimal("0.5")),), Decimal("60.5")),
    ):
        for first in (add.s(0), look.s(), look.s(again=True)):
            steps = first | long_chain(add, *extra)
            worker = SequentialWorker(app)
            result = steps.delay(0)
            worker.run()
            assert result.get(timeout=0) == expected


def test_a_long_chain_that_fails_is_told_to_all(app: TaskQ, add: Task[..., Any]) -> None:
    result = long_chain(add).apply_async(("no number",))
    SequentialWorker(app).run()
    node, count = result, 0
    while node is not None:
        assert node.state == states.FAILURE
        node, count = node.parent, count + 1
    assert count == 61


def test_a_long_chain_in_another_serializer(app: TaskQ, add: Task[..., Any]) -> None:
    app.conf.update(accept_content=["json", "msgpack"])
    steps = [dict(add.s(1).set(serializer="msgpack")), dict(add.s(1))] * 40
    message = app.producer.build("add", ("x" * 9000, "y"), {}, {"chain": steps}, add)
    report = SequentialWorker(app).report(message)
    (following,) = report.follow_ups
    assert following.content_type == "application/json"
    second = app.producer.build("add", (1, 2, "x" * 9000), {}, {"chain": steps[:-1]}, add)
    (following,) = SequentialWorker(app).report(second).follow_ups
    assert following.content_type == "application/x-msgpack"
    args, _, embed = app.serializers.decode(following.body, following.content_type)
    assert (args, len(embed["chain"])) == ([3, 1], 78)


def test_a_step_that_cannot_follow(app: TaskQ, add: Task[..., Any]) -> None:
    steps = [dict(add.s(1)) for _ in range(100)]
    for place in (0, -1):
        broken: list[Any] = [*steps]
        broken[place] = {"no": "signature"}
        message = app.producer.build("add", (1, 2, "x" * 9000), {}, {"chain": broken}, add)
        assert SequentialWorker(app).report(message).state == states.FAILURE
