"""``taskq settings`` and ``taskq report``."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from taskq import __version__
from taskq.settings import SETTINGS
from tests.cli.conftest import Run

SECRET = "redis://user:geheim@host/0"


def test_settings_that_something_has_set(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKQ_TASK_TIME_LIMIT", "7")
    lines = run("-A", "proj", "settings").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["setting", "value", "from"],
        ["broker_connection_timeout", "0.2", "keyword"],
        ["broker_url", "'sqlite:///proj.db'", "keyword"],
        ["task_time_limit", "7.0", "environment", "variable", "TASKQ_TASK_TIME_LIMIT"],
    ]


def test_settings_without_an_app(run: Run) -> None:
    assert "all settings have their defaults" in run("settings").stdout


def test_all_settings(run: Run) -> None:
    shown = json.loads(run("-A", "proj", "settings", "--all", "--json").stdout)
    assert shown.keys() == SETTINGS.keys()
    assert shown["task_serializer"] == {"value": "json", "source": "default"}
    assert len(run("settings", "--all").stdout.splitlines()) == len(SETTINGS) + 1


@pytest.mark.parametrize("command", ["settings", "report"])
def test_secrets_are_masked(run: Run, command: str) -> None:
    output = run(command, "-b", SECRET, "--result-backend", SECRET).output
    assert "user:" in output
    assert "geheim" not in output


def test_documentation_is_made_of_the_declarations(run: Run) -> None:
    header, rule, *rows = run("settings", "--docs").stdout.splitlines()
    assert header.count("|") == rule.count("|")
    assert [row.split("`")[1] for row in rows] == sorted(SETTINGS)
    by_name = {row.split("`")[1]: row for row in rows}
    assert by_name["broker_lease"].startswith(
        "| `broker_lease` | a number of seconds of at least 1 | `30.0` | Seconds after which"
    )


def test_report(run: Run, project: Path) -> None:
    output = run("-A", "proj", "report").stdout
    assert f"taskq     {__version__}" in output
    assert platform.python_version() in output
    assert "broker    sqlite:///proj.db" in output
    assert "broker_connection_timeout = 0.2  (keyword)" in output
    assert not (project / "proj.db").exists()
