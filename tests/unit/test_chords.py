"""What becomes of a chord: what its members contribute, and the task that sends its body."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from taskq import Ignore, Reject, Signature, Task, TaskQ, chain, chord, group, states
from taskq.backends.base import ChordPart, ChordRecord, Outcome
from taskq.backends.disabled import DisabledBackend
from taskq.brokers.base import Fate
from taskq.canvas.chord import CHORD_TASK
from taskq.exceptions import ChordError, ImproperlyConfigured, TaskRevokedError
from taskq.execution import Report, Sentence, TaskRunner
from taskq.message import TaskMessage, unpack
from taskq.routing import Queue
from taskq.worker.chords import ChordKeeper

Run = Callable[..., Report]


@pytest.fixture
def work(app: TaskQ) -> Task[..., Any]:
    """Ends in the way that its first argument says."""

    @app.task(name="work", bind=True)
    def work(self: Task[..., Any], how: str, *rest: Any) -> Any:
        if how == "fail":
            raise ValueError("no")
        if how == "retry":
            raise self.retry(countdown=0, throw=True)
        if how == "ignore":
            raise Ignore
        if how in ("reject", "requeue"):
            raise Reject("no", requeue=how == "requeue")
        if how == "object":
            return object()
        return how

    return work


@pytest.fixture
def total(app: TaskQ) -> Task[..., Any]:
    @app.task(name="total")
    def total(values: list[Any]) -> Any:
        return values

    return total


@pytest.fixture
def told(app: TaskQ) -> list[Any]:
    """What the errback "tell" was told."""
    told: list[Any] = []

    @app.task(name="tell")
    def tell(task_id: str) -> None:
        told.append(task_id)

    return told


@pytest.fixture
def run(app: TaskQ) -> Run:
    """Runs a message as a child does."""

    def run(message: TaskMessage) -> Report:
        return TaskRunner(app, "worker@host").run(7, message, "q", 1)

    return run


def sent(app: TaskQ, queue: str = "default") -> list[TaskMessage]:
    return app.broker.browse(queue, 100)


def content(app: TaskQ, message: TaskMessage) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    accept = frozenset({"application/json"})
    args, kwargs, embed = app.serializers.decode(message.body, "application/json", "utf-8", accept)
    return args, kwargs, embed


def following(app: TaskQ, group_id: str) -> list[dict[str, Any]]:
    """What is kept of a chord: the steps that follow it, the last one first."""
    record = app.backend.chord_record(group_id)
    assert record is not None
    chain: list[dict[str, Any]] = content(app, unpack(record))[2]["chain"]
    return chain


def document(app: TaskQ, part: ChordPart) -> dict[str, Any]:
    return app.result_codec.decode(Outcome("", "", part.payload))


def member(app: TaskQ, work: Task[..., Any], how: str, **options: Any) -> TaskMessage:
    """The second of three members of a chord."""
    body = app.tasks["total"].s().set(task_id="body")
    chord(group([work.s(1), work.s(how).set(task_id="m", **options), work.s(3)]), body).set(
        group_id="g"
    ).delay()
    return sent(app)[1]


# What a member contributes


@pytest.mark.usefixtures("total")
@pytest.mark.parametrize("ignored", [None, True])
def test_a_success(app: TaskQ, work: Task[..., Any], run: Run, ignored: bool | None) -> None:
    report = run(member(app, work, "fine", ignore_result=ignored))
    part = report.part
    assert part is not None
    assert (part.group, part.index, part.size) == ("g", 1, 3)
    found = document(app, part)
    assert (found["task_id"], found["status"], found["result"]) == ("m", "SUCCESS", "fine")
    assert (report.outcome is None) is bool(ignored)


@pytest.mark.usefixtures("total")
def test_what_is_sent_after_the_last_one(app: TaskQ, work: Task[..., Any], run: Run) -> None:
    parts = [run(message).part for message in [member(app, work, "fine"), *sent(app)]]
    assert all(part is not None for part in parts)
    ends = [part.done for part in parts if part is not None]
    assert {end.id for end in ends} == {ends[0].id}, "whichever is the last"
    assert {end.once for end in ends} == {"g:chord"}
    assert (ends[0].task, ends[0].exchange, ends[0].routing_key) == (CHORD_TASK, "", "q")
    assert content(app, ends[0])[0] == ["g", 3]
    assert [step["task"] for step in following(app, "g")] == ["total"]


@pytest.mark.usefixtures("total")
@pytest.mark.parametrize(
    ("how", "status", "text"),
    [
        ("fail", "FAILURE", "ValueError"),
        ("object", "FAILURE", "EncodeError"),
        ("reject", "FAILURE", "Reject"),
    ],
)
def test_failures(
    app: TaskQ, work: Task[..., Any], run: Run, how: str, status: str, text: str
) -> None:
    part = run(member(app, work, how)).part
    assert part is not None
    found = document(app, part)
    assert (found["status"], found["result"]["exc_type"]) == (status, text)
    assert part.index == 1


@pytest.mark.usefixtures("total")
def test_one_that_is_ignored_counts(app: TaskQ, work: Task[..., Any], run: Run) -> None:
    part = run(member(app, work, "ignore")).part
    assert part is not None
    assert (document(app, part)["status"], document(app, part)["result"]) == ("SUCCESS", None)


@pytest.mark.usefixtures("total")
@pytest.mark.parametrize("how", ["retry", "requeue"])
def test_one_that_has_not_ended_contributes_nothing(
    app: TaskQ, work: Task[..., Any], run: Run, how: str
) -> None:
    report = run(member(app, work, how))
    assert report.part is None
    if how == "retry":
        (again,) = report.follow_ups
        assert again.headers["group_index"] == 1
        assert content(app, again)[2]["chord"]["chord_size"] == 3


def test_those_of_no_chord_contribute_nothing(
    app: TaskQ, work: Task[..., Any], total: Task[..., Any], run: Run
) -> None:
    group(work.s(1), work.s("fail"), work.s(1) | work.s(2), work.s("fail") | work.s(2)).delay()
    assert [run(message).part for message in sent(app)] == [None] * 4


@pytest.mark.usefixtures("total")
@pytest.mark.parametrize(
    "change",
    [None, [], ["g", 1], ["g", "1", 3], [None, 1, 3], ["g", -1, 3], ["g", 1, 0], "g", {}],
    ids=str,
)
def test_a_member_that_does_not_know_its_chord(
    app: TaskQ, work: Task[..., Any], run: Run, change: Any
) -> None:
    message = member(app, work, "fine")
    args, kwargs, embed = content(app, message)
    del embed["chord"]["chord_size"]
    message.body = json.dumps([args, kwargs, embed]).encode()
    message.headers["chord_place"] = change
    report = run(message)
    assert (report.state, report.part) == (states.SUCCESS, None)


@pytest.mark.parametrize("end", ["task", "chord", "chain in a chord's body"])
@pytest.mark.parametrize("how", ["fail", "reject", "fine"])
def test_a_chain_that_ends_early(
    app: TaskQ, work: Task[..., Any], total: Task[..., Any], run: Run, end: str, how: str
) -> None:
    last: Signature = work.s()
    if end == "chord":
        last = chord([work.s(), work.s()], total.s())
    elif end != "task":
        last = chord([work.s(), work.s()], chain(total.s(), work.s()))
    result = chord([work.s(how) | work.s() | last, work.s(1)], total.s()).delay()
    report = run(sent(app)[0])
    if how == "fine":
        assert report.part is None
        return
    assert report.part is not None
    assert (report.part.group, report.part.index) == (result.parent.id, 0)
    assert (report.part.size, document(app, report.part)["status"]) == (2, "FAILURE")
    ids = [outcome.task_id for outcome in report.never_run]
    assert (result.parent[0].id in ids) is (how == "fail")


# The end of one that did not run to its end


def pronounce(app: TaskQ, message: TaskMessage, error: str = "TaskRevokedError") -> Report:
    sentence = Sentence(states.REVOKED, error, "expired")
    return TaskRunner(app).pronounce(5, message, "q", sentence)


@pytest.mark.usefixtures("total", "told")
def test_whoever_must_know_is_told(app: TaskQ, work: Task[..., Any]) -> None:
    message = member(app, work, "fine", link_error=app.signature("tell"))
    report = pronounce(app, message)
    assert (report.ticket, report.fate, report.state) == (5, Fate.DONE, states.REVOKED)
    assert report.outcome is None, "the parent has it"
    (errback,) = report.follow_ups
    assert (errback.task, content(app, errback)[0]) == ("tell", ["m"])
    assert report.part is not None
    assert (report.part.index, report.part.done.routing_key) == (1, "q")
    assert document(app, report.part)["result"]["exc_type"] == "TaskRevokedError"


@pytest.mark.usefixtures("total", "told")
def test_errbacks_that_kill_are_left_out(app: TaskQ, work: Task[..., Any]) -> None:
    message = member(app, work, "fine", link_error=app.signature("tell"))
    sentence = Sentence(states.FAILURE, "WorkerLostError", "signal 9", quiet=True)
    report = TaskRunner(app).pronounce(5, message, "q", sentence)
    assert report.follow_ups == []
    assert report.part is not None


def test_later_steps_are_told(app: TaskQ, work: Task[..., Any]) -> None:
    result: Any = (work.s(1) | work.s() | group(work.s(), work.s() | work.s())).delay()
    report = pronounce(app, sent(app)[0])
    assert (report.follow_ups, report.part) == ([], None)
    ids = {outcome.task_id for outcome in report.never_run}
    assert ids == {result.parent.id, *(each.id for each in result)}
    app.backend.store(report.never_run)
    with pytest.raises(TaskRevokedError, match="expired"):
        result.get(timeout=1)


def test_a_task_that_nobody_knows_has_an_end_as_well(app: TaskQ) -> None:
    group_of = chord([app.signature("nowhere")], app.signature("elsewhere"))
    group_of.delay()
    assert pronounce(app, sent(app)[0], "NotRegistered").part is not None


@pytest.mark.parametrize("body", [b"", b"[]", b'[[], {}, {"chain": 5}]'])
def test_nobody_is_told_of_what_cannot_be_read(app: TaskQ, body: bytes) -> None:
    report = pronounce(app, TaskMessage({"id": "1", "task": "work"}, body))
    assert report == Report(5, Fate.DONE, states.REVOKED)


@pytest.mark.usefixtures("total")
def test_a_report_that_cannot_be_sent(app: TaskQ, work: Task[..., Any]) -> None:
    error = TypeError("no header")
    report = TaskRunner(app).withdraw(5, member(app, work, "fine"), "q", error)
    assert (report.fate, report.state) == (Fate.DEAD, states.FAILURE)
    assert report.part is not None
    assert document(app, report.part)["result"]["exc_message"] == ["no header"]
    unreadable = TaskRunner(app).withdraw(5, TaskMessage({"id": "1", "task": "t"}, b""), "q", error)
    assert (unreadable.fate, unreadable.part) == (Fate.DEAD, None)


# The task that sends the body


@pytest.fixture
def finish(app: TaskQ, run: Run) -> Callable[..., list[Report]]:
    """Runs the members of the one chord that was sent, and then the chord's own task."""

    def finish(times: int = 1) -> list[Report]:
        parts = [report.part for report in map(run, sent(app)) if report.part is not None]
        app.broker.purge("default")
        complete = app.backend.add_parts(parts[::-1])
        assert complete
        return [run(complete[0].done) for _ in range(times)]

    return finish


Finish = Callable[..., list[Report]]


def test_the_body_gets_the_results_in_order(
    app: TaskQ, work: Task[..., Any], total: Task[..., Any], finish: Finish, run: Run
) -> None:
    result = chord([work.s(n) for n in range(15)], total.s().set(queue="slow")).delay()
    (report,) = finish()
    assert (report.fate, report.state, report.outcome) == (Fate.DONE, states.SUCCESS, None)
    (message,) = sent(app, "slow")
    assert (message.id, message.task) == (result.id, "total")
    assert content(app, message)[0] == [list(range(15))]
    assert message.headers["parent_id"] is not None
    assert app.backend.chord_parts(result.parent.id) == {}
    assert run(message).state == states.SUCCESS


def test_a_second_run_does_nothing(
    app: TaskQ, work: Task[..., Any], total: Task[..., Any], finish: Finish,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    chord([work.s(1)], total.s()).delay()
    first, second = finish(times=2)
    assert (first.state, second.state) == (states.SUCCESS, states.SUCCESS)
    assert len(sent(app)) == 1
    assert "has been sent before" in caplog.text


@pytest.mark.parametrize("how", ["fine", "fail"])
def test_one_that_died_before_it_could_forget(
    app: TaskQ, work: Task[..., Any], total: Task[..., Any], told: list[Any], finish: Finish,
    monkeypatch: pytest.MonkeyPatch, how: str,
) -> None:  # fmt: skip
    """The parts are there still, and all of it is done again: with the same keys."""
    body = total.s().set(task_id="body").on_error(app.signature("tell"))
    chord([work.s(1), work.s(how)], body).delay()
    monkeypatch.setattr(app.backend, "forget_chord", lambda group: None)
    finish(times=3)
    (message,) = sent(app)
    assert message.task == ("total" if how == "fine" else "tell")
    if how == "fail":
        assert app.AsyncResult("body").state == "FAILURE"


def test_a_store_that_is_away_is_asked_again(
    app: TaskQ, work: Task[..., Any], total: Task[..., Any], finish: Finish, run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    chord([work.s(1)], total.s()).delay()
    publish = app.broker.publish

    def away(messages: Any) -> None:
        raise ConnectionError("away")

    monkeypatch.setattr(app.broker, "publish", away)
    (report,) = finish()
    assert report.state == states.RETRY
    monkeypatch.setattr(app.broker, "publish", publish)
    assert run(report.follow_ups[0]).state == states.SUCCESS
    assert len(sent(app)) == 1


def test_a_body_that_was_sent_before_the_retry(
    app: TaskQ, work: Task[..., Any], total: Task[..., Any], finish: Finish, run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    chord([work.s(1)], total.s()).delay()
    forget = app.backend.forget_chord

    def away(group: str) -> None:
        raise ConnectionError("away")

    monkeypatch.setattr(app.backend, "forget_chord", away)
    (report,) = finish()
    assert (report.state, len(sent(app))) == (states.RETRY, 1)
    monkeypatch.setattr(app.backend, "forget_chord", forget)
    assert run(report.follow_ups[0]).state == states.SUCCESS
    assert len(sent(app)) == 1


def test_a_failed_member(
    app: TaskQ, work: Task[..., Any], total: Task[..., Any], told: list[Any], finish: Finish
) -> None:
    calls = []

    @app.task(name="several")
    def several(request: Any, exc: Exception, traceback: str) -> None:
        calls.append((request.id, str(exc)))

    body = total.s().set(task_id="body").on_error(app.signature("tell")).on_error(several.s())
    result = chord([work.s(1), work.s("fail"), work.s("fail")], body).delay()
    failed = result.parent[1].id
    (report,) = finish()
    assert report.state == states.SUCCESS
    (errback,) = sent(app)
    assert (errback.task, content(app, errback)[0]) == ("tell", ["body"])
    with pytest.raises(ChordError, match=rf"^Dependency {failed} raised ValueError\('no'\)"):
        result.get(timeout=1)
    assert calls == [("body", f"Dependency {failed} raised ValueError('no')")]
    assert app.backend.chord_parts(result.parent.id) == {}


def test_all_that_wait_are_told(
    app: TaskQ, work: Task[..., Any], total: Task[..., Any], told: list[Any], finish: Finish
) -> None:
    body = total.s().on_error(app.signature("tell"))
    result: Any = (chord([work.s("fail")], body) | work.s() | group(work.s(), work.s())).delay()
    finish()
    assert [message.task for message in sent(app)] == ["tell"]
    results = [*result, result.parent, result.parent.parent]
    for each in results:
        with pytest.raises(ChordError):
            each.get(timeout=1)


@pytest.mark.parametrize("kind", ["group", "chord", "chain that begins with a chord"])
def test_a_body_of_several_tasks(
    app: TaskQ, work: Task[..., Any], total: Task[..., Any], finish: Finish, kind: str
) -> None:
    bodies: dict[str, Signature] = {
        "group": group(work.s(), work.s()),
        "chord": chord([work.s(), work.s()], total.s()),
        "chain that begins with a chord": chord([work.s(), work.s()], total.s()) | total.s(),
    }
    result: Any = chord([work.s(1), work.s(2)], bodies[kind]).delay()
    finish()
    first, second = sent(app)
    assert first.task == second.task == "work"
    assert content(app, first)[0] == content(app, second)[0] == [[1, 2]]
    assert (first.headers["group_index"], second.headers["group_index"]) == (0, 1)
    if kind == "group":
        assert [each.id for each in result] == [first.id, second.id]
    else:
        assert following(app, first.headers["group"])[0]["options"]["task_id"] == result.id


@pytest.mark.parametrize("kind", ["group", "chord"])
def test_a_body_of_several_tasks_that_never_run(
    app: TaskQ, work: Task[..., Any], total: Task[..., Any], finish: Finish, kind: str
) -> None:
    body: Signature = group(work.s(), work.s())
    if kind == "chord":
        body = chord([work.s(), work.s()], total.s())
    result: Any = chord([work.s("fail"), work.s(2)], body).delay()
    finish()
    with pytest.raises(ChordError):
        result.get(timeout=1)
    assert sent(app) == []


def test_a_chord_in_a_chord_that_fails(
    app: TaskQ, work: Task[..., Any], total: Task[..., Any], finish: Finish, run: Run
) -> None:
    inner = chord([work.s("fail"), work.s(2)], total.s().set(task_id="inner"))
    result = chord([inner], total.s().set(task_id="outer")).delay()
    finish()
    (message,) = sent(app, "q")
    assert (message.task, content(app, message)[0][:2]) == (CHORD_TASK, [result.parent.id, 1])
    run(message)
    for key in ("inner", "outer"):
        with pytest.raises(ChordError):
            app.AsyncResult(key).get(timeout=1)


def test_a_body_without_an_id(
    app: TaskQ, work: Task[..., Any], total: Task[..., Any], run: Run
) -> None:
    """As members have it along that software of another kind has sent."""
    app.backend.add_parts(
        [ChordPart("g", 0, 1, app.result_codec.encode("1", "SUCCESS", 5).payload, None)]  # type: ignore[arg-type]
    )
    body = {"task": "total"}
    run(app.producer.build(CHORD_TASK, ("g", 1), {"body": body}, {"task_id": "c"}))
    (message,) = sent(app)
    assert content(app, message)[0] == [[5]]


# Chords and groups that follow a task


def test_a_chord_that_follows_is_the_same_each_time(
    app: TaskQ, work: Task[..., Any], total: Task[..., Any], run: Run
) -> None:
    many = chord([work.s(n) for n in range(3)], total.s())
    (work.s("fine") | many).delay()
    first, second = (run(sent(app)[0]).follow_ups for _ in range(2))
    assert [content(app, message)[0] for message in first] == [["fine", n] for n in range(3)]
    for attribute in ("id", "once", "task"):
        assert [getattr(m, attribute) for m in first] == [getattr(m, attribute) for m in second]
    assert {m.headers["group"] for m in [*first, *second]} == {first[0].headers["group"]}
    assert len({m.id for m in first}) == len({m.once for m in first}) == 3


@pytest.mark.parametrize("how", ["callback", "errback"])
def test_many_as_callback_or_errback(
    app: TaskQ, work: Task[..., Any], total: Task[..., Any], run: Run, how: str
) -> None:
    for number, (after, count) in enumerate(
        [
            (group(work.s(), work.s()), 2),
            (chord([work.s(), work.s()], total.s()), 2),
            (chord([work.s(), work.s()], total.s()) | total.s(), 2),
            (chord([], total.s(), app=app), 1),
            (chord([chord([work.s(), work.s()], total.s()), work.s()], total.s()), 3),
        ]
    ):
        call = work.s("fine" if how == "callback" else "fail").set(queue=str(number))
        if how == "callback":
            call.link(after)
        else:
            call.link_error(after)
        call.delay()
        messages = run(sent(app, str(number))[0]).follow_ups
        assert len({message.once for message in messages}) == count
        assert len({message.id for message in messages}) == count


def test_documents_of_celery_within_a_chain(
    app: TaskQ, work: Task[..., Any], total: Task[..., Any], run: Run
) -> None:
    """There a group may stand before another step, without being a chord."""
    steps = [dict(work.s()), dict(total.s()), dict(group(work.s(), work.s()))]
    message = app.producer.build("work", ("fine",), {}, {"chain": steps}, work)
    first, second = run(message).follow_ups
    steps_after = following(app, first.headers["group"])
    assert [step["task"] for step in steps_after] == ["work", "total"]
    assert second.headers["group_index"] == 1


# Chords that are late


def test_a_body_whose_message_was_lost(
    app: TaskQ, work: Task[..., Any], total: Task[..., Any], run: Run
) -> None:
    result = chord([work.s(1), work.s(2)], total.s()).delay()
    chord([work.s(3), work.s(4)], total.s()).delay()  # one that waits for its members
    app.backend.add_parts([part for m in sent(app)[:2] if (part := run(m).part) is not None])
    keeper = ChordKeeper(app, "elsewhere")
    assert keeper.look() == 0, "it may just be on its way"
    assert keeper.look() == 1
    (message,) = sent(app, "elsewhere")
    app.broker.purge("default")
    run(message)
    (body,) = sent(app)
    assert (body.id, content(app, body)[0]) == (result.id, [[1, 2]])
    assert keeper.look() == keeper.look() == 0
    assert run(message).state == states.SUCCESS
    assert len(sent(app)) == 1


def test_many_chords_are_looked_at_in_turns(
    app: TaskQ, work: Task[..., Any], total: Task[..., Any], run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("taskq.worker.chords.AT_ONCE", 2)
    for _ in range(5):
        chord([work.s(1)], total.s()).delay()
    app.backend.add_parts([part for m in sent(app) if (part := run(m).part) is not None])
    keeper = ChordKeeper(app, "elsewhere")
    assert [keeper.look() for _ in range(6)] == [0, 0, 0, 2, 2, 1]
    assert len({message.once for message in sent(app, "elsewhere")}) == 5


def test_a_chord_that_is_too_old(
    app: TaskQ, work: Task[..., Any], total: Task[..., Any], told: list[Any], run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    body = total.s().on_error(app.signature("tell"))
    result = chord([work.s(1), work.s(2)], body).delay()
    part = run(sent(app)[0]).part
    assert part is not None
    app.backend.add_parts([part])
    keeper = ChordKeeper(app, "elsewhere")
    assert keeper.look() == 0
    now = time.time()
    monkeypatch.setattr("taskq.worker.chords.time.time", lambda: now + 0.95 * 30 * 86400)
    assert keeper.look() == 1
    app.broker.purge("default")
    run(sent(app, "elsewhere")[0])
    with pytest.raises(ChordError, match="1 of 2 members have ended within 30 days"):
        result.get(timeout=1)
    assert [message.task for message in sent(app)] == ["tell"]
    assert keeper.look() == 0


def test_what_is_kept_cannot_be_read(app: TaskQ, caplog: pytest.LogCaptureFixture) -> None:
    app.backend.keep_chords([ChordRecord("g", b"no message")])
    assert ChordKeeper(app, "q").look() == 0
    assert "chord g cannot be read" in caplog.text


# Errors that do not pass


@pytest.mark.parametrize("after", ["task", "group"])
def test_a_body_that_cannot_be_sent(
    app: TaskQ, work: Task[..., Any], total: Task[..., Any], told: list[Any], finish: Finish,
    after: str,
) -> None:  # fmt: skip
    """Not tried for ever: it has failed."""
    app.conf.update(task_create_missing_queues=False, task_queues=[Queue("default")])
    app._forget_cached()
    body: Signature = total.s().set(queue="nowhere")
    if after == "group":
        body = group(body, total.s())
    steps = chord([work.s(1)], body.on_error(app.signature("tell")))
    result: Any = steps.delay()
    (report,) = finish()
    assert (report.state, report.fate) == (states.SUCCESS, Fate.DONE)
    with pytest.raises(ChordError, match="what follows cannot be sent: QueueNotFound"):
        result.get(timeout=1)
    assert [message.task for message in sent(app)] == ["tell"]
    assert app.backend.open_chords("", 10) == []


def test_a_part_that_cannot_be_read(
    app: TaskQ, work: Task[..., Any], total: Task[..., Any], told: list[Any], run: Run
) -> None:
    result = chord([work.s(1)], total.s().on_error(app.signature("tell"))).delay()
    part = run(sent(app)[0]).part
    assert part is not None
    app.broker.purge("default")
    app.backend.add_parts([ChordPart(part.group, 0, 1, b"no document", part.done)])
    assert run(part.done).state == states.SUCCESS
    with pytest.raises(ChordError, match="DecodeError"):
        result.get(timeout=1)
    assert [message.task for message in sent(app)] == ["tell"]


def test_a_member_whose_body_cannot_be_read(
    app: TaskQ, work: Task[..., Any], total: Task[..., Any], run: Run
) -> None:
    chord([work.s(1), work.s(2) | work.s(3)], total.s()).delay()
    for index, message in enumerate(sent(app)):
        message.body = b"no JSON"
        report = run(message)
        assert (report.fate, report.state) == (Fate.DEAD, states.FAILURE)
        assert report.part is not None
        assert (report.part.index, report.part.size) == (index, 2)
        assert document(app, report.part)["result"]["exc_type"] == "DecodeError"
        pronounced = pronounce(app, message).part
        assert pronounced is not None
        assert pronounced.index == index


def test_a_store_that_cannot_count_says_so_at_once(
    app: TaskQ, work: Task[..., Any], total: Task[..., Any]
) -> None:
    app.use(app.broker, DisabledBackend())
    for many in (chord([work.s(1)], total.s()), work.s(1) | group(work.s(1)) | total.s()):
        with pytest.raises(ImproperlyConfigured, match="cannot count the members of a chord"):
            many.delay()
        with pytest.raises(ImproperlyConfigured, match="set result_backend"):
            app.send_many([many])
    assert sent(app) == []
    assert chord([], total.s(), app=app).delay().id == sent(app)[0].id, "there is nothing to count"
