"""Groups and chords: what they are made of, and what is sent of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taskq import GroupResult, Signature, Task, TaskQ, chain, chord, group
from taskq.exceptions import ChordError
from taskq.message import TaskMessage, unpack


@pytest.fixture
def add(app: TaskQ) -> Task[..., Any]:
    @app.task(name="add")
    def add(a: int, b: int = 0, c: int = 0) -> int:
        return a + b + c

    return add


@pytest.fixture
def total(app: TaskQ) -> Task[..., Any]:
    @app.task(name="total")
    def total(values: list[int]) -> int:
        return sum(values)

    return total


@pytest.fixture
def fail(app: TaskQ) -> Task[..., Any]:
    @app.task(name="fail")
    def fail(*args: Any) -> None:
        raise ValueError("no")

    return fail


@pytest.fixture
def notes(app: TaskQ) -> list[Any]:
    """What the task "note" was given."""
    notes: list[Any] = []

    @app.task(name="note")
    def note(value: Any) -> None:
        notes.append(value)

    return notes


def sent(app: TaskQ, queue: str = "default") -> list[TaskMessage]:
    return app.broker.browse(queue, 100)


def content(app: TaskQ, message: TaskMessage) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    accept = frozenset({"application/json"})
    args, kwargs, embed = app.serializers.decode(message.body, "application/json", "utf-8", accept)
    return args, kwargs, embed


def following(app: TaskQ, message: TaskMessage) -> list[dict[str, Any]]:
    """The steps that follow the chord of a member, the last one first."""
    group_id = (message.headers.get("chord_place") or [message.headers["group"]])[0]
    record = app.backend.chord_record(group_id)
    assert record is not None
    chain: list[dict[str, Any]] = content(app, unpack(record))[2]["chain"]
    return chain


def args_of(signatures: list[Signature]) -> list[tuple[Any, ...]]:
    return [signature.args for signature in signatures]


# Groups


def test_ways_to_make_a_group(add: Task[..., Any]) -> None:
    members = [add.s(1), add.s(2), add.s(3)]
    made = [
        group(*members),
        group(members),
        group(tuple(members)),
        group(member for member in members),
        group(group(members[:2]), members[2]),
        group(json.loads(json.dumps(group(members)))),
        group([dict(member) for member in members]),
    ]
    for one in made:
        assert (one.subtask_type, len(one)) == ("group", 3)
        assert args_of(one.tasks) == [(1,), (2,), (3,)]
        assert repr(one) == "group([add(1), add(2), add(3)])"
    assert group(add.s(1)).tasks == [add.s(1)]
    assert group(json.loads(json.dumps(add.s(1)))).tasks == [add.s(1)]


def test_an_empty_group(app: TaskQ) -> None:
    nothing = group(app=app)
    assert (len(nothing), bool(nothing), nothing.tasks) == (0, True, [])
    result = nothing.delay()
    assert result.get(timeout=0) == []
    assert result.successful()
    assert sent(app) == []


def test_members_are_sent_with_their_places(app: TaskQ, add: Task[..., Any]) -> None:
    published = []
    publish = app.broker.publish
    app.broker.publish = lambda messages: (published.append(len(messages)), publish(messages))[1]  # type: ignore[method-assign]
    result = group(add.s(n) for n in range(3)).delay(10, c=5)
    messages = sent(app)
    assert published == [3]
    assert [message.id for message in messages] == [each.id for each in result]
    assert [message.headers["group"] for message in messages] == [result.id] * 3
    assert [message.headers["group_index"] for message in messages] == [0, 1, 2]
    assert [content(app, message)[:2] for message in messages] == [
        ([10, n], {"c": 5}) for n in range(3)
    ]
    assert [content(app, message)[2]["chord"] for message in messages] == [None] * 3


def test_options_of_a_group(app: TaskQ, add: Task[..., Any], fail: Task[..., Any]) -> None:
    own = add.s(2).set(priority=2).on_error(fail.si(1))
    whole = group(add.s(1), own, add.s(3) | add.s(4)).set(queue="slow")
    whole.link_error(fail.s())
    result = whole.apply_async(priority=1, task_id="g", link=add.s(100))
    first, second, third = sorted(sent(app, "slow"), key=lambda message: content(app, message)[0])
    assert result.id == "g"
    assert [m.headers["group"] for m in (first, second)] == ["g"] * 2
    assert len({m.id for m in (first, second, third)} | {"g"}) == 4
    assert [m.priority for m in (first, second, third)] == [1, 2, 1]
    errbacks = [content(app, m)[2]["errbacks"] for m in (first, second, third)]
    assert [len(each) for each in errbacks] == [1, 2, 1]
    callbacks = [content(app, m)[2]["callbacks"] for m in (first, second, third)]
    assert [bool(each) for each in callbacks] == [True, True, False]
    (step,) = content(app, third)[2]["chain"]
    assert [each["args"] for each in step["options"]["link"]] == [[100]]
    assert (step["options"]["group_id"], step["options"]["group_index"]) == ("g", 2)
    assert third.headers["group"] is None, "the last step is the member"
    assert own.options == {"priority": 2, "link_error": [fail.si(1)]}, "a copy is sent"


def test_arguments_of_a_clone(app: TaskQ, add: Task[..., Any]) -> None:
    group(add.s(1), add.s(2)).clone((10,), {"c": 5}).delay()
    assert [content(app, message)[:2] for message in sent(app)] == [
        ([10, 1], {"c": 5}),
        ([10, 2], {"c": 5}),
    ]


def test_skew(add: Task[..., Any]) -> None:
    many = group(add.s(n) for n in range(5))
    assert many.skew(start=1, stop=3, step=0.5) is many
    assert [each.options["countdown"] for each in many.tasks] == [1, 1.5, 2, 2.5, 1]
    assert [each.options["countdown"] for each in many.skew().tasks] == [1, 2, 3, 4, 5]


async def test_a_group_from_a_loop(app: TaskQ, add: Task[..., Any]) -> None:
    result = await group(add.s(1), add.s(2)).aapply_async()
    assert [message.id for message in sent(app)] == [each.id for each in result]


def test_calling_a_group_sends_it(app: TaskQ, add: Task[..., Any]) -> None:
    result = group(add.s(1), add.s(2))(5)
    assert isinstance(result, GroupResult)
    assert [content(app, message)[0] for message in sent(app)] == [[5, 1], [5, 2]]


def test_a_chain_without_tasks_is_no_member(app: TaskQ, add: Task[..., Any]) -> None:
    with pytest.raises(ValueError, match="without tasks"):
        group(add.s(1), chain(app=app)).delay()


def test_groups_among_many(app: TaskQ, add: Task[..., Any], total: Task[..., Any]) -> None:
    one, many, body, last = app.send_many(
        [add.s(1), group(add.s(2), add.s(3)), group(add.s(4)) | total.s(), add.s(5) | add.s(6)]
    )
    messages = sent(app)
    assert [content(app, message)[0] for message in messages] == [[1], [2], [3], [4], [5]]
    assert [message.id for message in messages[:4]] == [
        one.id,
        *(each.id for each in many),  # type: ignore[attr-defined]
        body.parent[0].id,
    ]
    assert following(app, messages[3])[0]["options"]["task_id"] == body.id
    assert last.parent.id == messages[4].id


# Chords


def header_of(one: Signature) -> list[Any]:
    assert isinstance(one, chord)
    return args_of(one.tasks)


def test_ways_to_make_a_chord(app: TaskQ, add: Task[..., Any], total: Task[..., Any]) -> None:
    members = [add.s(1), add.s(2)]
    made = [
        chord(members, total.s()),
        chord((member for member in members), total.s()),
        chord(group(members), total.s()),
        group(members) | total.s(),
        chord(json.loads(json.dumps(group(members))), total.s()),
        chord(json.loads(json.dumps(chord(members, total.s())))),
        chain(group(members), total.s()).tasks[0],
    ]
    for one in made:
        assert header_of(one) == [(1,), (2,)]
        assert isinstance(one, chord)
        assert one.body == total.s()
        assert one.subtask_type == "chord"
        assert repr(one) == "chord([add(1), add(2)], total())"
        assert one.app is app
    assert header_of(chord(add.s(1), total.s())) == [(1,)]


def test_they_come_back(app: TaskQ, add: Task[..., Any], total: Task[..., Any]) -> None:
    for one in (
        group(add.s(1), add.s(2) | add.s(3)).set(queue="slow"),
        group(add.s(1)) | total.s(),
        add.s(1) | group(add.s(2), add.s(3)) | total.s() | add.s(4),
        chord([chain(add.s(1), add.s(2))], chain(total.s(), add.s(3))),
    ):
        again = Signature.from_dict(json.loads(json.dumps(one)), app)
        assert type(again) is type(one)
        assert json.dumps(again) == json.dumps(one)
        assert again.app is app


def test_a_group_that_something_follows(add: Task[..., Any], total: Task[..., Any]) -> None:
    many = group(add.s(1), add.s(2))
    kinds = [
        [step.subtask_type or step.task for step in one.tasks]
        for one in (
            chain(many, total.s()),
            add.s(1) | many,
            add.s(1) | many | total.s(),
            add.s(1) | many | total.s() | add.s(3),
            add.s(1) | (many | total.s()),
            chain(many | total.s(), add.s(1)),
            chain(add.s(1), many, many),
        )
    ]
    assert kinds == [
        ["chord"],
        ["add", "group"],
        ["add", "chord"],
        ["add", "chord", "add"],
        ["add", "chord"],
        ["chord", "add"],
        ["add", "group", "group"],
    ]
    assert isinstance((many | many).body, group)  # type: ignore[attr-defined]


def test_what_is_sent_of_a_chord(app: TaskQ, add: Task[..., Any], total: Task[..., Any]) -> None:
    result = chord([add.s(1), add.s(2)], total.s().set(queue="slow")).apply_async((10,))
    first, second = sent(app)
    assert [message.id for message in (first, second)] == [each.id for each in result.parent]
    assert first.headers["group"] == second.headers["group"] == result.parent.id
    for index, message in enumerate((first, second)):
        args, _, embed = content(app, message)
        assert args == [10, index + 1]
        assert message.headers["group_index"] == index
        assert embed["chord"]["chord_size"] == 2
        assert message.headers["chord_place"] == [result.parent.id, index, 2]
        (body,) = following(app, message)
        assert (body["task"], body["options"]) == ("total", {"queue": "slow", "task_id": result.id})
    assert sent(app, "slow") == []


def test_options_of_a_chord(
    app: TaskQ, add: Task[..., Any], total: Task[..., Any], fail: Task[..., Any]
) -> None:
    whole = chord([add.s(1)], total.s()).set(queue="slow")
    whole.link(add.s(100))
    whole.link_error(fail.s())
    result = whole.apply_async(task_id="5", priority=3)
    (message,) = sent(app, "slow")
    embed = content(app, message)[2]
    assert (result.id, message.priority) == ("5", 3)
    assert message.id != "5"
    assert (embed["callbacks"], embed["errbacks"]) == (None, None), "they are the body's"
    options = following(app, message)[0]["options"]
    assert options["task_id"] == "5"
    assert [each["args"] for each in options["link"]] == [[100]]
    assert [each["task"] for each in options["link_error"]] == ["fail"]


def test_a_header_that_gets_its_body_later(
    app: TaskQ, add: Task[..., Any], total: Task[..., Any]
) -> None:
    header = chord([add.s(1)])
    result = header(total.s(), queue="slow")
    assert following(app, sent(app, "slow")[0])[0]["options"]["task_id"] == result.id
    assert header.body is None, "it can be used again"
    for use in (
        header.delay,
        header,
        header.apply,
        lambda: header | total.s() | add.s(1) and (header | total.s()).delay(),
        lambda: group(header, add.s(2)).delay(),
    ):
        with pytest.raises(ValueError, match="needs a body"):
            use()


def test_a_chord_without_members(app: TaskQ, total: Task[..., Any]) -> None:
    result = chord([], total.s()).delay()
    (message,) = sent(app)
    assert (message.id, content(app, message)[0]) == (result.id, [[]])
    steps = chord([], total.s() | total.s()).delay()
    assert steps.parent.id == sent(app)[1].id


async def test_chords_from_a_loop(app: TaskQ, add: Task[..., Any], total: Task[..., Any]) -> None:
    result = await chord([add.s(1), add.s(2)], total.s()).aapply_async()
    assert [message.id for message in sent(app)] == [each.id for each in result.parent]
    longer = await (group(add.s(3)) | total.s() | add.s(1)).aapply_async()
    assert sent(app)[2].id == longer.parent.parent[0].id
    empty = await chord([], total.s()).aapply_async()
    assert sent(app)[3].id == empty.id


def test_a_chord_that_more_follows(
    app: TaskQ, add: Task[..., Any], total: Task[..., Any], fail: Task[..., Any]
) -> None:
    steps = group(add.s(1), add.s(2)) | total.s().set(task_id="body").on_error(fail.s()) | add.s(3)
    result = steps.apply_async(queue="slow", task_id="last")
    messages = sent(app, "slow")
    assert result.id == "last"
    last, body = following(app, messages[0])
    assert [step["task"] for step in (body, last)] == ["total", "add"]
    assert [step["options"]["task_id"] for step in (body, last)] == ["body", "last"]
    assert body["options"]["link_error"][0]["task"] == "fail"


def test_a_chord_of_chains(app: TaskQ, add: Task[..., Any], total: Task[..., Any]) -> None:
    result = chord([add.s(1) | add.s(2), add.s(3)], total.s()).delay()
    first, second = sent(app)
    step = content(app, first)[2]["chain"][0]
    assert content(app, first)[2]["chord"] is None
    assert first.headers["chord_place"] == [result.parent.id, 0, 2], "of all steps"
    assert following(app, first)[0]["options"]["task_id"] == result.id
    assert (step["options"]["group_id"], step["options"]["group_index"]) == (result.parent.id, 0)
    assert step["options"]["task_id"] == result.parent[0].id
    assert second.headers["group_index"] == 1


@pytest.mark.parametrize("how", ["chord", "chain that begins", "chain that ends"])
def test_a_chord_within_a_chord(
    app: TaskQ, add: Task[..., Any], total: Task[..., Any], how: str
) -> None:
    inner = chord([add.s(1), add.s(2)], total.s().set(task_id="inner"))
    member: Signature = inner
    if how == "chain that begins":
        member = chord([add.s(1), add.s(2)], total.s()) | add.s(3).set(task_id="inner")
    elif how == "chain that ends":
        member = add.s(5) | inner
    result = chord([add.s(0), member], total.s().set(task_id="outer")).delay(10)
    messages = sent(app)
    assert result.id == "outer"
    assert result.parent[1].id == "inner"
    if how == "chain that ends":
        place = content(app, messages[1])[2]["chain"][0]["options"]
        assert content(app, messages[1])[0] == [10, 5]
    else:
        assert [content(app, message)[0] for message in messages] == [[10, 0], [10, 1], [10, 2]]
        assert {m.headers["group"] for m in messages[1:]}.isdisjoint({result.parent.id})
        assert messages[1].headers["chord_place"][2] == 2
        place = following(app, messages[1])[0]["options"]
    assert (place["group_id"], place["group_index"]) == (result.parent.id, 1)
    assert place["task_id"] == "inner"
    assert place["chord"]["chord_size"] == 2
    assert following(app, messages[0])[0]["options"]["task_id"] == "outer"


def test_a_member_that_ends_with_a_group(
    app: TaskQ, add: Task[..., Any], total: Task[..., Any]
) -> None:
    """It has one result all the same: the list of theirs."""
    many = add.s(1) | group(add.s(2), add.s(3))
    result = chord([many, add.s(4)], total.s()).delay()
    message, _ = sent(app)
    last, before = content(app, message)[2]["chain"]
    assert (last["task"], before["subtask_type"]) == ("taskq.accumulate", "group")
    assert last["options"]["task_id"] == result.parent[0].id
    assert message.headers["chord_place"] == [result.parent.id, 0, 2]
    first, second = group(many, add.s(4)).delay()
    assert isinstance(first, GroupResult)
    assert not isinstance(second, GroupResult)


def test_a_chain_that_ends_with_a_group(app: TaskQ, add: Task[..., Any]) -> None:
    result: Any = (add.s(1) | group(add.s(2), add.s(3))).delay()
    (message,) = sent(app)
    (step,) = content(app, message)[2]["chain"]
    assert isinstance(result, GroupResult)
    assert result.parent.id == message.id
    assert [each.id for each in result] == [
        member["options"]["task_id"] for member in step["kwargs"]["tasks"]
    ]
    after: Any = (group(add.s(1)) | group(add.s(2), add.s(3))).delay()
    (body,) = following(app, sent(app)[1])
    assert [each.id for each in after] == [
        member["options"]["task_id"] for member in body["kwargs"]["tasks"]
    ]


# Here and now


@pytest.fixture(params=["apply", "always eager"])
def here(app: TaskQ, request: pytest.FixtureRequest) -> Any:
    """Runs a signature in this process."""
    if request.param == "apply":
        return lambda signature, *args: signature.apply(args)
    app.conf.update(task_always_eager=True)
    return lambda signature, *args: signature.delay(*args)


def test_running_a_group_here(app: TaskQ, add: Task[..., Any], here: Any) -> None:
    result = here(group(add.s(1), add.s(2) | add.s(3)), 10)
    assert isinstance(result, GroupResult)
    assert result.get() == [11, 15]
    assert result.completed_count() == 2
    assert sent(app) == []


def test_running_chords_here(
    app: TaskQ, add: Task[..., Any], total: Task[..., Any], here: Any
) -> None:
    many = group(add.s(1), add.s(2))
    for signature, value in [
        (chord(many, total.s()), 23),
        (many | total.s() | add.s(4), 27),
        (add.s(5) | many | total.s(), 33),
        (add.s(5) | many | total.s() | add.s(1), 34),
        (chord([many | total.s(), add.s(3)], total.s()), 36),
        (chord([], total.s(), app=app), 0),
    ]:
        assert here(signature, 10).get() == value
    assert here(add.s(5) | many, 10).get() == [16, 17]
    assert here(many | group(total.s(), total.s()), 10).get() == [23, 23]
    assert sent(app) == []


async def test_running_them_here_from_a_loop(
    app: TaskQ, add: Task[..., Any], total: Task[..., Any]
) -> None:
    app.conf.update(task_always_eager=True)
    assert await (await chord([add.s(1), add.s(2)], total.s()).aapply_async()) == 3
    assert await (await group(add.s(1), add.s(2)).aapply_async()) == [1, 2]


def test_a_chord_that_fails_here(
    app: TaskQ,
    add: Task[..., Any],
    total: Task[..., Any],
    fail: Task[..., Any],
    notes: list[Any],
    here: Any,
) -> None:
    told: list[Any] = []

    @app.task
    def tell(request: Any, exc: Exception, traceback: str) -> None:
        told.append((request.id, str(exc)))

    body = total.s().set(task_id="body")
    body.link_error(app.signature("note"))
    body.link_error(tell.s())
    result = here(chord([add.s(1), fail.s()], body), 5)
    assert (result.id, result.state) == ("body", "FAILURE")
    with pytest.raises(ChordError, match=r"Dependency \S+ raised ValueError\('no'\)") as caught:
        result.get()
    assert (notes, told) == (["body"], [("body", str(caught.value))])

    longer = here(group(add.s(1), fail.s()) | body.clone() | add.s(3).set(task_id="last"), 5)
    assert (longer.id, longer.state) == ("body", "FAILURE"), "the first that does not succeed"
    assert notes == ["body", "body"]


def test_a_chord_that_raises_here(
    app: TaskQ, add: Task[..., Any], total: Task[..., Any], fail: Task[..., Any]
) -> None:
    failing = chord([add.s(1), fail.s()], total.s())
    with pytest.raises(ValueError, match="no"):
        failing.apply((5,), throw=True)
    app.conf.update(task_always_eager=True, task_eager_propagates=True)
    with pytest.raises(ValueError, match="no"):
        failing.delay(5)


def test_an_ignored_member_here(app: TaskQ) -> None:
    from taskq import Ignore

    @app.task
    def ignore() -> None:
        raise Ignore

    @app.task
    def same(values: Any) -> Any:
        return values

    assert chord([ignore.s(), ignore.s()], same.s()).apply().get() == [None, None]
