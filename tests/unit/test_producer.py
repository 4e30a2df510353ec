"""The producer: from a call to a message, and its publishing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from taskq import TaskQ, signals
from taskq.exceptions import EncodeError, ImproperlyConfigured, OperationalError, QueueNotFound
from taskq.message import TaskMessage, to_timestamp
from taskq.routing import Exchange, Queue

Build = Callable[..., TaskMessage]


@pytest.fixture
def build(app: TaskQ) -> Build:
    """Builds a message of a task that is not known here."""

    def build(*args: Any, name: str = "proj.add", **options: Any) -> TaskMessage:
        kwargs = options.pop("kwargs", {})
        return app.producer.build(name, args, kwargs, options, app.tasks.get(name))

    return build


# Headers and body, as Celery's protocol 2 has them


def test_the_headers(build: Build) -> None:
    message = build(1, "x", kwargs={"b": 2}, task_id="5")
    assert message.headers == {
        "lang": "py",
        "task": "proj.add",
        "id": "5",
        "shadow": None,
        "eta": None,
        "expires": None,
        "group": None,
        "group_index": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": "5",
        "parent_id": None,
        "argsrepr": "(1, 'x')",
        "kwargsrepr": "{'b': 2}",
        "origin": f"gen{os.getpid()}@{os.uname().nodename}",
        "ignore_result": None,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    }
    assert (message.content_type, message.content_encoding) == ("application/json", "utf-8")
    assert (message.exchange, message.routing_key, message.priority) == ("", "default", 0)
    assert (message.due, message.once, message.reply_to) == (None, None, None)


def test_the_body(build: Build) -> None:
    body = b'[[1],{"b":2},{"callbacks":null,"errbacks":null,"chain":null,"chord":null}]'
    assert build(1, kwargs={"b": 2}).body == body


def test_options_that_become_headers(build: Build) -> None:
    message = build(
        time_limit=20,
        soft_time_limit=10,
        shadow="another",
        group_id="g",
        group_index=3,
        root_id="r",
        parent_id="p",
        retries=2,
        reply_to="here",
        once="step",
        ignore_result=True,
        headers={"mine": 1, "task": "not mine"},
    )
    headers = message.headers
    assert headers["timelimit"] == [20, 10]  # hard, soft
    assert (headers["shadow"], headers["group"], headers["group_index"]) == ("another", "g", 3)
    assert (headers["root_id"], headers["parent_id"], headers["retries"]) == ("r", "p", 2)
    assert (headers["mine"], headers["task"]) == (1, "proj.add")
    assert headers["ignore_result"] is True
    assert (message.reply_to, message.once) == ("here", "step")


def test_ids_are_new(build: Build) -> None:
    assert len({build().id for _ in range(100)}) == 100


def test_large_arguments_are_short_in_the_headers(build: Build) -> None:
    message = build("x" * 1_000_000, list(range(100_000)), kwargs={"deep": [[[[["x"]]]]] * 1000})
    assert len(message.headers["argsrepr"]) <= 1024
    assert len(message.headers["kwargsrepr"]) <= 1024


def test_ignored_results(app: TaskQ, build: Build) -> None:
    app.task(name="kept", ignore_result=False)(lambda: None)
    app.task(name="plain")(lambda: None)
    ignored = {name: build(name=name).headers["ignore_result"] for name in ("kept", "plain", "x")}
    assert ignored == {"kept": False, "plain": False, "x": None}  # of x the worker knows
    app.conf.update(task_ignore_result=True)
    ignored = {name: build(name=name).headers["ignore_result"] for name in ("kept", "plain", "x")}
    assert ignored == {"kept": False, "plain": True, "x": True}


# Serializers and compression


def test_serializers(app: TaskQ, build: Build) -> None:
    app.task(name="packed", serializer="msgpack")(lambda x: None)
    assert build(1, name="packed").content_type == "application/x-msgpack"
    pickled = build(1, name="packed", serializer="pickle")
    assert (pickled.content_type, pickled.content_encoding) == (
        "application/x-python-serialize",
        "binary",
    )
    app.conf.update(task_serializer="yaml")
    assert build(1).content_type == "application/x-yaml"


def test_an_unknown_serializer(build: Build) -> None:
    with pytest.raises(ImproperlyConfigured, match="'jsn'"):
        build(1, serializer="jsn")


def test_what_cannot_be_encoded(build: Build) -> None:
    with pytest.raises(EncodeError, match="object"):
        build(object())


def test_compression(app: TaskQ, build: Build) -> None:
    app.task(name="packed", compression="bzip2")(lambda x: None)
    assert build("x", name="packed").headers["compression"] == "application/x-bz2"
    message = build("x" * 5000, name="packed", compression="gzip")
    assert message.headers["compression"] == "application/x-gzip"
    assert len(message.body) < 500
    assert "compression" not in build("x").headers
    app.conf.update(task_compression="gzip")
    assert "compression" in build("x").headers


# When


@pytest.mark.parametrize(
    "eta",
    [
        datetime(2040, 1, 1, 12, tzinfo=UTC),
        datetime(2040, 1, 1, 13, tzinfo=timezone(timedelta(hours=1))),
        datetime(2040, 1, 1, 12),  # noqa: DTZ001 - a naive one is UTC here
        "2040-01-01T12:00:00+00:00",
    ],
)
def test_eta(build: Build, eta: datetime | str) -> None:
    message = build(eta=eta)
    assert message.due == to_timestamp("2040-01-01T12:00:00+00:00")
    assert message.headers["eta"] == "2040-01-01T12:00:00+00:00"


def test_an_option_that_does_not_exist(build: Build) -> None:
    with pytest.raises(TypeError, match=r"no option 'countdwn': did you mean 'countdown'"):
        build(1, countdwn=3)


@pytest.mark.parametrize("option", ["countdown", "time_limit", "soft_time_limit"])
def test_what_is_no_number_of_seconds(build: Build, option: str) -> None:
    with pytest.raises(TypeError, match=rf"{option}='3' must be a number of seconds"):
        build(1, **{option: "3"})


def test_countdown(build: Build) -> None:
    before = time.time()
    message = build(countdown=50)
    assert message.due is not None
    assert before + 50 <= message.due <= time.time() + 50
    assert abs(to_timestamp(message.headers["eta"]) - message.due) < 1e-5


@pytest.mark.parametrize(
    "expires", [50, 50.0, timedelta(seconds=50)], ids=["int", "float", "timedelta"]
)
def test_expires_after(build: Build, expires: Any) -> None:
    before = time.time()
    moment = to_timestamp(build(expires=expires).headers["expires"])
    assert before + 49.999 <= moment <= time.time() + 50.001


def test_expires_at(app: TaskQ, build: Build) -> None:
    app.task(name="brief", expires=50)(lambda: None)
    moment = datetime(2040, 1, 1, 12, tzinfo=UTC)
    assert build(expires=moment).headers["expires"] == "2040-01-01T12:00:00+00:00"
    assert build(name="brief").headers["expires"] is not None
    assert build(name="brief", expires=moment).headers["expires"].startswith("2040")


@pytest.mark.parametrize("option", ["eta", "expires"])
@pytest.mark.parametrize("value", ["tomorrow", [], "2040-13-01"])
def test_what_is_no_moment(build: Build, option: str, value: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"{option}=.* is no moment"):
        build(**{option: value})


# Where, and how urgent


def test_priorities(app: TaskQ, build: Build) -> None:
    app.task(name="urgent", priority=8)(lambda: None)
    assert [build().priority, build(name="urgent").priority] == [0, 8]
    assert [build(priority=2).priority, build(name="urgent", priority=0).priority] == [2, 0]
    app.conf.update(task_default_priority=4)
    assert [build().priority, build(name="urgent").priority] == [4, 8]


@pytest.mark.parametrize("priority", [-1, 10, 2.5, True, "5"])
def test_what_is_no_priority(build: Build, priority: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"priority=.*'proj.add'.* 0 to 9"):
        build(priority=priority)


@pytest.mark.parametrize(("inherit", "expected"), [(True, [7, 2, 3]), (False, [0, 2, 3])])
def test_inherited_priorities(app: TaskQ, build: Build, inherit: bool, expected: list[int]) -> None:
    app.conf.update(task_inherit_parent_priority=inherit)
    app.task(name="own", priority=3)(lambda: None)
    found = []

    @app.task
    def parent() -> None:
        found.extend([build().priority, build(priority=2).priority, build(name="own").priority])

    parent.apply(priority=7)
    assert found == expected


def test_a_message_knows_who_sent_it(app: TaskQ, build: Build) -> None:
    found: list[TaskMessage] = []

    @app.task
    def parent() -> None:
        found.extend([build(), build(parent_id="p", root_id="r")])

    parent.apply(task_id="1", root_id="0")
    family = [(m.headers["parent_id"], m.headers["root_id"]) for m in found]
    assert family == [("1", "0"), ("p", "r")]


def test_queues(app: TaskQ, build: Build) -> None:
    app.task(name="slow", queue="slow")(lambda: None)
    assert build(name="slow").routing_key == "slow"
    assert build(name="slow", queue="other").routing_key == "other"
    message = build(exchange="things", routing_key="a.b")
    assert (message.exchange, message.routing_key) == ("things", "a.b")


def test_options_of_a_route() -> None:
    routes = {"proj.*": {"queue": "slow", "expires": 50, "priority": 5, "serializer": "msgpack"}}
    with TaskQ("own", broker="memory://", set_as_current=False, task_routes=routes) as app:
        message = app.producer.build("proj.add", (), {}, {})
        assert (message.routing_key, message.priority) == ("slow", 5)
        assert message.headers["expires"]
        assert message.content_type == "application/x-msgpack"
        # What the call says wins.
        own = app.producer.build("proj.add", (), {}, {"serializer": "json", "priority": 1})
        assert (own.content_type, own.priority) == ("application/json", 1)


# Publishing


class Away:
    """A broker that is away for so many attempts."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.attempts = 0
        self.published: list[TaskMessage] = []

    def publish(self, messages: Sequence[TaskMessage]) -> None:
        self.attempts += 1
        if self.attempts <= self.times:
            raise OperationalError("nobody there")
        self.published += messages

    async def apublish(self, messages: Sequence[TaskMessage]) -> None:
        self.publish(messages)

    def close(self) -> None:
        pass


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, which take no time here."""
    made: list[float] = []

    class Clock:
        time = staticmethod(time.time)

        @staticmethod
        def sleep(seconds: float) -> None:
            made.append(seconds)

    async def sleep(seconds: float) -> None:
        made.append(seconds)

    monkeypatch.setattr("taskq.producer.producer.time", Clock)
    monkeypatch.setattr("asyncio.sleep", sleep)
    return made


def away(app: TaskQ, times: int) -> Any:
    broker: Any = Away(times)
    app.use(broker, app.backend)
    return broker


async def publish(app: TaskQ, how: str, message: TaskMessage, *rest: Any) -> None:
    if how == "publish":
        app.producer.publish([message], *rest)
    else:
        await app.producer.apublish([message], *rest)


how = pytest.mark.parametrize("how", ["publish", "apublish"])


@how
async def test_it_tries_again(app: TaskQ, build: Build, pauses: list[float], how: str) -> None:
    broker = away(app, 3)
    await publish(app, how, build())
    assert len(broker.published) == 1
    assert pauses == pytest.approx([0, 0.2, 0.4])


@how
async def test_it_gives_up(app: TaskQ, build: Build, pauses: list[float], how: str) -> None:
    broker = away(app, 100)
    with pytest.raises(OperationalError, match=r"1 message.*proj.add: nobody there"):
        await publish(app, how, build())
    assert broker.attempts == 4
    assert len(pauses) == 3


@how
async def test_not_again_if_not_wanted(
    app: TaskQ, build: Build, pauses: list[float], how: str
) -> None:
    broker = away(app, 100)
    with pytest.raises(OperationalError):
        await publish(app, how, build(), False)
    app.conf.update(task_publish_retry=False)
    with pytest.raises(OperationalError):
        await publish(app, how, build())
    assert (broker.attempts, pauses) == (2, [])
    with pytest.raises(OperationalError):
        await publish(app, how, build(), True)
    assert len(pauses) == 3


@how
async def test_a_policy_of_its_own(app: TaskQ, build: Build, pauses: list[float], how: str) -> None:
    away(app, 100)
    policy = {"max_retries": 5, "interval_start": 1, "interval_step": 2, "interval_max": 4}
    with pytest.raises(OperationalError):
        await publish(app, how, build(), None, policy)
    assert pauses == [1, 3, 4, 4, 4]


def test_other_errors_are_final(app: TaskQ, build: Build, pauses: list[float]) -> None:
    with pytest.raises(QueueNotFound, match="'nowhere'"):
        app.producer.publish([build(exchange="nowhere", routing_key="key")])
    assert pauses == []


@how
async def test_queues_of_an_exchange_are_declared_first(how: str) -> None:
    queues = [Queue("q", Exchange("things", "topic"), "a.*"), Queue("other")]
    with TaskQ("own", broker="memory://", set_as_current=False, task_queues=queues) as app:
        for n in range(2):
            options: Any = {"exchange": "things", "routing_key": f"a.{n}"}
            await publish(app, how, app.producer.build("proj.add", (), {}, options))
        assert len(app.broker.browse("q", 10)) == 2


@how
async def test_signals_around_publishing(app: TaskQ, build: Build, how: str) -> None:
    heard: list[tuple[str, str, str]] = []

    def before(sender: str, headers: dict[str, Any], routing_key: str, **more: Any) -> None:
        assert app.broker.browse("default", 10) == []
        headers["added"] = 1
        heard.append(("before", sender, headers["id"]))

    def after(sender: str, headers: dict[str, Any], body: bytes, **more: Any) -> None:
        assert len(app.broker.browse("default", 10)) == 2
        heard.append(("after", sender, headers["id"]))

    signals.before_task_publish.connect(before)
    signals.after_task_publish.connect(after)
    try:
        messages = [build(task_id="1"), build(task_id="2", name="other")]
        if how == "publish":
            app.producer.publish(messages)
        else:
            await app.producer.apublish(messages)
    finally:
        signals.before_task_publish.disconnect(before)
        signals.after_task_publish.disconnect(after)
    names = [("proj.add", "1"), ("other", "2")]
    assert heard == [(when, *name) for when in ("before", "after") for name in names]
    assert all(message.headers["added"] for message in app.broker.browse("default", 10))
