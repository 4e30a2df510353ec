"""Admission: what is decided on headers alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskq import Task, TaskQ, signals
from taskq.brokers.base import Delivery, Fate, Settlement
from taskq.exceptions import ImproperlyConfigured
from taskq.worker.admission import Admission
from taskq.worker.fates import Fates
from taskq.worker.job import Job
from tests.unit.worker_parts import make_delivery


@pytest.fixture
def add(app: TaskQ) -> Task[..., Any]:
    @app.task(name="add")
    def add() -> None: ...

    return add


def judge(app: TaskQ, delivery: Delivery, *limits: float | None) -> Job | Settlement:
    return Admission(app, Fates(app), *limits).judge(delivery)


def admitted(app: TaskQ, delivery: Delivery, *limits: float | None) -> Job:
    verdict = judge(app, delivery, *limits)
    assert isinstance(verdict, Job)
    assert verdict.verdict is None
    return verdict


def settled(verdict: Job | Settlement) -> Settlement:
    """How a delivery that is not run is settled, told to others or not."""
    if isinstance(verdict, Settlement):
        return verdict
    assert verdict.verdict is not None
    return verdict.verdict.settlement


def refused(app: TaskQ, delivery: Delivery) -> tuple[Fate, str, dict[str, Any]]:
    verdict = settled(judge(app, delivery))
    assert verdict.delivery is delivery
    assert verdict.outcome is not None
    assert verdict.outcome.task_id == delivery.message.id
    return verdict.fate, verdict.reason, app.result_codec.decode(verdict.outcome)


def test_a_job(app: TaskQ, add: Task[..., Any]) -> None:
    delivery = make_delivery(app, "add")
    job = admitted(app, delivery)
    assert (job.delivery, job.task, job.id) == (delivery, add, delivery.message.id)
    assert (job.hard_limit, job.soft_limit) == (None, None)
    assert not job.early
    assert not job.acknowledged
    assert job.label == f"add[{job.id}]"
    assert admitted(app, make_delivery(app, "add", shadow="plus")).label.startswith("plus[")


def test_tickets_are_its_own(app: TaskQ, add: Task[..., Any]) -> None:
    admission = Admission(app, Fates(app))
    verdicts = [admission.judge(make_delivery(app, "add", task_id="1")) for _ in range(5)]
    tickets = [verdict.ticket for verdict in verdicts if isinstance(verdict, Job)]
    assert tickets == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("setting", "option", "early"),
    [(True, None, False), (False, None, True), (True, False, True), (False, True, False)],
)
def test_when_it_is_acknowledged(
    app: TaskQ, setting: bool, option: bool | None, early: bool
) -> None:
    app.conf.update(task_acks_late=setting)
    app.task(name="add", acks_late=option)(lambda: None)
    assert admitted(app, make_delivery(app, "add")).early is early


def test_limits(app: TaskQ) -> None:
    """The message's limits win over the task's, those over the worker's, those over settings."""
    app.task(name="limited", time_limit=20, soft_time_limit=10)(lambda: None)
    app.task(name="plain")(lambda: None)

    def limits(*args: Any, **options: Any) -> tuple[float | None, float | None]:
        job = admitted(app, make_delivery(app, args[0], **options), *args[1:])
        return job.hard_limit, job.soft_limit

    assert limits("limited", 7, 6) == (20, 10)
    assert limits("limited", time_limit=200, soft_time_limit=100) == (200, 100)
    assert limits("limited", soft_time_limit=5) == (20, 5)
    assert limits("plain") == (None, None)
    app.conf.update(task_time_limit=2000, task_soft_time_limit=1000)
    assert limits("plain") == (2000, 1000)
    assert limits("plain", 7, 6) == (7, 6)
    assert limits("limited") == (20, 10)


def test_unknown_tasks(app: TaskQ, add: Task[..., Any]) -> None:
    heard = []

    def receiver(**kwargs: Any) -> None:
        heard.append((kwargs["name"], kwargs["id"], type(kwargs["exc"]).__name__))

    signals.task_unknown.connect(receiver)
    try:
        fate, reason, document = refused(app, make_delivery(app, "ad", task_id="1"))
    finally:
        signals.task_unknown.disconnect(receiver)
    assert fate is Fate.DEAD
    assert "NotRegistered" in reason
    assert "did you mean 'add'" in reason
    assert document["result"]["exc_type"] == "NotRegistered"
    assert heard == [("ad", "1", "NotRegistered")]


def test_forbidden_content(app: TaskQ, add: Task[..., Any]) -> None:
    delivery = make_delivery(app, "add", serializer="pickle")
    fate, reason, document = refused(app, delivery)
    assert fate is Fate.DEAD
    assert "application/x-python-serialize" in reason
    assert "accept_content" in reason
    assert document["result"]["exc_type"] == "ContentDisallowed"
    app.conf.update(accept_content=["pickle"])
    admitted(app, delivery)


@pytest.mark.parametrize(("limit", "admits"), [(4, False), (5, True)])
def test_too_many_deliveries(app: TaskQ, add: Task[..., Any], limit: int, admits: bool) -> None:
    app.conf.update(task_max_deliveries=limit)
    delivery = make_delivery(app, "add", deliveries=5)
    if admits:
        admitted(app, delivery)
        return
    fate, reason, document = refused(app, delivery)
    assert fate is Fate.DEAD
    assert "5 times" in reason
    assert "task_max_deliveries is 4" in reason
    assert document["status"] == "FAILURE"


@pytest.fixture
def revoked() -> Iterator[list[bool]]:
    heard: list[bool] = []

    def receiver(expired: bool, terminated: bool, **kwargs: Any) -> None:
        heard.append(expired and not terminated)

    signals.task_revoked.connect(receiver)
    yield heard
    signals.task_revoked.disconnect(receiver)


def test_expired(app: TaskQ, add: Task[..., Any], revoked: list[bool]) -> None:
    moment = datetime.now(UTC)
    admitted(app, make_delivery(app, "add", expires=moment + timedelta(seconds=60)))
    assert revoked == []
    delivery = make_delivery(app, "add", expires=moment - timedelta(seconds=1))
    fate, _, document = refused(app, delivery)
    assert (fate, document["status"]) == (Fate.DONE, "REVOKED")
    assert revoked == [True]


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("expires", "soon"),
        ("expires", []),
        ("expires", {"at": 1}),
        ("timelimit", 5),
        ("timelimit", "long"),
        ("timelimit", [1]),
        ("timelimit", [1, 2, 3]),
        ("timelimit", ["a", "b"]),
        ("timelimit", [[], {}]),
        ("timelimit", {"hard": 5, "soft": 1}),
    ],
)
def test_headers_that_make_no_sense(
    app: TaskQ, add: Task[..., Any], header: str, value: Any
) -> None:
    delivery = make_delivery(app, "add")
    delivery.message.headers[header] = value
    fate, reason, _ = refused(app, delivery)
    assert fate is Fate.DEAD
    assert header in reason


@pytest.mark.parametrize("header", ["expires", "timelimit", "eta", "retries", "shadow", "origin"])
def test_headers_that_are_not_there(app: TaskQ, add: Task[..., Any], header: str) -> None:
    delivery = make_delivery(app, "add")
    del delivery.message.headers[header]
    admitted(app, delivery)


def test_whoever_wants_no_result_gets_none(app: TaskQ, add: Task[..., Any]) -> None:
    verdict = settled(judge(app, make_delivery(app, "unknown", ignore_result=True)))
    assert (verdict.fate, verdict.outcome) == (Fate.DEAD, None)


def test_root_runs_no_worker_that_accepts_pickle(
    app: TaskQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.conf.update(accept_content=["json", "pickle"])
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.delenv("C_FORCE_ROOT", raising=False)
    with pytest.raises(ImproperlyConfigured, match="C_FORCE_ROOT=1"):
        app.Worker(pool="solo").run()
