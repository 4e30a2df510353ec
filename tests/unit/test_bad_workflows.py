"""Workflows that cannot be right say so when they are sent, and then nothing is sent of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from taskq import Task, TaskQ, chain, chord, group
from taskq.backends.disabled import DisabledBackend
from taskq.exceptions import EncodeError, ImproperlyConfigured
from taskq.exceptions import TimeoutError as TooLate

AnyTask = Task[..., Any]
Send = Callable[[AnyTask, AnyTask], Any]


@pytest.fixture
def add(app: TaskQ) -> AnyTask:
    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    return add


@pytest.fixture
def nothing(app: TaskQ) -> AnyTask:
    @app.task(name="nothing")
    def nothing() -> None: ...

    return nothing


WRONG: dict[str, Send] = {
    "the body of a chord": lambda add, nothing: chord([add.s(1, 1)], nothing.s()).delay(),
    "what follows a group": lambda add, nothing: (group([add.s(1, 1)]) | nothing.s()).delay(),
    "a body with an argument too many": lambda add, _: chord([add.s(1, 1)], add.s(1, 2)).delay(),
    "a body with another keyword": lambda add, _: chord([add.s(1, 1)], add.s(z=1)).delay(),
    "a step of a chain": lambda add, nothing: chain(add.s(1, 1), add.s(1), nothing.s()).delay(),
    "a member of a later group": lambda add, nothing: chain(
        add.s(1, 1), group([add.s(1), nothing.s()])
    ).delay(),
    "a chord within a chain": lambda add, nothing: chain(
        add.s(1, 1), chord([add.s(1)], nothing.s()), add.s(1)
    ).delay(),
    "a chain within a group": lambda add, nothing: group(
        [add.s(1, 1), chain(add.s(1, 1), nothing.s())]
    ).delay(),
    "a callback": lambda add, nothing: add.apply_async((1, 1), link=nothing.s()),
    "a callback of a later step": lambda add, nothing: chain(
        add.s(1, 1), add.s(1).set(link=[nothing.s()])
    ).delay(),
    "a first step without its arguments": lambda add, _: chain(add.s(1), add.s(1)).delay(),
    "many at once": lambda add, nothing: add.app.send_many([add.s(1, 1) | nothing.s()]),
}


@pytest.mark.parametrize("send", WRONG.values(), ids=WRONG)
def test_of_the_wrong_arity(app: TaskQ, add: AnyTask, nothing: AnyTask, send: Send) -> None:
    with pytest.raises(TypeError, match="cannot be called with these arguments"):
        send(add, nothing)
    assert app.broker.browse("default", 10) == []


RIGHT: dict[str, Send] = {
    "an immutable body": lambda add, nothing: chord([add.s(1, 1)], nothing.si()).delay(),
    "an immutable chain": lambda add, nothing: chain(add.s(1, 1), nothing.si(), add.si(1, 1))(),
    "an immutable callback": lambda add, nothing: add.apply_async((1, 1), link=nothing.si()),
    "a task that is known elsewhere": lambda add, _: chain(
        add.s(1, 1), add.app.signature("elsewhere", (1, 2, 3))
    ).delay(),
    "a map": lambda add, _: chain(add.s(1, 1), add.si(1, 1), add.starmap([(1, 2)])).delay(),
}


@pytest.mark.parametrize("send", RIGHT.values(), ids=RIGHT)
def test_of_the_right_arity(app: TaskQ, add: AnyTask, nothing: AnyTask, send: Send) -> None:
    send(add, nothing)
    assert app.broker.browse("default", 10)


def test_tasks_that_are_not_checked(app: TaskQ, add: AnyTask) -> None:
    @app.task(name="loose", typing=False)
    def loose() -> None: ...

    chain(add.s(1, 1), loose.s()).delay()
    assert len(app.broker.browse("default", 10)) == 1


@pytest.mark.parametrize("kind", ["chain", "group", "chord", "body", "link"])
def test_what_is_no_signature(app: TaskQ, add: AnyTask, kind: str) -> None:
    ways: dict[str, Callable[[], Any]] = {
        "chain": lambda: chain(add.s(1, 1), 5),  # type: ignore[arg-type]
        "group": lambda: group([add.s(1, 1), 5]),
        "chord": lambda: chord([5], add.s(1)),
        "body": lambda: chord([add.s(1, 1)], 5),  # type: ignore[arg-type]
        "link": lambda: add.s(1, 1).set(link=5),
    }
    with pytest.raises(TypeError, match=r"5 is no signature: write task\.s"):
        ways[kind]().delay()
    assert app.broker.browse("default", 10) == []


@pytest.mark.parametrize("where", ["first", "later", "member", "body"])
def test_an_argument_that_cannot_be_encoded(app: TaskQ, add: AnyTask, where: str) -> None:
    bad = add.s(object()) if where in ("later", "body") else add.s(1, object())
    ways = {
        "first": chain(bad, add.s(1)),
        "later": chain(add.s(1, 1), bad),
        "member": group([add.s(1, 1), bad]),
        "body": chord([add.s(1, 1)], bad),
    }
    with pytest.raises(EncodeError, match=r"cannot serialize builtins:object at data"):
        ways[where].delay()
    assert app.broker.browse("default", 10) == []


def test_a_store_without_chords(app: TaskQ, add: AnyTask) -> None:
    app.use(app.broker, DisabledBackend())
    with pytest.raises(ImproperlyConfigured, match="cannot count the members of a chord"):
        chord([add.s(1, 1)], add.s(1)).delay()
    assert app.broker.browse("default", 10) == []


def test_a_result_that_is_gone(app: TaskQ, add: AnyTask) -> None:
    with pytest.raises(TooLate, match="has it not expired"):
        app.AsyncResult("of-yesterday").get(timeout=0.01)
