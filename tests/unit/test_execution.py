"""One execution: from a message to all that must be settled with it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest

from taskq import Ignore, Reject, Retry, Task, TaskQ, signals, states
from taskq.backends.base import Outcome
from taskq.brokers.base import Fate
from taskq.exceptions import MaxRetriesExceededError
from taskq.execution import Report, TaskRunner
from taskq.message import TaskMessage

Run = Callable[..., Report]


@pytest.fixture
def run(app: TaskQ) -> Run:
    """Runs a task as a child does: ``run(task, 1, 2, link=...)``."""

    def run(task: Task[..., Any] | TaskMessage, *args: Any, **options: Any) -> Report:
        message = task
        if not isinstance(message, TaskMessage):
            kwargs = options.pop("kwargs", {})
            message = app.producer.build(task.name, args, kwargs, options, app.tasks.get(task.name))
        return TaskRunner(app, "worker@host", verbose=True).run(7, message, "q", 1)

    return run


def result(app: TaskQ, report: Report) -> Any:
    assert report.outcome is not None
    return app.result_codec.decode(report.outcome)


def arguments(app: TaskQ, message: TaskMessage) -> tuple[list[Any], dict[str, Any]]:
    args, kwargs, _ = app.serializers.decode(
        message.body, message.content_type, "utf-8", frozenset({"application/json"})
    )
    return args, kwargs


# It returns


def test_success(app: TaskQ, run: Run) -> None:
    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    report = run(add, 1, kwargs={"b": 2}, task_id="1")
    assert (report.ticket, report.fate, report.state) == (7, Fate.DONE, states.SUCCESS)
    assert (report.text, report.traceback, report.reason) == ("3", None, "")
    assert report.runtime > 0
    assert report.follow_ups == []
    document = result(app, report)
    assert (document["task_id"], document["status"], document["result"]) == ("1", "SUCCESS", 3)
    assert document["date_done"]


def test_coroutines(app: TaskQ, run: Run) -> None:
    @app.task
    async def add(a: int, b: int) -> int:
        await asyncio.sleep(0)
        return a + b

    assert result(app, run(add, 1, 2))["result"] == 3


def test_long_texts_are_cut(app: TaskQ, run: Run) -> None:
    @app.task(resultrepr_maxsize=10)
    def produce() -> str:
        return "x" * 100

    assert run(produce).text == "'xxxxxx..."


def test_a_result_whose_text_fails(app: TaskQ, run: Run) -> None:
    class Shy(int):
        def __repr__(self) -> str:
            raise RuntimeError("no")

    @app.task(ignore_result=True)
    def produce() -> int:
        return Shy(1)

    report = run(produce)
    assert report.state == states.SUCCESS
    assert "Shy" in report.text


@pytest.mark.parametrize(
    ("setting", "option", "call", "kept"),
    [
        (False, None, None, True),
        (False, True, None, False),
        (True, None, None, False),
        (True, False, None, True),
        (False, True, False, True),
        (False, False, True, False),
    ],
)
def test_ignore_result(
    app: TaskQ, run: Run, setting: bool, option: bool | None, call: bool | None, kept: bool
) -> None:
    app.conf.update(task_ignore_result=setting)

    @app.task(ignore_result=option)
    def add() -> int:
        return 3

    assert (run(add, ignore_result=call).outcome is not None) is kept


def test_ignore_result_of_a_task_that_the_sender_does_not_know(app: TaskQ, run: Run) -> None:
    @app.task(name="proj.add", ignore_result=True)
    def add() -> int:
        return 3

    with TaskQ("sender", broker="memory://", set_as_current=False) as sender:
        message = sender.producer.build("proj.add", (), {}, {})
    assert run(message).outcome is None


@pytest.mark.parametrize("keep", ["option", "setting", None])
def test_errors_can_be_stored_even_if_ignored(app: TaskQ, run: Run, keep: str | None) -> None:
    app.conf.update(task_store_errors_even_if_ignored=keep == "setting")
    options: dict[str, Any] = {"store_errors_even_if_ignored": True} if keep == "option" else {}

    @app.task(ignore_result=True, **options)
    def fail() -> None:
        raise ValueError

    assert (run(fail).outcome is not None) is bool(keep)


def test_extended_results(app: TaskQ, run: Run) -> None:
    app.conf.update(result_extended=True)

    @app.task(name="add")
    def add(a: int, b: int) -> int:
        return a + b

    document = result(app, run(add, 1, kwargs={"b": 2}))
    assert document["name"] == "add"
    assert (document["args"], document["kwargs"]) == ([1], {"b": 2})
    assert (document["worker"], document["retries"], document["queue"]) == ("worker@host", 0, "q")


@pytest.mark.parametrize("option", [True, False, None])
@pytest.mark.parametrize("setting", [True, False])
def test_started(app: TaskQ, option: bool | None, setting: bool) -> None:
    app.conf.update(task_track_started=setting)
    outcomes: list[Outcome] = []

    @app.task(track_started=option)
    def add() -> int:
        assert len(outcomes) == (setting if option is None else option)
        return 1

    message = app.producer.build(add.name, (), {}, {}, add)
    report = TaskRunner(app, "worker@host", on_start=outcomes.append).run(1, message, "q", 1)
    assert report.state == states.SUCCESS
    if outcomes:
        assert outcomes[0].state == states.STARTED
        assert app.result_codec.decode(outcomes[0])["result"]["hostname"] == "worker@host"


def test_started_is_not_told_if_the_result_is_ignored(app: TaskQ) -> None:
    @app.task(track_started=True, ignore_result=True)
    def add() -> int:
        return 1

    outcomes: list[Outcome] = []
    message = app.producer.build(add.name, (), {}, {}, add)
    TaskRunner(app, on_start=outcomes.append).run(1, message, "q", 1)
    assert outcomes == []


def test_a_result_that_cannot_be_encoded_is_a_failure(app: TaskQ, run: Run) -> None:
    runs = []

    @app.task(autoretry_for=(Exception,))
    def produce() -> object:
        runs.append(1)
        return object()

    report = run(produce)
    assert (report.state, report.follow_ups) == (states.FAILURE, [])
    assert "EncodeError" in report.text
    assert result(app, report)["result"]["exc_type"] == "EncodeError"


# The request


def test_what_a_task_knows_of_its_execution(app: TaskQ, run: Run) -> None:
    seen: dict[str, Any] = {}

    @app.task(bind=True)
    def look(self: Task[..., Any], a: int) -> None:
        request = self.request
        for name in (
            "id", "task", "args", "kwargs", "retries", "hostname", "queue", "root_id", "parent_id",
            "is_eager", "called_directly", "delivery_info", "correlation_id", "timelimit", "stamps",
            "group", "origin", "deliveries", "properties",
        ):  # fmt: skip
            seen[name] = getattr(request, name)
        assert app.current_task is self

    run(look, 5, task_id="1", priority=3, headers={"mine": 1}, time_limit=9)
    assert (seen["id"], seen["root_id"], seen["parent_id"]) == ("1", "1", None)
    assert (seen["args"], seen["kwargs"], seen["retries"]) == ([5], {}, 0)
    assert (seen["hostname"], seen["queue"]) == ("worker@host", "q")
    assert not seen["is_eager"]
    assert not seen["called_directly"]
    assert seen["delivery_info"]["priority"] == 3
    assert seen["timelimit"] == [9, None]
    assert seen["properties"]["correlation_id"] == "1"
    assert look.request.called_directly
    assert app.current_task is None


def test_tasks_sent_by_a_task_are_its_children(app: TaskQ, run: Run) -> None:
    @app.task(name="add")
    def add(a: int, b: int) -> int:
        return a + b

    children = []

    @app.task(bind=True)
    def parent(self: Task[..., Any]) -> None:
        add.delay(1, 2)
        add.apply_async((1, 2), add_to_parent=False)
        children.extend(self.request.children)

    run(parent, task_id="1", root_id="0")
    first, second = app.broker.browse("default", 10)
    assert first.headers["parent_id"] == second.headers["parent_id"] == "1"
    assert first.headers["root_id"] == "0"
    assert [child.id for child in children] == [first.id]


# It raises


def test_failure(app: TaskQ, run: Run) -> None:
    @app.task
    def fail() -> None:
        raise ValueError("no good", 5)

    report = run(fail)
    assert (report.fate, report.state) == (Fate.DONE, states.FAILURE)
    assert report.text == "ValueError('no good', 5)"
    assert report.traceback
    assert "in fail" in report.traceback
    assert "taskq/execution.py" not in report.traceback
    document = result(app, report)
    assert document["result"] == {
        "exc_type": "ValueError", "exc_message": ["no good", 5], "exc_module": "builtins",
    }  # fmt: skip
    assert document["traceback"] == report.traceback


def test_expected_exceptions_have_no_traceback_in_the_log(app: TaskQ, run: Run) -> None:
    @app.task(throws=(KeyError,))
    def fail() -> None:
        raise KeyError("no good")

    report = run(fail)
    assert (report.state, report.traceback) == (states.FAILURE, None)
    assert result(app, report)["traceback"]


@pytest.mark.parametrize(("setting", "option"), [(False, None), (True, False), (False, False)])
def test_a_failure_that_is_not_acknowledged(
    app: TaskQ, run: Run, setting: bool, option: bool | None
) -> None:
    app.conf.update(task_acks_on_failure=setting)

    @app.task(acks_on_failure=option)
    def fail() -> None:
        raise ValueError("no good")

    report = run(fail)
    assert (report.fate, report.state) == (Fate.DEAD, states.FAILURE)
    assert "acks_on_failure" in report.reason
    assert report.outcome is not None


def test_ignore(app: TaskQ, run: Run) -> None:
    @app.task
    def ignore() -> None:
        raise Ignore

    report = run(ignore)
    assert (report.fate, report.state) == (Fate.DONE, states.IGNORED)
    assert (report.outcome, report.follow_ups) == (None, [])


@pytest.mark.parametrize(("requeue", "fate"), [(False, Fate.DEAD), (True, Fate.REQUEUE)])
def test_reject(app: TaskQ, run: Run, requeue: bool, fate: Fate) -> None:
    @app.task(autoretry_for=(Exception,))
    def reject() -> None:
        raise Reject("not today", requeue=requeue)

    report = run(reject)
    assert (report.fate, report.state, report.outcome) == (fate, states.REJECTED, None)
    assert "not today" in report.reason


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit])
def test_other_ends_are_failures(app: TaskQ, run: Run, error: type[BaseException]) -> None:
    @app.task
    def fail() -> None:
        raise error

    assert run(fail).state == states.FAILURE


@pytest.mark.parametrize("exit", [SystemExit, KeyboardInterrupt])
def test_exits_come_through(app: TaskQ, run: Run, exit: type[BaseException]) -> None:
    @app.task
    def leave() -> None:
        raise exit

    with pytest.raises(exit):
        run(leave)
    assert app.current_task is None


class Unprintable(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


@pytest.mark.parametrize("error", [Unprintable("x"), ValueError(Unprintable("x"))])
def test_exceptions_without_a_text(app: TaskQ, run: Run, error: Exception) -> None:
    @app.task
    def fail() -> None:
        raise error

    report = run(fail)
    assert report.state == states.FAILURE
    assert result(app, report)["result"]["exc_type"] == type(error).__name__


def test_extended_results_of_what_cannot_be_encoded(app: TaskQ, run: Run) -> None:
    app.conf.update(result_extended=True, accept_content=["json", "pickle"])

    @app.task(name="look", serializer="pickle")
    def look(value: Any) -> None:
        if value:
            raise ValueError(value)

    for value, state in ((3 + 4j, states.FAILURE), (0j, states.SUCCESS)):
        report = run(look, value)
        assert report.state == state
        assert result(app, report)["args"] == f"({value},)"


# It is run again


def test_retry(app: TaskQ, run: Run) -> None:
    @app.task(bind=True, default_retry_delay=50)
    def again(self: Task[..., Any], a: int) -> None:
        raise self.retry(exc=ValueError("not yet"))

    first = app.producer.build(
        again.name, (1,), {}, {"task_id": "1", "priority": 4, "headers": {"mine": 1}}, again
    )
    report = run(first)
    assert (report.fate, report.state) == (Fate.DONE, states.RETRY)
    assert "ValueError('not yet')" in report.text
    (message,) = report.follow_ups
    assert (message.id, message.task) == ("1", again.name)
    assert message.headers["retries"] == 1
    assert message.headers["mine"] == 1
    assert (message.routing_key, message.priority) == ("q", 4)
    assert message.body == first.body
    assert message.once
    assert message.due is not None
    assert message.headers["eta"] is not None
    assert result(app, report)["result"]["exc_type"] == "ValueError"
    second = run(message)
    assert second.follow_ups[0].headers["retries"] == 2
    assert second.follow_ups[0].once != message.once


def test_retry_with_other_arguments(app: TaskQ, run: Run) -> None:
    @app.task(bind=True)
    def again(self: Task[..., Any], a: int, b: int = 0) -> None:
        self.retry((a + 1,), {"b": 5}, countdown=3, queue="slow", priority=9)

    (message,) = run(again, 1).follow_ups
    assert arguments(app, message) == ([2], {"b": 5})
    assert (message.routing_key, message.priority) == ("slow", 9)


def test_what_follows_survives_a_retry(app: TaskQ, run: Run) -> None:
    @app.task(name="add")
    def add(a: int, b: int) -> int:
        return a + b

    @app.task(bind=True)
    def again(self: Task[..., Any], a: int) -> int:
        if self.request.retries == 0:
            self.retry((a + 1,), compression=None)
        return a

    options = {
        "link": add.s(1),
        "link_error": add.si(1, 2),
        "chain": [dict(add.s(2))],
        "compression": "zlib",
    }
    (message,) = run(again, 1, **options).follow_ups
    callback, step = run(message).follow_ups
    assert arguments(app, callback) == ([2, 1], {})
    assert arguments(app, step) == ([2, 2], {})


def test_no_retries_left(app: TaskQ, run: Run) -> None:
    @app.task(bind=True, max_retries=2)
    def again(self: Task[..., Any], tell: bool) -> None:
        self.retry(exc=ValueError("why") if tell else None)

    report = run(again, True, retries=2)
    assert (report.state, report.text) == (states.FAILURE, "ValueError('why')")
    report = run(again, False, retries=2)
    assert report.state == states.FAILURE
    assert MaxRetriesExceededError.__name__ in report.text
    assert run(again, False, retries=1).state == states.RETRY


def test_without_an_end(app: TaskQ, run: Run) -> None:
    @app.task(bind=True, max_retries=None)
    def again(self: Task[..., Any]) -> None:
        self.retry()

    assert run(again, retries=10_000).state == states.RETRY


def test_only_retry_sends_it_again(app: TaskQ, run: Run) -> None:
    @app.task
    def again() -> None:
        raise Retry("please")

    report = run(again)
    assert (report.state, report.follow_ups) == (states.FAILURE, [])
    assert "self.retry" in report.text


def test_a_retry_that_does_not_end_the_run(app: TaskQ, run: Run) -> None:
    @app.task(bind=True)
    def again(self: Task[..., Any]) -> int:
        assert isinstance(self.retry(throw=False), Retry)
        return 3

    report = run(again)
    assert (report.state, len(report.follow_ups)) == (states.SUCCESS, 1)


class Flaky(ValueError):
    pass


def test_autoretry(app: TaskQ, run: Run) -> None:
    @app.task(autoretry_for=(ValueError,), dont_autoretry_for=(Flaky,), default_retry_delay=20)
    def fail(kind: str) -> None:
        raise {"again": ValueError, "never": Flaky, "other": KeyError}[kind]("no")

    report = run(fail, "again")
    assert report.state == states.RETRY
    assert report.follow_ups[0].headers["retries"] == 1
    assert run(fail, "never").state == states.FAILURE
    assert run(fail, "other").state == states.FAILURE
    report = run(fail, "again", retries=3)
    assert (report.state, report.text) == (states.FAILURE, "ValueError('no')")


def test_autoretry_keeps_to_its_own_arguments(app: TaskQ, run: Run) -> None:
    @app.task(autoretry_for=(ValueError,), retry_kwargs={"max_retries": 1, "countdown": 500})
    def fail() -> None:
        raise ValueError("no")

    before = time.time()
    (message,) = run(fail).follow_ups
    assert message.due is not None
    assert before + 500 <= message.due <= time.time() + 500
    assert run(fail, retries=1).state == states.FAILURE


@pytest.mark.parametrize(
    ("backoff", "maximum", "delays"),
    [
        (True, 600, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]),
        (3, 600, [3, 6, 12, 24, 48, 96, 192, 384, 600]),
        (0.5, 2, [0.5, 1, 2, 2]),
        (False, 600, [None, None]),
    ],
)
def test_backoff(
    app: TaskQ, backoff: bool | float, maximum: float, delays: list[float | None]
) -> None:
    @app.task(retry_backoff=backoff, retry_backoff_max=maximum, retry_jitter=False)
    def fail() -> None: ...

    assert [fail.backoff(n) for n in range(len(delays))] == delays
    assert fail.backoff(10_000) == (maximum if backoff else None)


def test_jitter_is_between_nothing_and_all(app: TaskQ) -> None:
    @app.task(retry_backoff=10, retry_jitter=True)
    def fail() -> None: ...

    delays = [fail.backoff(2) for _ in range(500)]
    assert all(delay is not None and 0 <= delay <= 40 for delay in delays)
    assert min(map(float, map(str, delays))) < 10
    assert max(map(float, map(str, delays))) > 30


def test_autoretry_with_backoff(app: TaskQ, run: Run) -> None:
    @app.task(autoretry_for=(ValueError,), retry_backoff=100, retry_jitter=False, max_retries=9)
    def fail() -> None:
        raise ValueError

    before = time.time()
    (message,) = run(fail, retries=2).follow_ups
    assert message.due is not None
    assert before + 400 <= message.due <= time.time() + 400


# What follows


def test_callbacks_get_the_result(app: TaskQ, run: Run) -> None:
    @app.task(name="add")
    def add(a: int, b: int) -> int:
        return a + b

    link = [add.s(10), add.si(1, 1), add.s(b=5).set(queue="slow", priority=2)]
    follow_ups = run(add, 1, 2, task_id="1", link=link).follow_ups
    assert [arguments(app, message) for message in follow_ups] == [
        ([3, 10], {}), ([1, 1], {}), ([3], {"b": 5}),
    ]  # fmt: skip
    assert (follow_ups[2].routing_key, follow_ups[2].priority) == ("slow", 2)
    assert len({message.id for message in follow_ups}) == 3
    assert len({message.once for message in follow_ups}) == 3
    for message in follow_ups:
        assert (message.headers["parent_id"], message.headers["root_id"]) == ("1", "1")


def test_what_follows_is_the_same_for_every_execution(app: TaskQ, run: Run) -> None:
    @app.task(name="add")
    def add(a: int, b: int) -> int:
        return a + b

    message = app.producer.build("add", (1, 2), {}, {"link": [add.s(1)], "chain": [add.s(1)]}, add)
    first, second = run(message).follow_ups, run(message).follow_ups
    assert [(m.id, m.once) for m in first] == [(m.id, m.once) for m in second]
    assert all(m.once for m in first)


def test_the_next_step_of_a_chain(app: TaskQ, run: Run) -> None:
    @app.task(name="add")
    def add(a: int, b: int) -> int:
        return a + b

    sent: Any = (add.s(1, 2) | add.s(10) | add.si(0, 0) | add.s(7)).delay()
    (message,) = app.broker.browse("default", 1)
    ids: list[str] = []
    while sent is not None:
        ids.insert(0, sent.id)
        sent = sent.parent
    values = []
    for number in range(4):
        report = run(message)
        values.append(result(app, report)["result"])
        assert message.id == ids[number]
        assert message.headers["root_id"] == ids[0]
        if number < 3:
            (message,) = report.follow_ups
    assert values == [3, 13, 0, 7]
    assert report.follow_ups == []


def test_a_failure_ends_a_chain(app: TaskQ, run: Run) -> None:
    @app.task(name="fail")
    def fail() -> None:
        raise ValueError

    assert run(fail, chain=[dict(fail.s())], link=fail.s()).follow_ups == []


def test_whoever_waits_for_a_later_step_gets_the_error(app: TaskQ, run: Run) -> None:
    @app.task(name="fail")
    def fail() -> None:
        raise ValueError("no good")

    later = [dict(fail.s().set(task_id=key)) for key in ("third", "second")]
    report = run(fail, chain=later)
    assert [(o.task_id, o.state) for o in report.never_run] == [
        ("third", "FAILURE"),
        ("second", "FAILURE"),
    ]
    app.backend.store(report.never_run)
    with pytest.raises(ValueError, match="no good"):
        app.AsyncResult("third").get(timeout=1)


def test_a_chain_as_callback(app: TaskQ, run: Run) -> None:
    @app.task(name="add")
    def add(a: int, b: int) -> int:
        return a + b

    (message,) = run(add, 1, 2, link=add.s(1) | add.s(2)).follow_ups
    assert arguments(app, message) == ([3, 1], {})
    (message,) = run(message).follow_ups
    assert arguments(app, message) == ([4, 2], {})


def test_a_chain_within_a_chain_comes_before_the_rest(app: TaskQ, run: Run) -> None:
    @app.task(name="add")
    def add(a: int, b: int) -> int:
        return a + b

    # As a message of Celery's may have it: there the last one is the next step.
    steps = [dict(add.s(100)), dict(add.s(1) | add.s(10))]
    message, seen = None, []
    for _ in range(4):
        report = run(message) if message is not None else run(add, 0, 0, chain=steps)
        seen.append(result(app, report)["result"])
        message = report.follow_ups[0] if report.follow_ups else None
    assert seen == [0, 1, 11, 111]
    assert message is None


def test_errbacks_that_are_known_here_are_called(app: TaskQ, run: Run) -> None:
    calls = []

    @app.task(name="tell")
    def tell(request: Any, exc: Exception, traceback: str, where: str = "", how: str = "") -> None:
        calls.append((request.id, repr(exc), "in fail" in traceback, where, how))

    @app.task
    def fail() -> None:
        raise ValueError("no")

    errbacks = [tell.s(), tell.s(how="loud"), tell.s("here")]
    report = run(fail, task_id="1", link_error=errbacks)
    assert report.follow_ups == []
    assert calls == [
        ("1", "ValueError('no')", True, "", ""),
        ("1", "ValueError('no')", True, "", "loud"),
        ("1", "ValueError('no')", True, "here", ""),
    ]


def test_other_errbacks_are_sent(app: TaskQ, run: Run) -> None:
    @app.task(name="one")
    def one(task_id: str) -> None: ...

    @app.task(name="none")
    def none() -> None: ...

    @app.task
    def fail() -> None:
        raise ValueError("no")

    errbacks = [one.s(), none.si(), app.signature("elsewhere.handle")]
    first, second, third = run(fail, task_id="1", link_error=errbacks).follow_ups
    assert (first.task, arguments(app, first)) == ("one", (["1"], {}))
    assert (second.task, arguments(app, second)) == ("none", ([], {}))
    assert (third.task, arguments(app, third)) == ("elsewhere.handle", (["1"], {}))
    assert len({m.once for m in (first, second, third)}) == 3


@pytest.mark.parametrize("errback", [{"priority": 77}, {"eta": "soon"}], ids=["priority", "eta"])
def test_an_errback_that_cannot_be_sent_changes_nothing(
    app: TaskQ, run: Run, caplog: pytest.LogCaptureFixture, errback: dict[str, Any]
) -> None:
    @app.task(name="one")
    def one(task_id: str) -> None: ...

    @app.task
    def fail() -> None:
        raise ValueError("no")

    report = run(fail, link_error=[one.s().set(**errback), "no signature", one.s()])
    assert (report.state, report.text) == (states.FAILURE, "ValueError('no')")
    assert [message.task for message in report.follow_ups] == ["one"]
    assert next(iter(errback)) in caplog.text


def test_a_callback_that_cannot_be_sent_is_a_failure(app: TaskQ, run: Run) -> None:
    @app.task(name="add", autoretry_for=(Exception,))
    def add(a: int, b: int) -> int:
        return a + b

    report = run(add, 1, 2, link=add.s(1).set(priority=77))
    assert (report.state, report.follow_ups) == (states.FAILURE, [])
    assert "77" in report.text


def test_an_errback_that_fails_changes_nothing(
    app: TaskQ, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(name="tell")
    def tell(request: Any, exc: Exception, traceback: str) -> None:
        raise RuntimeError("cannot tell")

    @app.task
    def fail() -> None:
        raise ValueError("no")

    assert run(fail, link_error=tell.s()).text == "ValueError('no')"
    assert "cannot tell" in caplog.text


# Handlers and signals


class Watched(Task[..., Any]):
    calls: ClassVar[list[tuple[Any, ...]]] = []

    def before_start(self, task_id: str | None, args: Any, kwargs: Any) -> None:
        self.calls.append(("before_start", task_id, list(args), dict(kwargs)))

    def on_success(self, retval: Any, *rest: Any) -> None:
        self.calls.append(("on_success", retval, *rest))

    def on_retry(self, exc: BaseException, task_id: str | None, *rest: Any) -> None:
        self.calls.append(("on_retry", repr(exc), task_id))

    def on_failure(self, exc: BaseException, task_id: str | None, *rest: Any) -> None:
        self.calls.append(("on_failure", repr(exc), task_id))
        raise RuntimeError("a handler of its own fails")

    def after_return(self, status: str, retval: Any, task_id: str | None, *rest: Any) -> None:
        self.calls.append(("after_return", status, task_id, rest[-1] is None))


@pytest.fixture
def watched(app: TaskQ, monkeypatch: pytest.MonkeyPatch) -> Task[..., Any]:
    monkeypatch.setattr(Watched, "calls", [])

    @app.task(base=Watched, bind=True)
    def work(self: Task[..., Any], how: str) -> int:
        if how == "retry":
            self.retry(exc=KeyError("later"))
        if how == "fail":
            raise ValueError("no")
        if how == "ignore":
            raise Ignore
        return 3

    return work


def test_handlers_of_a_success(watched: Task[..., Any], run: Run) -> None:
    run(watched, "return", task_id="1")
    assert Watched.calls == [
        ("before_start", "1", ["return"], {}),
        ("on_success", 3, "1", ["return"], {}),
        ("after_return", "SUCCESS", "1", True),
    ]


def test_handlers_of_a_retry(watched: Task[..., Any], run: Run) -> None:
    run(watched, "retry", task_id="1")
    assert Watched.calls[1:] == [
        ("on_retry", "KeyError('later')", "1"),
        ("after_return", "RETRY", "1", False),
    ]


def test_handlers_of_a_failure(
    watched: Task[..., Any], run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    report = run(watched, "fail", task_id="1")
    assert Watched.calls[1:] == [
        ("on_failure", "ValueError('no')", "1"),
        ("after_return", "FAILURE", "1", False),
    ]
    assert report.text == "ValueError('no')"
    assert "a handler of its own fails" in caplog.text


def test_ignoring_calls_no_handlers(watched: Task[..., Any], run: Run) -> None:
    run(watched, "ignore")
    assert [call[0] for call in Watched.calls] == ["before_start"]


def test_an_error_before_the_start_is_a_failure(app: TaskQ, run: Run) -> None:
    class Unready(Task[..., Any]):
        def before_start(self, task_id: str | None, args: Any, kwargs: Any) -> None:
            raise RuntimeError("not ready")

    @app.task(base=Unready)
    def work() -> None:
        pytest.fail("it ran")

    assert run(work).text == "RuntimeError('not ready')"


@pytest.fixture
def heard() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """What the signals around a task say, and with what."""
    heard: list[tuple[str, dict[str, Any]]] = []
    connected = []
    for name in ("prerun", "postrun", "success", "failure", "retry", "rejected"):
        signal = getattr(signals, f"task_{name}")

        def receiver(name: str = name, **kwargs: Any) -> None:
            heard.append((name, kwargs))

        signal.connect(receiver, weak=False)
        connected.append((signal, receiver))
    yield heard
    for signal, receiver in connected:
        signal.disconnect(receiver)


def test_signals_of_a_success(
    watched: Task[..., Any], run: Run, heard: list[tuple[str, dict[str, Any]]]
) -> None:
    run(watched, "return", task_id="1")
    assert [name for name, _ in heard] == ["prerun", "success", "postrun"]
    (_, before), (_, success), (_, after) = heard
    assert (before["sender"], before["task_id"], before["task"]) == (watched, "1", watched)
    assert (before["args"], before["kwargs"]) == (["return"], {})
    assert success["result"] == 3
    assert (after["retval"], after["state"]) == (3, "SUCCESS")


@pytest.mark.parametrize(
    ("how", "names", "state"),
    [
        ("fail", ["prerun", "failure", "postrun"], "FAILURE"),
        ("retry", ["prerun", "retry", "postrun"], "RETRY"),
        ("ignore", ["prerun", "postrun"], "IGNORED"),
    ],
)
def test_signals_of_other_ends(
    watched: Task[..., Any],
    run: Run,
    heard: list[tuple[str, dict[str, Any]]],
    how: str,
    names: list[str],
    state: str,
) -> None:
    run(watched, how, task_id="1")
    assert [name for name, _ in heard] == names
    assert heard[-1][1]["state"] == state
    if how == "fail":
        failure = heard[1][1]
        assert (failure["task_id"], repr(failure["exception"])) == ("1", "ValueError('no')")
        assert "in work" in str(failure["einfo"])


# What cannot be run


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"5",
        b'"text"',
        b"[]",
        b"[1, {}, {}]",
        b"[[], [], {}]",
        b"[[], {}]",
        b"[[], {}, {}, {}]",
        b'{"args": []}',
        b"[[], {}, []]",
        b'[[], {}, "embed"]',
        b"\xff\xfe",
    ],
)
def test_a_body_that_is_none(app: TaskQ, run: Run, body: bytes) -> None:
    @app.task(name="work")
    def work() -> None:
        pytest.fail("it ran")

    report = run(TaskMessage({"id": "1", "task": "work"}, body))
    assert (report.ticket, report.fate, report.state) == (7, Fate.DEAD, states.FAILURE)
    assert report.reason
    assert result(app, report)["status"] == states.FAILURE


@pytest.mark.parametrize(
    ("fields", "headers", "reason"),
    [
        ({"content_type": "application/x-python-serialize"}, {}, "accept_content"),
        ({"content_type": "application/none"}, {}, "application/none"),
        ({}, {"compression": "application/none"}, "application/none"),
        ({}, {"compression": "application/x-gzip"}, "application/x-gzip"),
        ({}, {"task": "not here"}, "NotRegistered"),
    ],
)
def test_other_things_that_cannot_be_run(
    app: TaskQ, run: Run, fields: dict[str, Any], headers: dict[str, Any], reason: str
) -> None:
    @app.task(name="work")
    def work() -> None:
        pytest.fail("it ran")

    message = TaskMessage({"id": "1", "task": "work", **headers}, b"[[], {}, {}]", **fields)
    report = run(message)
    assert (report.fate, report.state) == (Fate.DEAD, states.FAILURE)
    assert reason in report.reason


def test_without_an_embed(app: TaskQ, run: Run) -> None:
    @app.task(name="work")
    def work(a: int) -> int:
        return a

    message = TaskMessage({"id": "1", "task": "work"}, b"[[5], {}, null]")
    assert result(app, run(message))["result"] == 5


def test_wrong_arguments_are_a_failure(app: TaskQ, run: Run) -> None:
    @app.task(name="work")
    def work(a: int) -> int:
        return a

    report = run(TaskMessage({"id": "1", "task": "work"}, b"[[1, 2], {}, {}]"))
    assert (report.fate, report.state) == (Fate.DONE, states.FAILURE)
    assert "TypeError" in report.text


def test_compressed_bodies(app: TaskQ, run: Run) -> None:
    @app.task
    def size(text: str) -> int:
        return len(text)

    message = app.producer.build(size.name, ("x" * 10_000,), {}, {"compression": "gzip"}, size)
    assert len(message.body) < 1000
    assert result(app, run(message))["result"] == 10_000
