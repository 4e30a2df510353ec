"""Fates: from a report, or a loss, to what is written and logged."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest

from taskq import Task, TaskQ, signals
from taskq.backends.base import ChordPart, Outcome
from taskq.brokers.base import Fate, Settlement
from taskq.exceptions import TaskRevokedError
from taskq.execution import Report
from taskq.message import TaskMessage
from taskq.worker.fates import Fates
from taskq.worker.job import Job, Verdict
from taskq.worker.pool.base import Loss
from tests.unit.worker_parts import make_job


@pytest.fixture
def add(app: TaskQ) -> Task[..., Any]:
    @app.task(name="add")
    def add() -> None: ...

    return add


@pytest.fixture
def failures() -> Iterator[list[tuple[str, str]]]:
    """What the signal task_failure says."""
    heard: list[tuple[str, str]] = []

    def receiver(task_id: str, exception: Exception, **kwargs: Any) -> None:
        heard.append((task_id, type(exception).__name__))

    signals.task_failure.connect(receiver)
    yield heard
    signals.task_failure.disconnect(receiver)


def failure(app: TaskQ, settlement: Settlement) -> str:
    """The class of the error that is stored."""
    assert settlement.outcome is not None
    assert settlement.outcome.state == "FAILURE"
    name: str = app.result_codec.decode(settlement.outcome)["result"]["exc_type"]
    return name


def lost(app: TaskQ, job: Job, loss: Loss, detail: str) -> Settlement:
    """How a job without a report is settled, told to others or not."""
    end = Fates(app).of_loss(job, loss, detail)
    return end.settlement if isinstance(end, Verdict) else end


# Reports


@pytest.mark.parametrize("fate", list(Fate))
@pytest.mark.parametrize("acknowledged", [True, False])
def test_a_report_is_settled_as_it_says(
    app: TaskQ, add: Task[..., Any], fate: Fate, acknowledged: bool
) -> None:
    job = make_job(app, add)
    job.acknowledged = acknowledged
    outcome = Outcome("1", "SUCCESS", b"{}")
    follow_ups = [TaskMessage({"id": "2", "task": "t"}, b"")]
    report = Report(1, fate, "SUCCESS", 0.5, outcome, follow_ups, reason="why")
    settlement = Fates(app).of_report(job, report)
    assert settlement.delivery is job.delivery
    assert (settlement.fate, settlement.outcome, settlement.reason) == (fate, outcome, "why")
    assert (settlement.follow_ups, settlement.acknowledged) == (follow_ups, acknowledged)
    assert not settlement.crashed
    assert not settlement.unused


@pytest.mark.parametrize(
    ("report", "level", "line"),
    [
        (
            Report(1, Fate.DONE, "SUCCESS", 0.25, text="3"),
            logging.INFO,
            "Task {} succeeded in 0.25s: 3",
        ),
        (
            Report(1, Fate.DONE, "RETRY", 0.25, text="Retry in 5s"),
            logging.INFO,
            "Task {} retry: Retry in 5s",
        ),
        (
            Report(1, Fate.DONE, "FAILURE", text="KeyError('x')"),
            logging.INFO,
            "Task {} raised expected: KeyError('x')",
        ),
        (
            Report(1, Fate.DONE, "FAILURE", text="KeyError('x')", traceback="File 1"),
            logging.ERROR,
            "Task {} raised unexpected: KeyError('x')\nFile 1",
        ),
        (
            Report(1, Fate.DEAD, "REJECTED", reason="rejected by the task: no"),
            logging.ERROR,
            "Task {} goes to the dead letters: rejected by the task: no",
        ),
        (Report(1, Fate.DONE, "IGNORED"), logging.INFO, "Task {}: ignored "),
    ],
    ids=lambda value: value.state if isinstance(value, Report) else "",
)
def test_lines_in_the_log(
    app: TaskQ,
    add: Task[..., Any],
    caplog: pytest.LogCaptureFixture,
    report: Report,
    level: int,
    line: str,
) -> None:
    job = make_job(app, add)
    for shown in (logging.INFO, logging.WARNING):
        caplog.clear()
        caplog.set_level(shown, "taskq.worker")
        Fates(app).of_report(job, report)
        expected = [(level, line.format(job.label))] if level >= shown else []
        assert [(r.levelno, r.getMessage()) for r in caplog.records] == expected


# Losses


def test_what_was_not_started_goes_back(app: TaskQ, add: Task[..., Any]) -> None:
    settlement = lost(app, make_job(app, add), Loss.UNSTARTED, "stopped")
    assert (settlement.fate, settlement.unused) == (Fate.REQUEUE, True)
    assert (settlement.crashed, settlement.outcome, settlement.delay) == (False, None, 0)


def test_what_was_not_started_and_is_acknowledged_has_failed(
    app: TaskQ, add: Task[..., Any], failures: list[tuple[str, str]]
) -> None:
    job = make_job(app, add, task_id="1")
    job.acknowledged = True
    settlement = lost(app, job, Loss.UNSTARTED, "stopped")
    assert (settlement.fate, settlement.acknowledged) == (Fate.DONE, True)
    assert failure(app, settlement) == "WorkerLostError"
    assert failures == [("1", "WorkerLostError")]


def test_a_crash_is_counted(
    app: TaskQ, add: Task[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    settlement = lost(app, make_job(app, add, crashes=1), Loss.CRASHED, "signal 9")
    assert (settlement.fate, settlement.crashed) == (Fate.REQUEUE, True)
    assert (settlement.unused, settlement.outcome) == (False, None)
    assert "signal 9" in caplog.text
    assert "crash 2 of 3" in caplog.text


def test_one_crash_too_many(app: TaskQ, add: Task[..., Any]) -> None:
    settlement = lost(app, make_job(app, add, crashes=2), Loss.CRASHED, "signal 9")
    assert (settlement.fate, settlement.crashed) == (Fate.DEAD, True)
    assert "signal 9" in settlement.reason
    assert "3" in settlement.reason
    assert failure(app, settlement) == "WorkerLostError"
    app.conf.update(task_max_crashes=5)
    settlement = lost(app, make_job(app, add, crashes=2), Loss.CRASHED, "signal 9")
    assert settlement.fate is Fate.REQUEUE


@pytest.mark.parametrize(
    ("setting", "option", "again"),
    [(True, None, True), (False, None, False), (True, False, False), (False, True, True)],
)
def test_whether_it_runs_again_after_a_crash(
    app: TaskQ,
    failures: list[tuple[str, str]],
    setting: bool,
    option: bool | None,
    again: bool,
) -> None:
    app.conf.update(task_reject_on_worker_lost=setting)
    task = app.task(name="add", reject_on_worker_lost=option)(lambda: None)
    settlement = lost(app, make_job(app, task), Loss.CRASHED, "signal 9")
    if again:
        assert settlement.fate is Fate.REQUEUE
        assert failures == []
    else:
        assert settlement.fate is Fate.DONE
        assert failure(app, settlement) == "WorkerLostError"
        assert len(failures) == 1


@pytest.mark.parametrize("setting", [True, False])
def test_a_lost_process_can_be_a_retry(app: TaskQ, setting: bool) -> None:
    app.conf.update(task_retry_on_worker_lost=setting)
    options: dict[str, Any] = {} if setting else {"retry_on_worker_lost": True}
    task = app.task(name="add", max_retries=1, default_retry_delay=60, **options)(lambda: None)
    job = make_job(app, task)
    settlement = lost(app, job, Loss.CRASHED, "signal 9")
    assert (settlement.fate, settlement.crashed) == (Fate.DONE, False)
    assert settlement.outcome is not None
    assert settlement.outcome.state == "RETRY"
    (following,) = settlement.follow_ups
    before = job.delivery.message
    assert (following.id, following.body) == (before.id, before.body)
    assert (following.headers["retries"], following.routing_key) == (1, job.delivery.queue)
    assert following.once == f"{before.id}:0:retry"
    assert following.due is not None
    assert 50 < following.due - time.time() <= 60
    job.delivery.message = following
    assert failure(app, lost(app, job, Loss.CRASHED, "signal 9")) == "WorkerLostError"


def test_what_was_acknowledged_is_lost_in_a_crash(
    app: TaskQ, add: Task[..., Any], failures: list[tuple[str, str]]
) -> None:
    job = make_job(app, add)
    job.acknowledged = True
    settlement = lost(app, job, Loss.CRASHED, "signal 9")
    assert (settlement.fate, settlement.acknowledged) == (Fate.DONE, True)
    assert failure(app, settlement) == "WorkerLostError"
    assert len(failures) == 1


@pytest.mark.parametrize(
    ("setting", "option", "acknowledged", "fails"),
    [
        (True, None, False, True),
        (False, None, False, False),
        (True, False, False, False),
        (False, True, False, True),
        (False, None, True, True),
    ],
)
def test_the_hard_limit(
    app: TaskQ,
    failures: list[tuple[str, str]],
    setting: bool,
    option: bool | None,
    acknowledged: bool,
    fails: bool,
) -> None:
    app.conf.update(task_acks_on_timeout=setting)
    task = app.task(name="add", acks_on_timeout=option)(lambda: None)
    job: Job = make_job(app, task)
    job.hard_limit, job.acknowledged = 5, acknowledged
    settlement = lost(app, job, Loss.TIMED_OUT, "signal 9")
    assert not settlement.crashed
    if fails:
        assert (settlement.fate, settlement.acknowledged) == (Fate.DONE, acknowledged)
        assert failure(app, settlement) == "TimeLimitExceeded"
        assert len(failures) == 1
    else:
        assert (settlement.fate, settlement.unused) == (Fate.REQUEUE, False)
        assert settlement.outcome is None


def test_the_older_name_for_both() -> None:
    with TaskQ("own", set_as_current=False, task_acks_on_failure_or_timeout=False) as app:
        task = app.task(name="add")(lambda: None)
        settlement = lost(app, make_job(app, task), Loss.TIMED_OUT, "signal 9")
        assert settlement.fate is Fate.REQUEUE


@pytest.mark.parametrize("loss", [Loss.CRASHED, Loss.TIMED_OUT])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("keep", ["option", "setting", None])
def test_without_results(app: TaskQ, loss: Loss, known: bool, keep: str | None) -> None:
    """Whether the sender knew that no results are wanted, or the worker alone does."""
    app.conf.update(task_store_errors_even_if_ignored=keep == "setting")
    keeps = True if keep == "option" else None
    task = app.task(name="add", ignore_result=True, store_errors_even_if_ignored=keeps)(
        lambda: None
    )
    job = make_job(app, task, crashes=9)
    if not known:
        job.delivery.message.headers["ignore_result"] = None
    settlement = lost(app, job, loss, "signal 9")
    assert (settlement.outcome is not None) is bool(keep)
    dropped = Fates(app).drop(job.delivery, TaskRevokedError("expired"), "expired")
    assert dropped.settlement.outcome is None


def test_a_call_that_wants_the_result_after_all(app: TaskQ) -> None:
    task = app.task(name="add", ignore_result=True)(lambda: None)
    job = make_job(app, task, crashes=9, ignore_result=False)
    assert lost(app, job, Loss.CRASHED, "signal 9").outcome is not None


def test_what_must_follow_an_end_is_settled_with_it(app: TaskQ, add: Task[..., Any]) -> None:
    job = make_job(app, add, crashes=2)
    end = Fates(app).of_loss(job, Loss.CRASHED, "signal 9")
    assert isinstance(end, Verdict)
    assert (end.sentence.state, end.sentence.error) == ("FAILURE", "WorkerLostError")
    job.verdict = end
    never, part = Outcome("2", "FAILURE", b"{}"), ChordPart("g", 1, 2, b"{}", job.delivery.message)
    report = Report(1, Fate.DONE, "FAILURE", never_run=[never], part=part)
    report.follow_ups = [TaskMessage({"id": "3", "task": "t"}, b"")]
    settlement = Fates(app).of_report(job, report)
    assert (settlement.fate, settlement.crashed) == (Fate.DEAD, True)
    assert settlement.outcome == end.settlement.outcome
    assert settlement.outcomes()[1] == never
    assert (settlement.follow_ups, settlement.part) == (report.follow_ups, part)


def test_an_end_that_cannot_be_told_is_settled_all_the_same(
    app: TaskQ, add: Task[..., Any]
) -> None:
    job = make_job(app, add, crashes=2)
    end = Fates(app).of_loss(job, Loss.CRASHED, "signal 9")
    assert isinstance(end, Verdict)
    job.verdict = end
    again = job.delivery = make_job(app, add).delivery
    quiet = Fates(app).of_loss(job, Loss.CRASHED, "signal 9")
    assert isinstance(quiet, Verdict), "an errback may have killed the process"
    assert (quiet.sentence.quiet, quiet.settlement) == (True, end.settlement)
    job.verdict = end = quiet
    for loss in (Loss.CRASHED, Loss.TIMED_OUT):
        settlement = Fates(app).of_loss(job, loss, "signal 9")
        assert isinstance(settlement, Settlement)
        assert (settlement.fate, settlement.outcome) == (Fate.DEAD, end.settlement.outcome)
        assert settlement.delivery is again
    assert Fates(app).of_loss(job, Loss.UNSTARTED, "signal 9") is end, "another process tells"
