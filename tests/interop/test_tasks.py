"""Plain tasks between Celery and taskq, both ways, over RabbitMQ with results on Redis."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from taskq import states
from taskq.result import AsyncResult
from tests.faults.stage import PATIENCE
from tests.interop.conftest import ON_CELERY, ON_TASKQ, Town
from tests.waiting import wait_until

pytestmark = [pytest.mark.rabbitmq, pytest.mark.redis]


class FromCelery:
    """Celery's client, and a worker of taskq's."""

    queue = ON_TASKQ
    runs_on = "taskq"

    def __init__(self, town: Town) -> None:
        self.town = town

    def send(self, name: str, *args: Any, **options: Any) -> str:
        kwargs = options.pop("kwargs", {})
        options = {"queue": self.queue, **options}
        return str(self.town.celery.send(name, list(args), kwargs, **options))

    def get(self, task_id: str) -> Any:
        answer = self.outcome(task_id)
        assert answer["state"] == "SUCCESS", answer
        return answer["value"]

    def outcome(self, task_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.town.celery.get(task_id)
        return found

    def state(self, task_id: str) -> list[Any]:
        found: list[Any] = self.town.celery.state(task_id)
        return found

    def revoke(self, task_id: str, **options: Any) -> None:
        self.town.celery.revoke(task_id, **options)


class FromTaskQ(FromCelery):
    """taskq's client, and a worker of Celery's."""

    queue = ON_CELERY
    runs_on = "celery"

    def send(self, name: str, *args: Any, **options: Any) -> str:
        options = {"queue": self.queue, **options}
        return self.town.app.send_task(name, args, **options).id

    def outcome(self, task_id: str) -> dict[str, Any]:
        result: AsyncResult[Any] = self.town.app.AsyncResult(task_id)
        value = result.get(timeout=PATIENCE, propagate=False)
        kind = type(value).__name__
        if isinstance(value, BaseException):
            value = [kind, type(value).__module__, list(value.args)]
        return {
            "state": result.state,
            "value": value,
            "traceback": result.traceback,
            "type": kind,
        }

    def state(self, task_id: str) -> list[Any]:
        result: AsyncResult[Any] = self.town.app.AsyncResult(task_id)
        info = result.info
        return [result.state, info if isinstance(info, dict) else None]

    def revoke(self, task_id: str, **options: Any) -> None:
        self.town.app.control.revoke(task_id, **options)


@pytest.fixture(params=[FromCelery, FromTaskQ], ids=["to-taskq", "to-celery"])
def way(request: pytest.FixtureRequest, town: Town) -> FromCelery:
    """One of the two ways."""
    made: FromCelery = request.param(town)
    return made


def test_arguments_and_results(way: FromCelery) -> None:
    assert way.get(way.send("interop.add", 1, kwargs={"y": 2})) == 3
    values = [None, True, 1.5, "ä\n", [1, {"a": [2]}], {"b": None}]
    assert way.get(way.send("interop.echo", *values, kwargs={"k": [1]})) == [values, {"k": [1]}]


def test_both_serve_the_default_queue(town: Town) -> None:
    """Neither side says anything of queues: what both call "celery" is one queue."""
    celery, taskq = FromCelery(town), FromTaskQ(town)
    ids = [town.celery.send("interop.who", [n], {}) for n in range(8)]
    ids += [town.app.send_task("interop.who", (n,)).id for n in range(8)]
    told = [celery.get(one) for one in ids] + [taskq.get(one) for one in ids]
    assert {one["side"] for one in told} == {"celery", "taskq"}
    assert {(one["exchange"], one["routing_key"]) for one in told} <= {
        ("celery", "celery"),
        ("", "celery"),
    }


@pytest.mark.slow
def test_what_a_request_says(way: FromCelery) -> None:
    task_id = way.send("interop.who", priority=7, expires=60, time_limit=20, soft_time_limit=10)
    told = way.get(task_id)
    assert told["side"] == way.runs_on
    assert (told["id"], told["root"], told["parent"]) == (task_id, task_id, None)
    assert told["priority"] == 7
    assert told["timelimit"] == [20, 10]
    left = datetime.fromisoformat(told["expires"]) - datetime.now(UTC)
    assert timedelta(0) < left <= timedelta(seconds=60)


def test_errors(way: FromCelery) -> None:
    known = way.outcome(way.send("interop.fail", "value"))
    assert known["state"] == "FAILURE"
    assert known["value"] == ["ValueError", "builtins", ["no", 7]]
    assert "Traceback" in known["traceback"]
    assert "raise {" in known["traceback"]
    own = way.outcome(way.send("interop.fail", "own"))
    assert own["value"] == ["Unlucky", "tests.interop.tasks", [5, "out of luck"]]


@pytest.mark.slow
def test_a_call_that_cannot_be(way: FromCelery) -> None:
    told = way.outcome(way.send("interop.retry", kwargs={"nonsense": 1}, **_untyped(way)))
    assert told["state"] == "FAILURE"
    assert told["value"][0] == "TypeError"


def _untyped(way: FromCelery) -> dict[str, Any]:
    """taskq's client checks arguments, and would not send it."""
    way.town.app.strict_typing = False
    return {}


@pytest.mark.slow
def test_an_unknown_task(way: FromCelery) -> None:
    told = way.outcome(way.send("interop.nobody_knows_it"))
    assert told["state"] == "FAILURE"
    assert told["value"][0] == "NotRegistered"
    if way.runs_on == "taskq":
        assert told["value"][1] == "celery.exceptions"


def test_retries(way: FromCelery) -> None:
    assert way.get(way.send("interop.retry", 2)) == [way.runs_on, 2]
    given_up = way.outcome(way.send("interop.retry", 9))
    assert given_up["value"] == ["ValueError", "builtins", [3]]


@pytest.mark.slow
def test_a_retry_goes_over_to_the_other_side(way: FromCelery) -> None:
    other = ON_CELERY if way.runs_on == "taskq" else ON_TASKQ
    side = "celery" if way.runs_on == "taskq" else "taskq"
    assert way.get(way.send("interop.retry", 1, other)) == [side, 1]


@pytest.mark.slow
def test_a_task_waits_for_its_moment(way: FromCelery) -> None:
    now = time.time()
    moment = datetime.fromtimestamp(now + 1.5, UTC)
    by_countdown = way.send("interop.who", countdown=1.5)
    eta = moment.isoformat() if way.runs_on == "taskq" else moment
    by_eta = way.send("interop.who", eta=eta)
    for one in (by_countdown, by_eta):
        assert now + 1.5 <= way.get(one)["time"] < now + 10


@pytest.mark.slow
def test_what_has_expired_does_not_run(way: FromCelery) -> None:
    past = (datetime.now(UTC) - timedelta(seconds=5)).isoformat()
    told = way.outcome(way.send("interop.who", expires=past))
    assert told["state"] == "REVOKED"
    assert told["value"][0] == "TaskRevokedError"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("datetime", datetime(2030, 1, 31, 12, tzinfo=UTC)),
        ("decimal", Decimal("1.10")),
        ("uuid", UUID(int=7)),
        ("bytes", b"\0\xff"),
    ],
)
@pytest.mark.slow
def test_types_beyond_json(town: Town, kind: str, value: Any) -> None:
    """They come back from Celery's worker as they are, and go there so."""
    app = town.app
    assert app.send_task("interop.make", (kind,), queue=ON_CELERY).get(PATIENCE) == value
    back = app.send_task("interop.types", (value,), queue=ON_CELERY).get(PATIENCE)
    assert back == [value, type(value).__name__]
    # And what taskq stores is what Celery stores, told by Celery's own client.
    task_id = app.send_task("interop.make", (kind,), queue=ON_TASKQ).id
    other = app.send_task("interop.make", (kind,), queue=ON_CELERY).id
    assert town.celery.get(task_id) == town.celery.get(other)


@pytest.mark.slow
def test_a_state_of_its_own(way: FromCelery, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    task_id = way.send("interop.state", str(gate))
    wait_until(gate.exists, PATIENCE, "the task")
    assert way.state(task_id) == ["PROGRESS", {"done": 7}]
    gate.unlink()
    assert way.outcome(task_id)["state"] == states.SUCCESS


@pytest.mark.slow
def test_results_that_nobody_wants(way: FromCelery, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    asked = way.send("interop.note", 1, str(notes), ignore_result=True)
    own = way.send("interop.ignored", str(notes))
    wait_until(lambda: notes.exists() and notes.read_text().count("\n") == 2, PATIENCE, "both")
    assert way.get(way.send("interop.add", 1)) == 1  # settled after them
    assert way.state(asked)[0] == way.state(own)[0] == "PENDING"


@pytest.mark.slow
def test_a_task_that_ignores_itself(way: FromCelery) -> None:
    ignored = way.send("interop.fail", "ignore")
    assert way.get(way.send("interop.add", 1)) == 1
    assert way.state(ignored)[0] in ("PENDING", "IGNORED")


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "lzma"])
@pytest.mark.slow
def test_compressed_messages(way: FromCelery, compression: str) -> None:
    text = "x" * 5000
    assert way.get(way.send("interop.add", text, "", compression=compression)) == text


@pytest.mark.slow
def test_errors_of_the_queue_itself_are_celerys(town: Town) -> None:
    """What taskq raises comes to Celery's client as the class that it catches."""
    task_id = town.celery.send("interop.nobody_knows_it", [], {}, queue=ON_TASKQ)
    assert town.celery.get(task_id)["value"][:2] == ["NotRegistered", "celery.exceptions"]
    assert town.celery.catches(task_id, "NotRegistered")
    path = str(town.folder / "slow")
    slow = town.celery.send("interop.hold", [path], {}, queue=ON_TASKQ, time_limit=0.3)
    assert town.celery.catches(slow, "TimeLimitExceeded")


def test_protocol_1(town: Town) -> None:
    celery = town.celery
    celery.protocol_1("interop.add", [1], {"y": 2}, ON_TASKQ, task_id="v1-plain")
    assert celery.get("v1-plain")["value"] == 3
    now = time.time()
    celery.protocol_1("interop.who", [], {}, ON_TASKQ, task_id="v1-late", countdown=1.5)
    assert now + 1.5 <= celery.get("v1-late")["value"]["time"] < now + 10
    past = (datetime.now(UTC) - timedelta(seconds=5)).isoformat()
    celery.protocol_1("interop.who", [], {}, ON_TASKQ, task_id="v1-old", expires=past)
    assert celery.get("v1-old")["state"] == "REVOKED"


@pytest.mark.slow
def test_protocol_1_with_callbacks(town: Town, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    note = {"task": "interop.note", "args": [str(notes)], "kwargs": {}, "options": {}}
    town.celery.protocol_1(
        "interop.add", [20, 3], {}, ON_TASKQ, task_id="v1-linked", callbacks=[note]
    )
    wait_until(lambda: notes.exists() and "23" in notes.read_text(), PATIENCE, "the callback")


@pytest.mark.parametrize(
    ("body", "reason"),
    [("{}", "no call of protocol 1"), ("text", "no call of protocol 1")],
)
@pytest.mark.slow
def test_what_is_no_call_is_a_dead_letter(town: Town, body: str, reason: str) -> None:
    town.celery.put(ON_TASKQ, body, {"a": 1}, content_type="application/json")
    wait_until(
        lambda: any(reason in one.reason for one in town.app.broker.dead_letters(ON_TASKQ)),
        PATIENCE,
        "the dead letter",
    )
    town.app.broker.purge_dead()
