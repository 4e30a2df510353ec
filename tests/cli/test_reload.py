"""``taskq worker --reload``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from taskq import TaskQ
from taskq.cli.reloading import import_roots, outermost, syntax_errors
from tests.cli.conftest import TASKS, Run
from tests.cli.processes import Processes, Running
from tests.waiting import wait_until

WORKER = ("-A", "proj", "worker", "-c", "1", "-l", "INFO", "--reload")


def wait_for_times(worker: Running, text: str, count: int) -> None:
    wait_until(lambda: worker.output.count(text) >= count, 20, f"{text} {count} times")


def test_new_code_after_a_change(processes: Processes, project: Path, app: TaskQ) -> None:
    worker = processes.start(*WORKER, "--pidfile", "w.pid")
    worker.wait_for("ready.")
    worker.wait_for(f"watching {project}")
    assert app.send_task("proj.add", (3, 4)).get(timeout=20) == 7
    # A file that is no Python is shown, and the worker goes on.
    (project / "proj.py").write_text(TASKS + "\ndef broken(:\n")
    worker.wait_for("SyntaxError: invalid syntax")
    assert app.send_task("proj.add", (3, 4)).get(timeout=20) == 7
    # One that fails when it is imported is waited for by the new process.
    (project / "proj.py").write_text(TASKS + "\n1 / 0\n")
    worker.wait_for("ZeroDivisionError: division by zero")
    worker.wait_for("waiting for a change")
    (project / "proj.py").write_text(TASKS.replace("x + y", "x * y"))
    wait_for_times(worker, "ready.", 2)
    assert app.send_task("proj.add", (3, 4)).get(timeout=20) == 12
    assert (project / "w.pid").read_text() == f"{worker.process.pid}\n"
    assert worker.stop() == 0


def test_a_running_task_ends_first(processes: Processes, project: Path, app: TaskQ) -> None:
    slow = TASKS + (
        "\n@app.task\ndef wait():\n    import time, pathlib\n"
        "    pathlib.Path('begun').touch()\n"
        "    while not pathlib.Path('go').exists():\n        time.sleep(0.01)\n    return 1\n"
    )
    (project / "proj.py").write_text(slow)
    worker = processes.start(*WORKER)
    worker.wait_for(f"watching {project}")
    result = app.send_task("proj.wait")
    wait_until((project / "begun").exists, 20, "the task")
    (project / "proj.py").write_text(slow.replace("return 1", "return 2"))
    worker.wait_for("proj.py changed")
    (project / "go").touch()
    assert result.get(timeout=20) == 1
    wait_for_times(worker, "ready.", 2)
    assert app.send_task("proj.wait").get(timeout=20) == 2
    assert worker.stop() == 0


def test_ctrl_c_while_it_waits(processes: Processes, project: Path) -> None:
    (project / "proj.py").write_text("import absent\n")
    worker = processes.start(*WORKER)
    worker.wait_for("waiting for a change")
    assert worker.stop(signal.SIGINT) == 130


@pytest.mark.parametrize("missing", [True, False])
def test_what_does_not_go(run: Run, monkeypatch: pytest.MonkeyPatch, missing: bool) -> None:
    if missing:
        monkeypatch.setitem(sys.modules, "watchfiles", None)
        result = run(*WORKER)
        assert "--reload needs watchfiles: pip install 'taskq[reload]'" in result.stderr
    else:
        result = run(*WORKER, "-D")
        assert "--reload is for development: it does not go with --detach" in result.stderr
    assert result.exit_code == 2


def test_what_is_watched(project: Path) -> None:
    (project / "proj.py").write_text("")
    sys.path.insert(0, str(project))
    __import__("proj")
    roots = import_roots(sys.modules.values())
    assert project in roots
    assert not any("site-packages" in root.parts for root in roots)
    assert not any(
        root.name in ("asyncio", "json", "cli") for root in roots - {Path(__file__).parent}
    )
    assert outermost([Path("/a/b"), Path("/a"), Path("/c/d"), Path("/ab")]) == [
        Path("/a"),
        Path("/ab"),
        Path("/c/d"),
    ]


def test_errors_of_files(tmp_path: Path) -> None:
    good, bad, gone = tmp_path / "good.py", tmp_path / "bad.py", tmp_path / "gone.py"
    good.write_text("x = 1\n")
    bad.write_text("x = (\n")
    (found,) = syntax_errors([good, bad, gone])
    assert "bad.py" in found
    assert "'(' was never closed" in found
