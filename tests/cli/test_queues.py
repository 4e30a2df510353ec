"""``taskq queues`` and ``taskq purge``."""

from __future__ import annotations

import json

import pytest

from taskq import TaskQ
from tests.cli.conftest import Run


@pytest.fixture(autouse=True)
def filled(app: TaskQ) -> None:
    """One message in ``default``, and two, one of them delayed, in ``slow``."""
    app.send_task("proj.add")
    app.send_task("proj.add", queue="slow")
    app.send_task("proj.add", queue="slow", countdown=1000)


def depths(app: TaskQ) -> list[int]:
    queues = [app.broker.depth(name) for name in ("default", "slow")]
    return [queue.ready + queue.delayed for queue in queues]


def test_queues(run: Run) -> None:
    assert [line.split() for line in run("-A", "proj", "queues").stdout.splitlines()] == [
        ["queue", "ready", "leased", "delayed", "dead"],
        ["default", "1", "0", "0", "0"],
        ["slow", "1", "0", "1", "0"],
    ]


def test_queues_as_json(run: Run) -> None:
    assert json.loads(run("-A", "proj", "queues", "--json").stdout) == {
        "default": {"ready": 1, "leased": 0, "delayed": 0, "dead": 0, "paused": False},
        "slow": {"ready": 1, "leased": 0, "delayed": 1, "dead": 0, "paused": False},
    }


def test_pausing(run: Run, app: TaskQ) -> None:
    assert run("-A", "proj", "queues", "pause", "slow", "new").stdout == (
        "slow is paused\nnew is paused\n"
    )
    assert app.broker.paused() == ["new", "slow"]
    shown = run("-A", "proj", "queues").stdout.splitlines()
    assert [line.split()[-1] for line in shown] == ["dead", "0", "paused", "paused"]
    resumed = run("-A", "proj", "queues", "resume", "slow", "default").stdout
    assert resumed == "slow is resumed\ndefault was not paused\n"
    assert app.broker.paused() == ["new"]
    assert run("-A", "proj", "-q", "queues", "resume", "new").stdout == ""


def test_pausing_nothing(run: Run) -> None:
    result = run("-A", "proj", "queues", "pause")
    assert result.exit_code == 2
    assert "NAME" in result.output


def test_purge_takes_the_declared_queues(run: Run, app: TaskQ) -> None:
    result = run("-A", "proj", "purge", "-f")
    assert result.stdout == "deleted 1 message from default\n"
    assert depths(app) == [0, 2]


def test_purge_takes_those_that_are_named(run: Run, app: TaskQ) -> None:
    result = run("-A", "proj", "purge", "-f", "-Q", "default,slow", "-X", "default")
    assert result.stdout == "deleted 2 messages from slow\n"
    assert depths(app) == [1, 0]


@pytest.mark.parametrize(("answer", "status", "left"), [("y\n", 0, 0), ("n\n", 1, 1), ("", 1, 1)])
def test_purge_asks(run: Run, app: TaskQ, answer: str, status: int, left: int) -> None:
    result = run("-A", "proj", "purge", input=answer)
    assert result.exit_code == status
    assert "Delete 1 message from default?" in result.output
    assert depths(app) == [left, 2]


def test_purge_quietly(run: Run) -> None:
    assert run("-A", "proj", "-q", "purge", "-f").output == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-Q", "solw"], "-Q solw: there are the queues default, slow"),
        (["-X", "solw"], "-X solw: not among the queues default"),
        (["-X", "default"], "-X default: no queue is left"),
    ],
)
def test_purge_refuses(run: Run, app: TaskQ, arguments: list[str], said: str) -> None:
    result = run("-A", "proj", "purge", "-f", *arguments)
    assert result.exit_code == 2
    assert said in result.output
    assert depths(app) == [1, 2]
