"""``taskq call`` and ``taskq result``."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from taskq import TaskQ, states
from tests.cli.conftest import Run


def stored(app: TaskQ, state: str, value: Any, traceback: str | None = None) -> None:
    app.backend.store([app.result_codec.encode("some-id", state, value, traceback)])


def test_call_prints_the_id_and_sends(run: Run, app: TaskQ) -> None:
    result = run("-A", "proj", "call", "proj.add", "-a", "[1]", "-k", '{"y": 2}')
    [message] = app.broker.browse("default", 10)
    assert (result.exit_code, result.stdout) == (0, message.id + "\n")
    assert message.task == "proj.add"
    assert app.serializers.decode(message.body, message.content_type)[:2] == [[1], {"y": 2}]


def test_call_with_options(run: Run, app: TaskQ) -> None:
    run(
        *("-A", "proj", "call", "proj.add", "-a", "[1, 2]", "--queue", "slow", "--priority", "9"),
        *("--eta", "2030-01-31", "--expires", "2030-02-01", "--serializer", "json"),
    )
    [message] = app.broker.browse("slow", 10)
    assert message.priority == 9
    assert message.due == datetime(2030, 1, 31, tzinfo=UTC).timestamp()
    assert message.headers["expires"].startswith("2030-02-01T00:00:00")


def test_call_with_a_countdown(run: Run, app: TaskQ) -> None:
    assert run("-A", "proj", "call", "proj.fail", "--countdown", "1000").exit_code == 0
    assert app.broker.depth("default").delayed == 1


def test_call_by_routing_key(run: Run, app: TaskQ) -> None:
    run("-A", "proj", "call", "proj.fail", "--exchange", "", "--routing-key", "other")
    assert app.broker.depth("other").ready == 1


def test_call_of_an_unknown_task_warns_and_sends(run: Run, app: TaskQ) -> None:
    result = run("-A", "proj", "call", "proj.ad")
    assert result.exit_code == 0
    assert "warning: the app has no task 'proj.ad': did you mean 'proj.add'?" in result.output
    assert [message.task for message in app.broker.browse("default", 10)] == ["proj.ad"]


def test_call_without_an_app_knows_no_tasks(run: Run) -> None:
    result = run("-b", "sqlite:///proj.db", "call", "anything")
    assert result.exit_code == 0
    assert "warning" not in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["proj.add", "-a", "[1]"], "missing a required argument: 'y'"),
        (["proj.fail", "--countdown", "1", "--eta", "2030-01-01"], "give one of them"),
        (["proj.fail", "--serializer", "runes"], "unknown serializer 'runes'"),
        (["proj.fail", "--priority", "10"], "10 is not in the range"),
        (["proj.fail", "-a", "nonsense"], "'nonsense' is no JSON"),
        ([], "Missing argument 'NAME'"),
    ],
)
def test_call_refuses(run: Run, app: TaskQ, arguments: list[str], said: str) -> None:
    result = run("-A", "proj", "call", *arguments)
    assert result.exit_code == 2
    assert said in result.output
    assert app.broker.depth("default").ready == 0


def test_call_on_a_locked_database(run: Run, app: TaskQ, project: Path) -> None:
    app.broker.queues()
    lock = sqlite3.connect(project / "proj.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    result = run("-A", "proj", "call", "proj.fail")
    lock.close()
    assert result.exit_code == 1
    assert "Error: cannot send 1 message(s) of proj.fail" in result.output
    assert "another process holds its lock for too long" in result.output


@pytest.mark.parametrize(
    ("value", "printed"),
    [("text\nof two lines", "text\nof two lines\n"), (5, "5\n"), (None, "null\n")],
)
def test_result_of_a_success(run: Run, app: TaskQ, value: Any, printed: str) -> None:
    stored(app, states.SUCCESS, value)
    result = run("-A", "proj", "result", "some-id")
    assert (result.exit_code, result.stdout) == (0, printed)


def test_result_of_a_failure(run: Run, app: TaskQ) -> None:
    stored(app, states.FAILURE, ValueError("no luck"), "Traceback: somewhere\n")
    result = run("-A", "proj", "result", "some-id")
    assert result.exit_code == 1
    assert result.output == "Error: some-id: FAILURE: ValueError: no luck\n"
    result = run("-A", "proj", "result", "some-id", "--traceback")
    assert result.output.startswith("Traceback: somewhere\nError:")


def test_result_on_the_way(run: Run, app: TaskQ) -> None:
    stored(app, "PROGRESS", {"step": 1})
    result = run("-A", "proj", "result", "some-id", "--wait", "0.01")
    assert result.exit_code == 1
    assert result.output == "Error: some-id: PROGRESS: {'step': 1}: it has not ended\n"


def test_result_unknown(run: Run) -> None:
    result = run("-A", "proj", "result", "some-id", "--wait", "0.01")
    assert result.exit_code == 1
    assert "some-id: nothing is known of it" in result.output


def test_result_of_a_named_store(run: Run, app: TaskQ) -> None:
    stored(app, states.SUCCESS, 5)
    assert run("result", "some-id", "--result-backend", "sqlite:///proj.db").stdout == "5\n"
    assert run("result", "some-id").exit_code == 2


def test_result_where_none_is_kept(run: Run) -> None:
    result = run("-A", "proj", "--result-backend", "disabled://", "result", "some-id")
    assert result.exit_code == 2
    assert "no results are kept" in result.output
