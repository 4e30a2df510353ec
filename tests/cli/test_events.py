"""``taskq events``: lines, snapshots, and the live view."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from taskq import TaskQ
from taskq.cli.events.dump import line_of
from taskq.cli.events.view import picture
from taskq.events import State
from taskq.events.snapshot import Polaroid, find_camera, seconds_between
from taskq.exceptions import ImproperlyConfigured
from tests.cli.conftest import Run
from tests.cli.processes import PATIENCE, TASKQ, Processes
from tests.waiting import wait_until

CAMERA = """
from taskq.events.snapshot import Polaroid


class Camera(Polaroid):
    def on_shutter(self, state):
        print("snapshot", len(state.tasks), sorted(state.workers), flush=True)


class Broken(Polaroid):
    def on_shutter(self, state):
        raise ValueError("no film")
"""


def tell(app: TaskQ, kind: str, **fields: object) -> bool:
    return app.events.Dispatcher(hostname="w@here").send(kind, **fields)


def test_dumping(app: TaskQ, processes: Processes) -> None:
    lines = processes.start("-A", "proj", "events", "--dump")
    plain = processes.start("-A", "proj", "events", "--json")
    for running in (lines, plain):
        wait_until(
            lambda running=running: tell(app, "task-begins") and running.output != "",  # type: ignore[misc]
            PATIENCE,
            "it to listen",
        )
    tell(app, "task-received", uuid="7", name="add", args="(1, 2)", kwargs="{}", retries=0)
    tell(app, "task-succeeded", uuid="7", result="3", runtime=0.5)
    lines.wait_for("task succeeded: add(7) result=3 runtime=0.5")
    assert "task received: add(7) args=(1, 2) kwargs={}" in lines.output
    plain.wait_for("task-succeeded")
    last = json.loads(plain.output.splitlines()[-1])
    assert (last["uuid"], last["result"], last["hostname"]) == ("7", "3", "w@here")
    for running in (lines, plain):
        assert running.stop(signal.SIGINT) == 130
        assert "Traceback" not in running.output


def test_a_camera(app: TaskQ, project: Path, processes: Processes) -> None:
    (project / "monitor.py").write_text(CAMERA)
    running = processes.start("-A", "proj", "events", "-c", "monitor:Camera", "-F", "0.05")
    running.wait_for("snapshot 0 []")
    wait_until(  # again and again, since it may not have listened before
        lambda: (
            tell(app, "task-received", uuid="7", name="add")
            and "snapshot 1 ['w@here']" in running.output
        ),
        PATIENCE,
        "a snapshot with the task",
    )
    assert running.stop(signal.SIGINT) == 130
    assert "Traceback" not in running.output


def test_a_camera_that_fails_goes_on(project: Path, processes: Processes) -> None:
    (project / "monitor.py").write_text(CAMERA)
    running = processes.start("-A", "proj", "events", "-c", "monitor.Broken", "-F", "0.02")
    wait_until(lambda: running.output.count("no film") >= 2, PATIENCE, "two attempts")
    assert running.stop(signal.SIGINT) == 130


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-c", "nothing"], "write module:Class"),
        (["-c", "proj:app"], "no class app"),
        (["-c", "no_such_module:Camera"], "no_such_module"),
        (["-c", "proj:add", "--dump"], "choose one"),
        (["--maxrate", "1/m"], "--maxrate is for --camera"),
        (["-F", "0"], "0"),
    ],
)
def test_misuse(run: Run, arguments: list[str], said: str) -> None:
    result = run("-A", "proj", "events", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_the_live_view_on_a_terminal(app: TaskQ, project: Path) -> None:
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        [TASKQ, "-A", "proj", "events", "-F", "0.05"],
        cwd=project,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "30"},
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    seen = bytearray()

    def shows(text: str) -> bool:
        try:
            while chunk := os.read(ours, 65536):
                seen.extend(chunk)
        except (BlockingIOError, OSError):
            pass
        return text in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode(errors="replace"))

    try:
        wait_until(lambda: shows("Nothing is told yet"), PATIENCE, "the first picture")

        def shows_both() -> bool:
            # Again and again, since it may not have listened before.
            tell(app, "worker-heartbeat", freq=2.0, active=1, processed=5, loadavg=[1, 2, 3])
            tell(app, "task-failed", uuid="7", exception="ValueError('no luck')")
            return shows("no luck") and shows("w@here")

        wait_until(shows_both, PATIENCE, "both")
        running.send_signal(signal.SIGINT)
        assert running.wait(PATIENCE) == 130
        assert not shows("Traceback")
    finally:
        running.kill()
        running.wait()
        os.close(ours)


def test_lines() -> None:
    names: dict[str, str] = {}
    line = line_of({"type": "worker-online", "hostname": "w", "timestamp": 0.0, "freq": 2}, names)
    assert re.fullmatch(r"w \[1970-01-01 .*\] worker online freq=2", line)
    line = line_of({"type": "task-started", "uuid": "7", "timestamp": 0.0}, names)
    assert line.endswith("task started: ?(7)")
    for n in range(10_050):
        line_of({"type": "task-received", "uuid": str(n), "name": "add"}, names)
    assert len(names) == 10_000
    failed = {"type": "task-failed", "uuid": "10049", "traceback": "a\nb", "exception": "x" * 500}
    assert "\n" not in line_of(failed, names)


def test_pictures_have_room_for_everything() -> None:
    from rich.console import Console

    state = State()
    for n in range(200):
        state.event({"type": "task-received", "uuid": str(n), "name": "add", "hostname": f"w{n}"})
    for height in (1, 5, 24, 100):
        console = Console(width=100, height=height, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
        console.print(picture(state, height))
        assert "200 workers, 200 events" in console.export_text()
        console.file.close()


def test_how_often_a_camera_may_shoot() -> None:
    assert seconds_between(None) == 0.0
    assert seconds_between("10/m") == 6.0
    assert seconds_between(4) == 0.25
    assert seconds_between("2") == 0.5
    assert seconds_between("1/h") == 3600
    for wrong in ("often", "1/d", "0/s"):
        with pytest.raises(ImproperlyConfigured, match="write for example"):
            seconds_between(wrong)
    shots: list[int] = []

    class Camera(Polaroid):
        def on_shutter(self, state: State) -> None:
            shots.append(len(state.tasks))

    state = State()
    state.event({"type": "task-succeeded", "uuid": "1", "timestamp": time.time()})
    slow, quick = Camera(state, maxrate="1/h"), Camera(state)
    for camera in (slow, slow, quick, quick):
        camera.shutter()
    assert shots == [1, 1, 1]
    quick.clear_after = True
    quick.shutter()
    assert not state.tasks
    assert find_camera("taskq.events.snapshot:Polaroid") is Polaroid
