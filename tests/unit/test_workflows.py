"""Workflows of all kinds, run to their end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taskq import (
    GroupResult,
    Ignore,
    Signature,
    StampingVisitor,
    Task,
    TaskQ,
    chain,
    chord,
    chunks,
    group,
    xmap,
    xstarmap,
)
from taskq.exceptions import ChordError, ImproperlyConfigured, MaxRetriesExceededError
from taskq.message import TaskMessage
from tests.unit.sequential import SequentialWorker

AnyTask = Task[..., Any]


@pytest.fixture
def add(app: TaskQ) -> AnyTask:
    @app.task(name="add")
    def add(a: int, b: int = 0) -> int:
        return a + b

    return add


@pytest.fixture
def total(app: TaskQ) -> AnyTask:
    @app.task(name="total")
    def total(values: list[Any]) -> int:
        return sum(total(v) if isinstance(v, list) else v for v in values)

    return total


@pytest.fixture
def fail(app: TaskQ) -> AnyTask:
    @app.task(name="fail")
    def fail(*args: Any) -> None:
        raise ValueError("no")

    return fail


@pytest.fixture
def notes(app: TaskQ) -> list[Any]:
    """What the tasks "note" and "tell" were given."""
    notes: list[Any] = []

    @app.task(name="note")
    def note(value: Any) -> None:
        notes.append(value)

    @app.task(name="tell")
    def tell(request: Any, exc: Exception, traceback: str) -> None:
        notes.append((request.id, str(exc)))

    return notes


@pytest.fixture
def worker(app: TaskQ) -> SequentialWorker:
    return SequentialWorker(app)


def value(worker: SequentialWorker, signature: Signature, *args: Any) -> Any:
    result = signature.delay(*args)
    worker.run()
    return result.get(timeout=0)


# What | makes


def test_everything_follows_everything(
    add: AnyTask, total: AnyTask, worker: SequentialWorker
) -> None:
    many = group(add.s(1), add.s(2))
    both = group(total.s(), total.s())
    for signature, expected in [
        (add.s(1) | add.s(2) | add.s(3), 16),
        (many | total.s(), 23),
        (add.s(5) | many, [16, 17]),
        (add.s(5) | many | total.s(), 33),
        (many | both, [23, 23]),
        (many | both | total.s(), 46),
        (many | both | both | total.s(), 92),
        (many | total.s() | add.s(1) | many, [25, 26]),
        (many | total.s() | many | total.s(), 49),
        ((many | total.s()) | (many | total.s()), 49),
        ((add.s(1) | many) | (both | total.s()), 50),
        (chord(many, total.s()) | chord(many, total.s()), 49),
        (chord(many, both) | total.s() | add.s(4), 50),
        (group(many, add.s(3)) | total.s(), 36),
        (group(add.s(1) | many | total.s(), add.s(3)) | total.s(), 38),
        (group(add.s(1) | many, add.s(3)) | total.s(), 38),
        (chord([chord([chord(many, total.s()), add.s(1)], total.s())], total.s()), 34),
        (group(many | both, add.s(3)) | total.s() | add.s(1), 60),
        (group([add.s(7)]) | total.s(), 17),
        (group([]) | total.s(), 0),
        (add.s(5) | group([]) | total.s() | add.s(1), 1),
        (chord([], total.s()) | add.s(1), 1),
    ]:
        signature._app = add.app
        for each in (signature, Signature.from_dict(json.loads(json.dumps(signature)), add.app)):
            assert value(worker, each, 10) == expected, repr(signature)
        applied = signature.apply((10,))
        assert applied.get() == expected, repr(signature)


def test_ten_thousand_nodes(app: TaskQ, add: AnyTask, total: AnyTask) -> None:
    steps: Signature = add.s(0, 0)
    for _ in range(9_999):
        steps |= add.s(1)
    assert isinstance(steps, chain)
    assert len(steps) == 10_000
    result = steps.delay()
    (message,) = app.broker.browse("default", 10)
    app.broker.purge("default")
    depth = 0
    while result.parent is not None:
        result, depth = result.parent, depth + 1
    assert (result.id, depth) == (message.id, 9_999)

    many: Signature = group(add.s(1), add.s(2)) | total.s()
    for _ in range(2_500):
        many = many | group(add.s(1), add.s(2)) | total.s()
    many.delay()
    assert len(app.broker.browse("default", 10)) == 2
    app.broker.purge("default")

    published = []
    publish = app.broker.publish
    app.broker.publish = lambda messages: (published.append(len(messages)), publish(messages))[1]  # type: ignore[method-assign]
    wide: Any = (group(add.s(n, 1) for n in range(10_000)) | total.s()).delay()
    assert (published, len(wide.parent)) == ([10_000], 10_000)


def test_chords_deep_within_each_other(
    app: TaskQ, add: AnyTask, total: AnyTask, worker: SequentialWorker
) -> None:
    many = add.s(1, 0)
    for _ in range(2_000):
        many = chord([many], total.s())
    result = many.delay()
    worker.run()
    assert result.get(timeout=0) == 1


def test_a_long_workflow_is_not_in_each_member(app: TaskQ, add: AnyTask, total: AnyTask) -> None:
    steps = group(add.s(n) for n in range(100)) | total.s() | group(add.s(n) for n in range(100))
    steps.delay(1)
    messages = app.broker.browse("default", 1000)
    assert len(messages) == 100
    assert max(len(message.body) for message in messages) < 300


# One task over many arguments


def test_map_and_starmap(
    app: TaskQ, add: AnyTask, total: AnyTask, worker: SequentialWorker
) -> None:
    assert value(worker, add.map([1, 2, 3])) == [1, 2, 3]
    assert value(worker, xmap(add.s(5), (n for n in (1, 2)))) == [6, 7]
    assert value(worker, add.starmap([(1, 2), (3, 4)])) == [3, 7]
    assert value(worker, xstarmap(add, [(1, 2)]) | total.s()) == 3
    assert value(worker, add.starmap([(1, 2)]).clone().set(queue="default")) == [3]
    assert add.map([1, 2]).apply().get() == [1, 2]
    assert repr(add.map([1])) == "[add(x) for x in [1]]"
    assert repr(add.starmap([(1, 2)])) == "[add(*x) for x in [(1, 2)]]"
    assert worker.ran.count("add") == 0, "all in one message"

    @app.task(name="later")
    async def later(a: int) -> int:
        return a + 1

    assert value(worker, later.map([1, 2])) == [2, 3]


def test_chunks(app: TaskQ, add: AnyTask, total: AnyTask, worker: SequentialWorker) -> None:
    items = [(n, n) for n in range(5)]
    many = add.chunks(items, 2)
    assert value(worker, many) == [[0, 2], [4, 6], [8]]
    assert value(worker, Signature.from_dict(json.loads(json.dumps(many)), app)) == [
        [0, 2],
        [4, 6],
        [8],
    ]
    assert value(worker, many | total.s()) == 20
    assert value(worker, many.group()) == [[0, 2], [4, 6], [8]]
    assert many.apply().get() == [[0, 2], [4, 6], [8]]
    assert worker.ran.count("taskq.starmap") == 12
    result = chunks.apply_chunks(add.s(), items, 3)
    worker.run()
    assert result.get(timeout=0) == [[0, 2, 4], [6, 8]]
    assert [c["options"] for c in many.set(queue="slow").group().tasks] == [{}, {}, {}]
    many.set(queue="slow").delay()
    assert len(app.broker.browse("slow", 10)) == 3
    with pytest.raises(ValueError, match="chunks of 0"):
        add.chunks(items, 0)


def test_names_of_celery(app: TaskQ, add: AnyTask, worker: SequentialWorker) -> None:
    call = {"task": dict(add.s()), "it": [[1, 2], [3, 4]]}
    result = app.send_task("celery.starmap", kwargs=call)
    worker.run()
    assert result.get(timeout=0) == [3, 7]


# Copies


def test_what_a_signature_can_be_asked_and_told(app: TaskQ, add: AnyTask) -> None:
    one = add.s(1, b=2).set(queue="slow", root_id="r", parent_id="p")
    assert (one.type, one.root_id, one.parent_id) == (add, "r", "p")
    one.args, one.kwargs, one.options = [5], {"b": 6}, {"priority": 3}
    assert (one.args, one.kwargs, one.options) == ((5,), {"b": 6}, {"priority": 3})
    one.options["queue"] = "fast"
    one.kwargs["b"] = 7
    assert (one["options"], one["kwargs"]) == ({"priority": 3, "queue": "fast"}, {"b": 7})
    other = one.replace(args=(1,), options={})
    assert (other.args, other.kwargs, other.options) == ((1,), {"b": 7}, {})
    assert (one.partial((0,)).args, one.args) == ((0, 5), (5,))
    one.immutable = True
    assert one.immutable
    assert Signature("add", (1,), countdown=3).options == {"countdown": 3}
    one.extend_list_option("link", [add.s(1), add.s(2)])
    one.link(add.s(3).set(link=add.s(4)))
    assert [s.args for s in one.flatten_links()] == [(5,), (1,), (2,), (3,), (4,)]


def test_freezing(app: TaskQ, add: AnyTask, total: AnyTask, worker: SequentialWorker) -> None:
    one = add.s(1, 1)
    result = one.freeze("5", group_id="g", root_id="r", group_index=2)
    assert (result.id, one.id) == ("5", "5")
    assert one.options == {"task_id": "5", "group_id": "g", "root_id": "r", "group_index": 2}
    assert one.freeze().id == "5"
    for many in (
        add.s(1, 1) | add.s(2),
        group(add.s(1, 1), add.s(2, 2) | add.s(3)),
        chord([add.s(1, 1), add.s(2, 2)], total.s() | add.s(1)),
        add.s(1, 1) | group(add.s(1), add.s(2)) | total.s(),
    ):
        frozen = many.freeze()
        sent = many.delay()
        assert ids(sent) == ids(frozen)
        worker.run()
        assert frozen.get(timeout=0) == sent.get(timeout=0)


def ids(result: Any) -> list[Any]:
    found: list[Any] = []
    while result is not None:
        members = list(map(ids, result)) if isinstance(result, GroupResult) else None
        found.append((result.id, members))
        result = result.parent
    return found


def test_kinds_of_ones_own(app: TaskQ, add: AnyTask) -> None:
    @Signature.register_type("loud")
    class Loud(Signature):
        pass

    again = Signature.from_dict({**add.s(1), "subtask_type": "loud"}, app)
    assert isinstance(again, Loud)
    assert again.apply((1,)).get() == 2
    del Signature._kinds["loud"]


# Errbacks


def test_an_errback_of_a_chord_is_told_once(
    app: TaskQ, add: AnyTask, total: AnyTask, fail: AnyTask, notes: list[Any],
    worker: SequentialWorker,
) -> None:  # fmt: skip
    steps = chord([fail.s(), fail.s(), add.s(1)], total.s())
    assert steps.link_error(app.signature("tell")) is not None
    result = steps.delay(1)
    worker.run()
    with pytest.raises(ChordError):
        result.get(timeout=0)
    ((task_id, text),) = notes
    assert task_id == result.id
    assert "ValueError('no')" in text


def test_errbacks_of_the_members_as_well(
    app: TaskQ, add: AnyTask, total: AnyTask, fail: AnyTask, notes: list[Any],
    worker: SequentialWorker,
) -> None:  # fmt: skip
    app.conf.update(task_allow_error_cb_on_chord_header=True)
    steps = chord([fail.s(), add.s(1)], total.s())
    steps.link_error(app.signature("note"))
    result = steps.delay(1)
    worker.run()
    assert notes == [result.parent[0].id, result.id]


@pytest.mark.parametrize("where", ["chain", "group", "middle"])
def test_an_errback_of_a_whole(
    app: TaskQ, add: AnyTask, total: AnyTask, fail: AnyTask, notes: list[Any],
    worker: SequentialWorker, where: str,
) -> None:  # fmt: skip
    note = app.signature("note")
    kinds = {
        "chain": (add.s(1) | fail.s() | add.s(2)),
        "group": group(fail.s(), add.s(1)),
        "middle": chain(group(fail.s(), add.s(1)), group(total.s(), total.s()), total.s()),
    }
    kinds[where].on_error(note).delay(5)
    worker.run()
    assert len(notes) == 1


# Replacing


@pytest.fixture
def become(app: TaskQ) -> AnyTask:
    """Is replaced by the workflow that it is given, as many times as it is told."""

    @app.task(name="become", bind=True)
    def become(self: AnyTask, *args: Any, into: Any, times: int = 1) -> Any:
        if times > 1:
            return self.replace(self.s(*args, into=into, times=times - 1))
        return self.replace(Signature.from_dict(into, self.app).clone(args))

    return become


def workflows(add: AnyTask, total: AnyTask) -> dict[str, tuple[Signature, Any]]:
    many = group(add.s(1), add.s(2))
    return {
        "task": (add.s(1), 6),
        "chain": (add.s(1) | add.s(2), 8),
        "group": (many, [6, 7]),
        "empty group": (group([], app=add.app), []),
        "chord": (many | total.s(), 13),
        "chain with a group": (add.s(1) | many, [7, 8]),
        "map": (add.map([1, 2]), [1, 2]),
    }


KINDS = ["task", "chain", "group", "empty group", "chord", "chain with a group", "map"]


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["alone", "chain", "chord", "chain in a chord", "first"])
def test_a_replaced_task(
    app: TaskQ, add: AnyTask, total: AnyTask, become: AnyTask, notes: list[Any],
    worker: SequentialWorker, kind: str, where: str, times: int,
) -> None:  # fmt: skip
    into, expected = workflows(add, total)[kind]
    call = become.s(into=into, times=times)
    call.link(app.signature("note"))
    flat = [expected] if isinstance(expected, int) else expected
    if where == "alone":
        result, end = call.delay(5), expected
    elif where == "chain":
        result, end = (add.s(1) | call | add.map([1, 2]) | total.s()).delay(4), 3
    elif where == "first":
        result, end = (
            (call | total.s() if isinstance(expected, list) else call | add.s(1)).delay(5),
            (sum(flat) if isinstance(expected, list) else expected + 1),
        )
    elif where == "chord":
        result, end = (chord([call, add.s(1)], total.s()).delay(5), sum(flat) + 6)
    else:
        member = add.s(0) | call | total.si([50])
        result, end = chord([member, add.s(1)], total.s()).delay(5), 56
    worker.run()
    assert result.get(timeout=0) == end
    assert notes == [expected], "its callback is called once, with the end of all"
    assert app.backend.open_chords("", 9) == []


def test_a_replaced_task_that_fails(
    app: TaskQ, add: AnyTask, total: AnyTask, fail: AnyTask, become: AnyTask, notes: list[Any],
    worker: SequentialWorker,
) -> None:  # fmt: skip
    for into in (fail.s(), add.s(1) | fail.s() | add.s(2), group(fail.s(), add.s(1))):
        notes.clear()
        call = become.s(into=into).on_error(app.signature("note"))
        result = chord([call, add.s(1)], total.s()).delay(5)
        worker.run()
        with pytest.raises(ChordError):
            result.get(timeout=0)
        with pytest.raises((ValueError, ChordError)):
            result.parent[0].get(timeout=0)
        assert len(notes) == 1


def test_a_replacement_is_the_same_each_time(
    app: TaskQ, add: AnyTask, become: AnyTask, worker: SequentialWorker
) -> None:
    become.s(into=add.s(1) | group(add.s(1), add.s(2))).delay(5)
    (message,) = app.broker.browse("default", 2)
    first, second = (worker.report(message) for _ in range(2))
    assert first.state == "IGNORED"
    assert (first.outcome, first.part) == (None, None)
    assert [(m.id, m.once) for m in first.follow_ups] == [(m.id, m.once) for m in second.follow_ups]
    assert first.follow_ups[0].headers["replaced_task_nesting"] == 1


def test_what_cannot_replace(app: TaskQ, add: AnyTask, worker: SequentialWorker) -> None:
    @app.task(name="wrong", bind=True)
    def wrong(self: AnyTask, how: str) -> Any:
        return self.replace(add.s(1).set(chord={}) if how == "member" else chain(app=app))

    for how, text in (("member", "member of a chord"), ("empty", "an empty chain")):
        result = wrong.delay(how)
        worker.run()
        with pytest.raises(ImproperlyConfigured, match=text):
            result.get(timeout=0)


def test_a_replacement_that_cannot_be_sent(
    app: TaskQ, add: AnyTask, worker: SequentialWorker
) -> None:
    @app.task(name="odd", bind=True)
    def odd(self: AnyTask) -> Any:
        return self.replace(add.s(object()))

    result = odd.delay()
    worker.run()
    with pytest.raises(Exception, match="object"):
        result.get(timeout=0)


def test_replacing_here(app: TaskQ, add: AnyTask, total: AnyTask, become: AnyTask) -> None:
    for into, expected in workflows(add, total).values():
        assert become.apply((5,), {"into": into}).get() == expected
    assert (become.s(into=add.s(1)) | add.s(2)).apply((5,)).get() == 8


def test_on_replace(app: TaskQ, add: AnyTask, worker: SequentialWorker) -> None:
    seen = []

    class Watching(Task[..., Any]):
        name = "watching"

        def run(self) -> Any:
            return self.replace(add.s(1, 1))

        def on_replace(self, sig: Signature) -> Any:
            seen.append(sig)
            return super().on_replace(sig)

    assert value(worker, app.register_task(Watching).s()) == 2
    assert len(seen) == 1


# Members that join a chord


@pytest.mark.parametrize("what", ["task", "chain", "group", "lazy"])
def test_members_that_join(
    app: TaskQ, add: AnyTask, total: AnyTask, worker: SequentialWorker, what: str
) -> None:
    @app.task(name="invite", bind=True)
    def invite(self: AnyTask, count: int) -> int:
        more = {"chain": add.s(1, 1) | add.s(1), "group": group(add.s(1, 1), add.s(1, 0))}
        for _ in range(count):
            member = more.get(what, add.s(1, 2))
            if what == "lazy":
                self.add_to_chord(member, lazy=True).delay()
            else:
                self.add_to_chord(member)
        return 0

    result = chord([invite.s(2), add.s(1, 0), invite.s(1)], total.s()).delay()
    assert value_of(worker, result) == 1 + 3 * 3
    assert app.backend.open_chords("", 9) == []
    with pytest.raises(ValueError, match="no member of a chord"):
        value(worker, invite.s(1))


def value_of(worker: SequentialWorker, result: Any) -> Any:
    worker.run()
    return result.get(timeout=0)


def test_a_member_that_joins_twice_counts_once(app: TaskQ, add: AnyTask, total: AnyTask) -> None:
    """Its inviter runs again, as if a worker had died."""

    @app.task(name="invite", bind=True)
    def invite(self: AnyTask) -> int:
        self.add_to_chord(add.s(1, 2))
        return 0

    for seed in range(5):
        worker = SequentialWorker(app, seed)
        result = chord([invite.s(), add.s(1, 0), invite.s()], total.s()).delay()
        assert value_of(worker, result) == 7


# Stamps


class Stamper(StampingVisitor):
    """Notes what it visits, and stamps it."""

    def __init__(self) -> None:
        self.visited: list[str] = []

    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        self.visited.append(f"signature {sig.args}")
        return {"number": len(self.visited)}

    def on_group_start(self, group: Any, **headers: Any) -> dict[str, Any]:
        self.visited.append("group")
        return {"in_group": True}

    def on_group_end(self, group: Any, **headers: Any) -> None:
        self.visited.append("/group")

    def on_chain_start(self, chain: Any, **headers: Any) -> dict[str, Any]:
        self.visited.append("chain")
        return {"in_chain": True}

    def on_chain_end(self, chain: Any, **headers: Any) -> None:
        self.visited.append("/chain")

    def on_chord_header_start(self, sig: Any, **header: Any) -> dict[str, Any] | None:
        self.visited.append("chord")
        return super().on_chord_header_start(sig, **header)

    def on_chord_body(self, sig: Any, **header: Any) -> dict[str, Any]:
        self.visited.append("body")
        return {"body": True}

    def on_callback(self, callback: Any, **header: Any) -> dict[str, Any]:
        return {"callback": True}

    def on_errback(self, errback: Any, **header: Any) -> dict[str, Any]:
        return {"errback": True}


def test_the_way_of_a_visitor(app: TaskQ, add: AnyTask, total: AnyTask) -> None:
    visitor = Stamper()
    many = group(add.s(1), add.s(2)) | total.s() | add.s(3)
    (add.s(0) | many).stamp(visitor, customer="acme")
    assert visitor.visited == [
        "chain", "signature (0,)", "chord", "group", "signature (1,)", "signature (2,)", "/group",
        "body", "chain", "signature ()", "signature (3,)", "/chain", "/chain",
    ]  # fmt: skip


def test_stamps_travel(
    app: TaskQ, add: AnyTask, total: AnyTask, notes: list[Any], worker: SequentialWorker
) -> None:
    seen: dict[str, Any] = {}
    report = worker.report

    def noting(message: TaskMessage) -> Any:
        seen.setdefault(message.task, message.headers)
        return report(message)

    worker.report = noting  # type: ignore[method-assign]
    call = total.s()
    call.link(app.signature("note"))
    steps = add.s(0) | group(add.s(1), add.s(2)) | call
    steps.stamp(Stamper(), customer="acme")
    steps.delay(1)
    worker.run()
    assert seen["add"]["stamps"] == {"customer": "acme", "in_chain": True, "number": 2}
    assert sorted(seen["add"]["stamped_headers"]) == ["customer", "in_chain", "number"]
    assert seen["total"]["stamps"]["customer"] == "acme"
    assert seen["total"]["stamps"]["body"] is True
    assert seen["note"]["stamps"]["callback"] is True
    assert "customer" in seen["note"]["stamped_headers"]
    assert seen["taskq.chord"]["stamps"] == {}


def test_stamps_of_one_call(app: TaskQ, add: AnyTask) -> None:
    class One(StampingVisitor):
        def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
            return {"foo": "visitor", "queue": "slow", "stamped_headers": ["foo"]}

    one = add.s(1).set(stamped_headers=["own", "foo"], own=5, foo="own")
    assert one.stamp(One(), foo="given") is one
    assert (one.options["foo"], one.options["own"], one.options["queue"]) == ("given", 5, "slow")
    one = add.s(1).set(stamped_headers=["foo"], foo="own")
    one.stamp(One(), append_stamps=True, foo="given")
    assert one.options["foo"] == ["given", "visitor", "own"]
    assert one.clone(foo="changed").options["foo"] == one.options["foo"], "stamps stay"
    one.delay()
    (message,) = app.broker.browse("slow", 2)
    assert message.headers["stamps"] == {"foo": ["given", "visitor", "own"]}
    add.apply_async((1,), stamped_headers=["x"], x=1)  # type: ignore[call-overload]
    assert app.broker.browse("default", 2)[0].headers["stamps"] == {"x": 1}

    seen = []

    @app.task(bind=True)
    def look(self: AnyTask) -> None:
        seen.append((self.request.stamps, self.request.stamped_headers))

    look.s().stamp(a=1).apply()
    assert seen == [({"a": 1}, ["a"])]


# Odds and ends


def test_the_call_of_a_request(app: TaskQ, add: AnyTask, worker: SequentialWorker) -> None:
    found = []

    @app.task(name="look", bind=True)
    def look(self: AnyTask, a: int) -> int:
        found.append(self.signature_from_request(args=(a + 1,), priority=7))
        return a

    result = (look.s(1).set(priority=3, time_limit=9).stamp(x=1) | add.s(2)).delay()
    worker.run()
    (again,) = found
    assert again.args == (2,)
    assert again.id == result.parent.id
    options = again.options
    assert (options["priority"], options["time_limit"], options["x"]) == (7, 9, 1)
    assert [step["args"] for step in options["chain"]] == [[2]]


def test_children(app: TaskQ, add: AnyTask, total: AnyTask, worker: SequentialWorker) -> None:
    @app.task(name="parent", bind=True)
    def parent(self: AnyTask) -> int:
        add.delay(1, 1)
        (add.s(1, 1) | add.s(1)).delay()
        group(add.s(1, 1), add.s(2, 2)).delay()
        add.apply_async((1, 1), add_to_parent=False)
        return 1

    result = parent.delay()
    worker.run()
    one, two, three = result.children
    assert [one.get(timeout=0), two.get(timeout=0), three.get(timeout=0)] == [2, 2, [2, 4]]
    assert [child.get(timeout=0) for child in two.children] == [3]

    @app.task(name="alone", bind=True, trail=False)
    def alone(self: AnyTask) -> None:
        add.delay(1, 1)

    result = alone.delay()
    worker.run()
    assert result.children == []


def test_ignored_members(app: TaskQ, add: AnyTask, worker: SequentialWorker) -> None:
    @app.task(name="skip")
    def skip() -> None:
        raise Ignore

    assert value(worker, chord([skip.s(), add.s(1, 1)], add.map([]).set_immutable(True))) == []


# Retries within workflows


@pytest.fixture
def falter(app: TaskQ) -> AnyTask:
    """Fails until it has been retried as often as it is told."""

    @app.task(name="falter", bind=True, max_retries=3)
    def falter(self: AnyTask, value: Any, times: int, **options: Any) -> Any:
        if self.request.retries < times:
            raise self.retry(exc=ValueError("not yet"), countdown=0, **options)
        return value

    return falter


def test_retries_change_nothing(
    app: TaskQ, add: AnyTask, total: AnyTask, falter: AnyTask, become: AnyTask, notes: list[Any],
    worker: SequentialWorker,
) -> None:  # fmt: skip
    note = app.signature("note")
    for steps, expected in (
        (add.s(1) | falter.s(2) | add.s(1), 7),
        (chord([falter.s(3), add.s(1)], total.s()), 11),
        (chord([add.s(1) | falter.s(1), falter.s(2) | add.s(1)], falter.s(1)), [6, 6]),
        (become.s(into=add.s(1) | falter.s(2)) | add.s(1), 7),
        (group(falter.s(1), falter.s(2)) | total.s(), 10),
    ):
        notes.clear()
        call = steps.clone()
        call.link(note)
        assert value(worker, call, 5) == expected
        assert notes == [expected]
    assert app.backend.open_chords("", 9) == []


def test_a_replaced_task_may_be_retried_as_often_as_the_first(
    app: TaskQ, add: AnyTask, worker: SequentialWorker
) -> None:
    """Both have the same id: what follows them must not be taken for the same."""

    @app.task(name="both", bind=True)
    def both(self: AnyTask, first: bool) -> str:
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        if first:
            return self.replace(self.si(False))
        return "done"

    assert value(worker, both.s(True)) == "done"
    assert worker.ran.count("both") == 6


def test_a_member_without_retries_left(
    app: TaskQ, add: AnyTask, total: AnyTask, falter: AnyTask, worker: SequentialWorker
) -> None:
    result = chord([falter.s(4), add.s(1)], total.s()).delay(5)
    worker.run()
    with pytest.raises(ChordError, match="not yet"):
        result.get(timeout=0)
    assert worker.ran.count("falter") == 4


@pytest.mark.parametrize(
    ("args", "kwargs", "again", "expected"),
    [
        ((1,), {"b": 2}, {}, ((1,), {"b": 2})),
        ((1, 2), {}, {"args": (3,)}, ((3,), {})),
        ((1,), {"b": 2}, {"args": (3,)}, ((3,), {"b": 2})),
        ((), {"a": 1, "b": 2}, {"args": (3,)}, ((3,), {"b": 2})),
        ((1, 2), {}, {"kwargs": {"b": 3}}, ((1, 3), {})),
        ((1,), {"c": 4}, {"kwargs": {"b": 3}}, ((1,), {"b": 3})),
        ((1, 2), {}, {"args": (), "kwargs": {"a": 5}}, ((), {"a": 5})),
    ],
)
def test_other_arguments_at_a_retry(
    app: TaskQ, worker: SequentialWorker, args: Any, kwargs: Any, again: Any, expected: Any
) -> None:
    seen: list[Any] = []

    @app.task(name="look", bind=True)
    def look(self: AnyTask, a: int, b: int = 0, c: int = 0) -> None:
        if not self.request.retries:
            raise self.retry(countdown=0, **again)
        seen.append((tuple(self.request.args), dict(self.request.kwargs)))

    look.apply_async(args, kwargs)
    worker.run()
    assert seen == [expected]


def test_headers_that_travel(app: TaskQ, add: AnyTask, worker: SequentialWorker) -> None:
    seen: list[Any] = []

    @app.task(name="look", bind=True)
    def look(self: AnyTask, *args: Any) -> None:
        seen.append(
            (self.request.headers["customer"], self.request.customer, self.request.get("x", 1))
        )
        with pytest.raises(AttributeError, match="no_such_thing"):
            _ = self.request.no_such_thing
        if not self.request.retries:
            raise self.retry(countdown=0)

    look.apply_async(headers={"customer": "acme"})
    (add.s(1, 1) | look.s().set(headers={"customer": "acme"})).delay()
    worker.run()
    assert seen == [("acme", "acme", 1)] * 4


def test_the_last_arguments_are_told(app: TaskQ, worker: SequentialWorker) -> None:
    @app.task(name="tries", bind=True, max_retries=0)
    def tries(self: AnyTask, a: int) -> None:
        with pytest.raises(MaxRetriesExceededError) as caught:
            self.retry()
        assert (caught.value.task_args, caught.value.task_kwargs) == ((5,), {})
        raise caught.value

    result = tries.delay(5)
    worker.run()
    with pytest.raises(tries.MaxRetriesExceededError, match="Can't retry tries"):
        result.get(timeout=0)


def test_priorities_are_inherited(app: TaskQ, add: AnyTask, worker: SequentialWorker) -> None:
    app.conf.update(task_inherit_parent_priority=True)
    steps = add.s(1, 1).set(priority=7) | group(add.s(1), add.s(2).set(priority=2)) | add.map([])
    steps.delay()
    worker.settle(worker.report(*app.broker.browse("default", 5)))
    assert sorted(m.priority for m in app.broker.browse("default", 5) if m.headers["group"]) == [
        2,
        7,
    ]
