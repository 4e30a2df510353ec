"""``taskq demo``, as users run it."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.processes import TASKQ, Processes
from tests.waiting import wait_until


@pytest.fixture
def temporary(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the demo makes its folder."""
    folder = project / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def workers(folder: Path) -> list[int]:
    """The processes that work in a folder below this one."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and str(folder) in str((entry / "cwd").readlink()):
                found.append(int(entry.name))
        except OSError:
            pass  # it has ended
    return found


def test_every_task_is_accounted_for(
    processes: Processes, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Settings of the user's own apps must not reach it.
    monkeypatch.setenv("TASKQ_CONFIG_MODULE", "absent")
    monkeypatch.setenv("TASKQ_RESULT_BACKEND", "disabled://")
    status, output = processes.finish("demo")
    assert status == 0, output
    rows = re.findall(r"^ +([\d,]+) +([\d,]+)  (.*?)(?:  .*)?$", output, re.MULTILINE)
    assert len(rows) == 9
    assert all(sent == correct for sent, correct, _ in rows)
    *scenes, (total, _, last) = [(int(s.replace(",", "")), c, title) for s, c, title in rows]
    assert last == "in all"
    assert total == sum(sent for sent, _, _ in scenes) == 2009
    for told in (
        "progress  step 1 of 6",
        "progress  step 5 of 6",
        "failed: the service is busy",
        "failed 2 times, then succeeded",
        "its process died; done at delivery 2",
        "Every task is accounted for.",
    ):
        assert told in output
    assert list(temporary.iterdir()) == []
    assert workers(temporary) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupt_on_a_terminal_cleans_up(temporary: Path, number: signal.Signals) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [TASKQ, "demo"], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        try:
            _read_until(ours, lambda text: "step 1 of 6" in text)
            assert workers(temporary)
            process.send_signal(number)
            _read_until(ours, lambda text: False)
            assert process.wait(20) == 130
        finally:
            process.kill()
            os.close(ours)
    assert list(temporary.iterdir()) == []
    wait_until(lambda: not workers(temporary), 10, "the worker to end")


def _read_until(terminal: int, enough: Callable[[str], bool]) -> None:
    text = ""
    while not enough(text):
        try:
            text += os.read(terminal, 4096).decode()
        except OSError:  # how Linux tells that nobody has the other end open any more
            return


def test_death_of_the_worker_is_told(processes: Processes, temporary: Path) -> None:
    demo = processes.start("demo")
    demo.wait_for("step 1 of 6")
    for pid in workers(temporary):
        os.kill(pid, signal.SIGKILL)
    assert demo.process.wait(20) == 1
    assert "Error: the worker has ended with status -9" in demo.output
    assert list(temporary.iterdir()) == []


def test_it_takes_no_app(run: Run) -> None:
    result = run("-A", "proj", "demo")
    assert result.exit_code == 2
    assert "run it without -A" in result.output
