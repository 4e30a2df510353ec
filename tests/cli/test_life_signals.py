"""The signals of a real worker's and a real beat's life."""

from __future__ import annotations

import signal
from pathlib import Path

from taskq import TaskQ
from tests.cli.processes import Processes
from tests.waiting import wait_until

RECEIVERS = """
from taskq import signals

app.conf.update(beat_schedule={"a": {"task": "proj.add", "schedule": 60, "args": (1, 2)}})


def note(signal, sender, **kwargs):
    with open("signals", "a") as file:
        file.write(f"{signal.name} {type(sender).__name__}")
        file.write(f" {kwargs['sig']} {kwargs['how']}\\n" if "sig" in kwargs else "\\n")


for name in (
    "worker_init worker_before_create_process worker_process_init worker_process_shutdown "
    "worker_ready worker_shutting_down worker_shutdown heartbeat_sent beat_init "
    "beat_embedded_init import_modules after_setup_logger after_setup_task_logger"
).split():
    getattr(signals, name).connect(note, weak=False)
"""


def noted(project: Path) -> list[str]:
    return (project / "signals").read_text().splitlines()


def test_a_worker_with_a_beat_in_it(processes: Processes, project: Path, app: TaskQ) -> None:
    with (project / "proj.py").open("a") as file:
        file.write(RECEIVERS)
    worker = processes.worker("-B", "-E", "--heartbeat-interval", "0.1")
    app.send_task("proj.add", (1, 2)).get(timeout=20)
    wait_until(lambda: "heartbeat_sent WorkerEvents" in noted(project), 20, "a heartbeat")
    assert worker.stop(signal.SIGINT) == 0
    found = noted(project)
    once = [
        "import_modules TaskQ",
        "after_setup_logger NoneType",
        "after_setup_task_logger NoneType",
        "worker_init Worker",
        "worker_before_create_process Worker",
        "worker_ready Worker",
        "worker_shutting_down str SIGINT Warm",
        "worker_shutdown Worker",
    ]
    assert [line for line in found if line in once] == once
    for line in ("worker_process_init TaskQ", "worker_process_shutdown TaskQ"):
        assert line in found
    assert found.count("beat_embedded_init Beat") == 1
    assert "beat_init Beat" not in found


def test_a_beat(processes: Processes, project: Path) -> None:
    with (project / "proj.py").open("a") as file:
        file.write(RECEIVERS)
    beat = processes.start("-A", "proj", "beat", "-l", "INFO")
    beat.wait_for("Starting...")
    assert beat.stop() == 0
    found = noted(project)
    assert found.count("beat_init Beat") == 1
    assert "beat_embedded_init Beat" not in found
