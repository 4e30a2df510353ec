"""``taskq migrate``."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskq import TaskQ
from tests.cli.conftest import Run
from tests.servers import RedisServer


def url(project: Path) -> str:
    return f"sqlite:///{project / 'other.db'}"


def test_messages_move_with_all_they_have(project: Path, run: Run, app: TaskQ) -> None:
    first = app.send_task("proj.add", (1, 2), priority=7, headers={"tenant": "acme"})
    slow = app.send_task("proj.add", (3, 4), queue="slow")
    later = app.send_task("proj.add", (5, 6), countdown=3600)
    result = run("migrate", "sqlite:///proj.db", "sqlite:///other.db")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "moved 2 messages of default, slow\n"
    assert result.stderr == "default: 1 message not due yet left behind\n"
    with TaskQ("other", broker=url(project), set_as_current=False) as other:
        (moved,) = other.broker.browse("default", 10)
        assert (moved.id, moved.priority, moved.headers["tenant"]) == (first.id, 7, "acme")
        assert [message.id for message in other.broker.browse("slow", 10)] == [slow.id]
    assert [message.id for message in app.broker.browse("default", 10)] == [later.id]
    assert app.broker.browse("slow", 10) == []


def test_some_queues_and_a_limit(project: Path, run: Run, app: TaskQ) -> None:
    for number in range(5):
        app.send_task("proj.add", (number, 0))
        app.send_task("proj.add", (number, 0), queue="slow")
    result = run(
        "-A", "proj", "migrate", "sqlite:///proj.db", url(project), "-n", "3", "-Q", "slow"
    )
    assert result.stdout == "moved 3 messages of slow\n"
    assert (app.broker.depth("slow").ready, app.broker.depth("default").ready) == (2, 5)
    assert app.broker.depth("slow").leased == 0


@pytest.mark.redis
def test_from_one_kind_of_broker_to_another(
    project: Path, run: Run, app: TaskQ, redis: RedisServer
) -> None:
    sent = {app.send_task("proj.add", (number, 0)).id for number in range(300)}
    assert run("migrate", "sqlite:///proj.db", redis.url).stdout.startswith("moved 300 messages")
    with TaskQ("other", broker=redis.url, set_as_current=False) as other:
        assert {message.id for message in other.broker.browse("default", 1000)} == sent
    assert app.broker.depth("default").ready == 0


@pytest.mark.redis
def test_celerys_layout_on_redis(project: Path, run: Run, app: TaskQ, redis: RedisServer) -> None:
    source = f"kombu+{redis.url}"
    with TaskQ("old", broker=source, set_as_current=False) as old:
        sent = [old.send_task("proj.add", (number, 0), queue="old").id for number in range(3)]
        result = run("migrate", source, "sqlite:///proj.db", "-Q", "old")
        assert result.stdout == "moved 3 messages of old\n", result.stderr
        assert sorted(message.id for message in app.broker.browse("old", 10)) == sorted(sent)
        assert old.broker.depth("old").ready == 0


def test_a_broker_that_is_away_loses_nothing(project: Path, run: Run, app: TaskQ) -> None:
    app.send_task("proj.add", (1, 2))
    result = run("-A", "proj", "migrate", "sqlite:///proj.db", "redis://127.0.0.1:1/0")
    assert result.exit_code == 1
    assert "Traceback" not in result.stderr
    depth = app.broker.depth("default")
    assert (depth.ready, depth.leased) == (1, 0)
