"""Signatures and chains: calls as values."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taskq import Signature, Task, TaskQ, chain
from taskq.canvas.plan import make_plan
from taskq.message import TaskMessage


@pytest.fixture
def add(app: TaskQ) -> Task[..., Any]:
    @app.task(name="add")
    def add(a: int, b: int = 0, c: int = 0) -> int:
        return a + b + c

    return add


@pytest.fixture
def fail(app: TaskQ) -> Task[..., Any]:
    @app.task(name="fail")
    def fail(*args: Any) -> None:
        raise ValueError("no")

    return fail


def sent(app: TaskQ, queue: str = "default") -> list[TaskMessage]:
    return app.broker.browse(queue, 100)


def body(app: TaskQ, message: TaskMessage) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    accept = frozenset({"application/json"})
    args, kwargs, embed = app.serializers.decode(message.body, "application/json", "utf-8", accept)
    return args, kwargs, embed


# Signatures


def test_a_signature_is_plain_data(add: Task[..., Any]) -> None:
    signature = add.s(1, b=2).set(queue="slow")
    assert json.loads(json.dumps(signature)) == {
        "task": "add",
        "args": [1],
        "kwargs": {"b": 2},
        "options": {"queue": "slow"},
        "subtask_type": None,
        "immutable": False,
    }


def test_it_comes_back(app: TaskQ, add: Task[..., Any]) -> None:
    for signature in (add.s(1), add.si(1, c=5).set(priority=3), add.s(1) | add.s(2)):
        again = Signature.from_dict(json.loads(json.dumps(signature)), app)
        assert type(again) is type(signature)
        assert json.dumps(again) == json.dumps(signature)
        assert again.app is app


def test_ways_to_make_one(app: TaskQ, add: Task[..., Any]) -> None:
    same = [
        add.s(1, b=2),
        add.signature((1,), {"b": 2}),
        add.subtask((1,), {"b": 2}),
        app.signature("add", (1,), {"b": 2}),
        Signature("add", (1,), {"b": 2}),
        Signature(add, (1,), {"b": 2}),
    ]
    assert all(signature == same[0] for signature in same)
    assert all(signature.app is app for signature in same)
    options = add.signature((1,), immutable=True, queue="slow")
    assert (options.immutable, options.options) == (True, {"queue": "slow"})


def test_what_it_tells(add: Task[..., Any]) -> None:
    signature = add.si(1, b=2).set(task_id="5")
    assert (signature.task, signature.name, signature.id) == ("add", "add", "5")
    assert (signature.args, signature.kwargs) == ((1,), {"b": 2})
    assert signature.immutable
    assert repr(signature) == "add(1, b=2)"
    assert add.s().id is None


def test_given_arguments_come_first(add: Task[..., Any]) -> None:
    signature = add.s(2, c=3).set(priority=1)
    assert signature.merge((1,), {"c": 4}, {"priority": 2, "queue": "q"}) == (
        (1, 2),
        {"c": 4},
        {"priority": 2, "queue": "q"},
    )
    assert signature == add.s(2, c=3).set(priority=1)


def test_an_immutable_one_takes_none(add: Task[..., Any]) -> None:
    signature = add.si(2, c=3)
    assert signature.merge((1,), {"c": 4}, {"priority": 2}) == ((2,), {"c": 3}, {"priority": 2})
    assert signature.set_immutable(False).merge((1,))[0] == (1, 2)
    assert signature.set(immutable=True).merge((1,))[0] == (2,)


def test_a_clone_is_another(add: Task[..., Any]) -> None:
    signature = add.s(2).set(queue="slow")
    clone = signature.clone((1,), {"c": 3}, priority=4)
    assert (clone.args, clone.kwargs) == ((1, 2), {"c": 3})
    assert clone.options == {"queue": "slow", "priority": 4}
    clone.set(queue="fast").link(add.s())
    assert signature == add.s(2).set(queue="slow")


def test_calling_it(app: TaskQ, add: Task[..., Any]) -> None:
    assert add.s(2)(1, c=4) == 7
    assert add.s(2).apply((1,)).get() == 3
    first = add.s(2).delay(1, c=3)
    second = add.s(2).set(priority=5).apply_async((1,), queue="slow")
    assert body(app, sent(app)[0])[:2] == ([1, 2], {"c": 3})
    assert (sent(app)[0].id, sent(app, "slow")[0].id) == (first.id, second.id)
    assert sent(app, "slow")[0].priority == 5


async def test_calling_it_from_a_loop(app: TaskQ, add: Task[..., Any]) -> None:
    one = await add.s(2).aapply_async((1,))
    two = await (add.s(1) | add.s(2)).aapply_async()
    first, second = sent(app)
    assert first.id == one.id
    assert two.parent is not None
    assert second.id == two.parent.id


def test_links(add: Task[..., Any], fail: Task[..., Any]) -> None:
    signature = add.s(1)
    callback, errback = add.s(5), fail.s()
    assert signature.link(callback) is callback
    assert signature.link_error(errback) is errback
    assert signature.on_error(fail.si()) is signature
    signature.link(add.s(5))  # the same once more
    assert signature.options == {"link": [add.s(5)], "link_error": [fail.s(), fail.si()]}


def test_links_travel_with_the_message(app: TaskQ, add: Task[..., Any]) -> None:
    signature = add.s(1)
    signature.link(add.s(5))
    signature.delay()
    embed = body(app, sent(app)[0])[2]
    assert [callback["args"] for callback in embed["callbacks"]] == [[5]]
    assert embed["errbacks"] is None


# Chains


def test_three_ways_to_make_a_chain(add: Task[..., Any]) -> None:
    steps = [add.s(1), add.s(2), add.s(3)]
    made = [
        chain(*steps),
        chain(steps),
        steps[0] | steps[1] | steps[2],
        steps[0] | chain(steps[1:]),
    ]
    for one in made:
        assert isinstance(one, chain)
        assert [step.args for step in one.tasks] == [(1,), (2,), (3,)]
        assert repr(one) == "add(1) | add(2) | add(3)"
    joined = chain(add.s(1), add.s(2)) | chain(add.s(3), add.s(4))
    assert [step.args for step in joined.tasks] == [(1,), (2,), (3,), (4,)]


def test_a_chain_travels_with_its_first_step(app: TaskQ, add: Task[..., Any]) -> None:
    result = (add.s(1, 1) | add.s(2).set(queue="slow") | add.si(3)).delay()
    (message,) = sent(app)
    args, _, embed = body(app, message)
    assert args == [1, 1]
    assert [step["args"] for step in embed["chain"]] == [[3], [2]]  # the next one is the last
    assert embed["chain"][1]["options"]["queue"] == "slow"
    ids = []
    while result is not None:
        ids.append(result.id)
        result = result.parent  # type: ignore[assignment]
    assert ids == [
        embed["chain"][0]["options"]["task_id"],
        embed["chain"][1]["options"]["task_id"],
        message.id,
    ]
    assert message.headers["root_id"] == message.id


def test_arguments_are_for_the_first_step(app: TaskQ, add: Task[..., Any]) -> None:
    (add.s(2) | add.s(3)).apply_async((1,), {"c": 4})
    args, kwargs, embed = body(app, sent(app)[0])
    assert (args, kwargs) == ([1, 2], {"c": 4})
    assert embed["chain"][0]["args"] == [3]


def test_options_of_a_whole_chain(app: TaskQ, add: Task[..., Any], fail: Task[..., Any]) -> None:
    steps = add.s(1) | add.s(2).set(priority=2) | add.s(3)
    steps.link(add.s(100))
    steps.link_error(fail.s())
    steps.set(queue="slow")
    plan = make_plan(steps, options={"priority": 1, "task_id": "5", "countdown": 10})
    (first,) = plan.calls
    middle, last = first.options["chain"][::-1]
    options = [first.options, middle["options"], last["options"]]
    assert [each["queue"] for each in options] == ["slow"] * 3
    assert [each["priority"] for each in options] == [1, 2, 1]
    assert [each["link_error"] for each in options] == [[fail.s()]] * 3
    assert [each.get("link") for each in options] == [None, None, [add.s(100)]]
    assert [each.get("countdown") for each in options] == [10, None, None]
    assert options[2]["task_id"] == "5"
    results = [plan.result.parent.parent, plan.result.parent, plan.result]
    assert [each["task_id"] for each in options] == [result.id for result in results]
    assert steps.tasks[0] == add.s(1)


def test_a_chain_in_a_chain_keeps_its_options(add: Task[..., Any], fail: Task[..., Any]) -> None:
    inner = chain(add.s(2), add.s(3)).set(queue="slow").on_error(fail.s())
    inner.link(add.s(100))
    outer = add.s(1) | inner | add.s(4)
    assert [step.options.get("queue") for step in outer.tasks] == [None, "slow", "slow", None]
    assert ["link_error" in step.options for step in outer.tasks] == [False, True, True, False]
    assert [step.options.get("link") for step in outer.tasks] == [None, None, [add.s(100)], None]


def test_each_sending_has_ids_of_its_own(add: Task[..., Any]) -> None:
    steps = add.s(1) | add.s(2)
    first, second = steps.delay(), steps.delay()
    assert len({first.id, first.parent.id, second.id, second.parent.id}) == 4


@pytest.mark.parametrize("how", ["apply_async", "apply"])
def test_an_empty_chain(app: TaskQ, how: str) -> None:
    with pytest.raises(ValueError, match="without tasks"):
        getattr(chain(app=app), how)()


def test_running_a_chain_here(app: TaskQ, add: Task[..., Any]) -> None:
    notes = []

    @app.task
    def note(value: int) -> None:
        notes.append(value)

    steps = add.s(1) | add.s(10) | add.si(5, 5) | add.s(3)
    steps.link(note.s())
    result = steps.apply((1,), task_id="9")
    values = []
    each: Any = result
    while each is not None:
        values.append(each.get())
        each = each.parent
    assert values == [13, 10, 12, 2]
    assert result.id == "9"
    assert notes == [13]
    assert sent(app) == []


def test_a_chain_that_fails_here(app: TaskQ, add: Task[..., Any], fail: Task[..., Any]) -> None:
    notes = []

    @app.task
    def note(task_id: str) -> None:
        notes.append(task_id)

    @app.task
    def never(value: int) -> None:
        pytest.fail("it ran")

    steps = (add.s(1) | fail.s() | never.s()).on_error(note.s())
    result = steps.apply()
    assert result.failed()
    assert notes == [result.id]
    assert result.parent is not None
    assert result.parent.get() == 1
    with pytest.raises(ValueError, match="no"):
        steps.apply(throw=True)


def test_many_in_one_round_trip(app: TaskQ, add: Task[..., Any]) -> None:
    published = []
    publish = app.broker.publish
    app.broker.publish = lambda messages: (published.append(len(messages)), publish(messages))[1]  # type: ignore[method-assign]
    results = app.send_many([add.s(1), add.s(2) | add.s(3), app.signature("other")], priority=4)
    assert published == [3]
    messages = sent(app)
    assert [message.priority for message in messages] == [4, 4, 4]
    assert results[1].parent is not None
    assert [message.id for message in messages] == [
        results[0].id, results[1].parent.id, results[2].id,
    ]  # fmt: skip


async def test_many_from_a_loop(app: TaskQ, add: Task[..., Any]) -> None:
    results = await app.asend_many(add.s(n) for n in range(5))
    assert [message.id for message in sent(app)] == [result.id for result in results]
    assert app.send_many([]) == []
