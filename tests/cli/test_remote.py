"""``taskq inspect``, ``control`` and ``status``, on a real worker and on nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskq import context
from taskq.cli.failure import Misuse
from taskq.cli.remote import read_arguments
from taskq.control.commands import CommandInfo
from tests.cli.conftest import TASKS, Run
from tests.cli.processes import Processes

COMMANDS = """

from taskq.control import control_command, inspect_command


@control_command(args=[("n", int), ("fast", bool)], variadic="rest")
def rotate(state, n=1, fast=False, rest=()):
    "Turn it."
    return {"ok": [n, fast, list(rest)]}


@inspect_command(default_timeout=20)
def think(state):
    "Think."
    return state.hostname
"""


@pytest.fixture(autouse=True)
def commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "_commands", {})


@pytest.fixture
def worker(project: Path, processes: Processes) -> Iterator[None]:
    """A worker named w@here, with commands of the project's own."""
    (project / "proj.py").write_text(TASKS + COMMANDS)
    running = processes.start("-A", "proj", "worker", "-n", "w@here", "-c", "1", "-l", "INFO")
    running.wait_for(" ready.")
    yield
    running.stop()


WAIT = ("-t", "20", "-d", "w@here")


@pytest.mark.usefixtures("worker")
def test_a_worker_is_asked_and_steered(run: Run) -> None:
    taskq = ("-A", "proj")
    assert run(*taskq, "status", *WAIT).stdout == "w@here: OK\n\n1 node online.\n"
    assert run(*taskq, "-q", "status", *WAIT).stdout == "w@here: OK\n"
    assert json.loads(run(*taskq, "status", "-j", *WAIT).stdout) == {"w@here": {"ok": "pong"}}
    pinged = run(*taskq, "inspect", "ping", *WAIT)
    assert pinged.stdout == "-> w@here: OK\n   pong\n\n1 node online.\n"
    assert "* proj.add" in run(*taskq, "inspect", "registered", *WAIT).stdout
    assert "- empty -" in run(*taskq, "inspect", "active", *WAIT).stdout
    stats = json.loads(run(*taskq, "inspect", "stats", "--json", *WAIT).stdout)
    assert stats["w@here"]["pool"]["max-concurrency"] == 1
    settings = json.loads(run(*taskq, "inspect", "conf", "true", "-j", *WAIT).stdout)
    assert settings["w@here"]["worker_pool"] == "prefork"
    added = run(*taskq, "control", "add_consumer", "more", "x", "topic", "a.#", *WAIT)
    assert "add consumer more" in added.stdout
    queues = json.loads(run(*taskq, "inspect", "active_queues", "-j", *WAIT).stdout)["w@here"]
    assert [queue["name"] for queue in queues] == ["default", "more"]
    assert queues[1]["exchange"]["type"] == "topic"
    refused = run(*taskq, "control", "cancel_consumer", "nothing", *WAIT)
    assert "-> w@here: ERROR\n   cancel_consumer: does not consume" in refused.stdout
    assert refused.exit_code == 1
    assert "pool will grow" in run(*taskq, "control", "pool_grow", "2", *WAIT).stdout
    own = run(*taskq, "control", "rotate", "3", "yes", "a", "b", "-j", *WAIT)
    assert json.loads(own.stdout) == {"w@here": {"ok": [3, True, ["a", "b"]]}}
    assert "w@here" in run(*taskq, "inspect", "think", "-d", "w@here").stdout
    by_pattern = run(*taskq, "status", "--pattern", "w@*", "-t", "1")
    assert by_pattern.exit_code == 0
    assert run(*taskq, "status", "--pattern", "v@*", "-t", "0.05").exit_code == 69
    limits = run(*taskq, "control", "time_limit", "proj.add", "1.5", "20", *WAIT)
    assert "time limits set successfully" in limits.stdout
    assert "shutting down" in run(*taskq, "control", "shutdown", *WAIT).stdout


def test_nobody_answers(run: Run) -> None:
    for command in (["status"], ["inspect", "ping"], ["control", "pool_grow"]):
        result = run("-A", "proj", *command, "-t", "0.05")
        assert result.exit_code == 69
        assert "no worker has answered within 0.05 s" in result.stderr
        assert result.stdout == ""


def test_listing(run: Run, project: Path) -> None:
    (project / "proj.py").write_text(TASKS + COMMANDS)
    shown = run("inspect", "--list").stdout
    assert "active_queues" in shown
    assert "add_consumer" not in shown
    assert "hello" not in shown
    shown = run("-A", "proj", "control", "--list").stdout
    assert "add_consumer <queue> [exchange" in shown
    assert "rotate <n> <fast> [rest ...]      Turn it." in shown
    assert all(len(line) <= 100 for line in shown.splitlines())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["inspect"], "taskq inspect --list"),
        (["inspect", "pong"], "did you mean ping?"),
        (["control", "add_comsumer", "q"], "did you mean add_consumer"),
        (["inspect", "pool_grow"], "pool_grow is a command of `taskq control`"),
        (["control", "pool_grow", "much"], "n='much' is no int"),
        (["control", "pool_grow", "1", "2"], "pool_grow takes 1 argument, not 2"),
        (["inspect", "ping", "x"], "ping takes 0 arguments"),
        (["control", "revoke"], "revoke needs one task_id at least: revoke <task_id> ..."),
        (["control", "terminate", "TERM"], "terminate <signal> <task_id> ..."),
        (["inspect", "conf", "perhaps"], "'perhaps' is no bool"),
        (["inspect", "ping", "--pattern", "[", "--matcher", "pcre"], "regular expression"),
        (["status", "-t", "-1"], "-1"),
    ],
)
def test_misuse(run: Run, arguments: list[str], said: str) -> None:
    result = run("-A", "proj", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_reading_arguments() -> None:
    info = CommandInfo("x", "control", "", (("a", str), ("b", float), ("c", bool)), "rest")
    assert read_arguments(info, []) == {"rest": []}
    assert read_arguments(info, ["1", "2", "no", "3", "4"]) == {
        "a": "1",
        "b": 2.0,
        "c": False,
        "rest": ["3", "4"],
    }
    with pytest.raises(Misuse, match="b='x' is no float"):
        read_arguments(info, ["1", "x"])
