"""``taskq multi``."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskq import TaskQ
from tests.cli.conftest import Run
from tests.cli.processes import Processes

HOST = socket.gethostname()


@pytest.fixture(autouse=True)
def left_behind(project: Path) -> Iterator[None]:
    """Kill what a test that failed has left in the background."""
    yield
    for file in project.glob("**/*.pid"):
        try:
            os.kill(int(file.read_text()), signal.SIGKILL)
        except (ProcessLookupError, FileNotFoundError):
            pass


def test_a_life(processes: Processes, project: Path, app: TaskQ) -> None:
    nodes, pidfile = ("w1", "w2"), "--pidfile=run-%n.pid"
    options = (*nodes, "-A", "proj", "-l", "INFO", "-c", "1", pidfile, "-Q:w2", "slow")
    status, output = processes.finish("multi", "start", *options)
    pids = [int((project / f"run-{name}.pid").read_text()) for name in nodes]
    assert status == 0, output
    assert output == "".join(
        f"{name}@{HOST}: started, as process {pid}\n" for name, pid in zip(nodes, pids, strict=True)
    )
    slow = app.send_task("proj.add", (1, 2), queue="slow")
    assert slow.get(timeout=20) == 3
    assert f"w2@{HOST} ready." in (project / "w2.log").read_text()
    # What runs already is left alone, and said.
    status, output = processes.finish("multi", "start", *options)
    assert (status, output.count("runs already, as process")) == (1, 2)
    status, output = processes.finish("multi", "restart", *options)
    again = [int((project / f"run-{name}.pid").read_text()) for name in nodes]
    assert status == 0, output
    assert not set(pids) & set(again)
    status, output = processes.finish("multi", "stopwait", "w1", pidfile)
    assert output == f"w1@{HOST}: stops (process {again[0]})\nw1@{HOST}: has ended\n"
    assert not (project / "run-w1.pid").exists()
    assert f"w1@{HOST} stopped." in (project / "w1.log").read_text()
    status, output = processes.finish("multi", "kill", *nodes, pidfile)
    assert f"w1@{HOST}: does not run\n" in output
    assert f"w2@{HOST}: killed (process {again[1]})\nw2@{HOST}: has ended\n" in output


def test_one_that_cannot_start_does_not_keep_the_others(
    processes: Processes, project: Path
) -> None:
    status, output = processes.finish(
        "-A", "proj", "multi", "start", "2", "-c", "1", "-f:1", "no/such/dir.log"
    )
    assert status == 1
    assert "--logfile no/such/dir.log cannot be written" in output
    assert f"taskq1@{HOST}: could not be started (status 1)\n" in output
    assert f"taskq2@{HOST}: started, as process" in output
    assert processes.finish("multi", "stopwait", "2")[0] == 0


def shown(run: Run, *arguments: str) -> list[str]:
    result = run("multi", "show", *arguments)
    assert result.exit_code == 0, result.stderr
    return [line.replace(HOST, "HOST") for line in result.stdout.splitlines()]


def test_options_of_some_nodes(run: Run) -> None:
    lines = shown(
        run, "4", "-A", "proj", "-c:1,3-4", "2", "-c", "9", "-l:taskq2=DEBUG", "-E", "-c5", "-P:1",
        "solo", "--time-limit:2-3=7",
    )  # fmt: skip
    files = "-D --pidfile %n.pid --logfile %n.log"
    assert lines == [
        f"taskq worker -n taskq1@HOST {files} -A proj -c 9 -E -c 5 -c 2 -P solo",
        f"taskq worker -n taskq2@HOST {files} -A proj -c 9 -E -c 5 -l DEBUG --time-limit 7",
        f"taskq worker -n taskq3@HOST {files} -A proj -c 9 -E -c 5 -c 2 --time-limit 7",
        f"taskq worker -n taskq4@HOST {files} -A proj -c 9 -E -c 5 -c 2",
    ]


def test_options_before_it_and_files(run: Run) -> None:
    result = run(
        "-A", "proj", "-b", "redis://h", "multi", "show", "a@b", "-f", "/l/%n", "--pidfile=p"
    )
    assert result.stdout == (
        "taskq worker -A proj --broker redis://h -n a@b -D -f /l/%n --pidfile p\n"
    )


def test_help_starts_nothing(run: Run) -> None:
    for arguments in ((), ("3", "-c", "1")):
        result = run("-A", "proj", "multi", "start", *arguments, "--help")
        assert (result.exit_code, "stopwait waits until they have" in result.stdout) == (0, True)
    assert run("multi", "start", "3", "--what", "--help").exit_code == 2


def test_names(run: Run) -> None:
    assert run("multi", "names", "2").stdout == f"taskq1@{HOST}\ntaskq2@{HOST}\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "which nodes? Give names"),
        (("0",), "at least 1 is needed"),
        (("a", "a"), "two nodes are called a"),
        (("a", "--what"), "a worker has no option --what"),
        (("a", "-c"), "-c needs a value"),
        (("a", "-E", "b"), "'b' is no option: names of nodes stand before"),
        (("a", "-n", "x"), "-n is not for multi"),
        (("2", "-c:3", "1"), ":3: there are nodes 1 to 2"),
        (("2", "-c:x", "1"), ":x: there is no node 'x', only taskq1, taskq2"),
    ],
)
def test_mistakes(run: Run, arguments: tuple[str, ...], says: str) -> None:
    result = run("multi", "show", *arguments)
    assert (result.exit_code, says in result.stderr) == (2, True), result.stderr


def test_without_an_app(run: Run) -> None:
    result = run("multi", "start", "1")
    assert (result.exit_code, "which app?" in result.stderr) == (2, True)
