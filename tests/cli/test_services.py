"""Services: what starts and stops with a real worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from taskq import TaskQ
from taskq.exceptions import ImproperlyConfigured
from taskq.services import Service, installed_service
from tests.cli.processes import Processes

CODE = """
import asyncio
from taskq.services import Service


def note(text):
    with open("notes", "a") as file:
        file.write(text + "\\n")


@app.service
async def pool(worker):
    note(f"pool opens for {worker.hostname}")
    yield
    note("pool closes")


@app.service
async def tick(worker):
    note("tick runs")
    try:
        await asyncio.Event().wait()
    finally:
        note("tick ends")


@app.service
class Third(Service):
    async def start(self, worker):
        note("third starts")

    async def stop(self):
        note("third stops")
        raise ValueError("not in order")


@app.task
def slow():
    import time
    time.sleep(0.5)
    note("task ends")
"""


def add_code(project: Path, code: str) -> None:
    with (project / "proj.py").open("a") as file:
        file.write(code)


def test_they_start_before_the_first_task_and_stop_after_the_last(
    processes: Processes, project: Path, app: TaskQ
) -> None:
    add_code(project, CODE)
    app.send_task("proj.slow")
    worker = processes.worker("-n", "w1@here")
    worker.wait_for("Task proj.slow")
    assert worker.stop() == 0
    notes = (project / "notes").read_text().splitlines()
    assert notes == [
        "pool opens for w1@here",
        "third starts",
        "tick runs",
        "tick ends",
        "task ends",
        "third stops",
        "pool closes",
    ]
    assert "service Third has not stopped in order" in worker.output
    assert "ValueError: not in order" in worker.output


def test_one_that_cannot_start_keeps_the_worker_from_starting(
    processes: Processes, project: Path, app: TaskQ
) -> None:
    add_code(project, CODE)
    add_code(project, "\n@app.service\nasync def broken(worker):\n    1 / 0\n    yield\n")
    result = app.send_task("proj.add", (1, 2))
    status, output = processes.finish("-A", "proj", "worker", "-c", "1")
    assert status == 1
    assert output.endswith(
        "Error: service broken cannot start: ZeroDivisionError: division by zero\n"
    )
    assert 'proj.py", line' in output  # where that was, for whoever wrote it
    assert "pool closes" in (project / "notes").read_text()
    assert result.state == "PENDING"


def test_one_that_fails_later_ends_the_worker(processes: Processes, project: Path) -> None:
    add_code(
        project,
        "\nimport asyncio\n@app.service\nasync def fails(worker):\n"
        "    await asyncio.sleep(0.1)\n    raise OSError('gone')\n",
    )
    status, output = processes.finish("-A", "proj", "worker", "-c", "1")
    assert status == 1
    assert "the worker's service fails (0) has failed" in output
    assert "OSError: gone" in output


def test_one_that_returns_is_no_failure(processes: Processes, project: Path, app: TaskQ) -> None:
    add_code(project, "\n@app.service\nasync def once(worker):\n    print('was here')\n")
    worker = processes.worker()
    worker.wait_for("was here")
    assert app.send_task("proj.add", (1, 2)).get(timeout=20) == 3
    assert worker.stop() == 0


def test_those_of_installed_packages_and_of_settings(processes: Processes, project: Path) -> None:
    (project / "extras.py").write_text(
        "from taskq.services import Service\n"
        "class Mine(Service):\n"
        "    async def start(self, worker):\n        print('mine starts', self.name)\n"
        "async def other(worker):\n    print('other runs')\n"
    )
    info = project / "extras-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: extras\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[taskq.services]\nmine = extras:Mine\n")
    add_code(project, "\napp.conf.update(worker_services=['mine', 'extras:other'])\n")
    worker = processes.worker()
    worker.wait_for("mine starts mine")
    worker.wait_for("other runs")
    assert worker.stop() == 0
    add_code(project, "\napp.conf.update(worker_services=['absent'])\n")
    status, output = processes.finish("-A", "proj", "worker", "-c", "1")
    assert status == 2
    assert "there is no service 'absent'. Installed packages offer: mine;" in output


# In this process


@pytest.mark.parametrize(
    ("name", "says"),
    [("os:absent", "os:absent cannot be loaded"), ("no.such.module:x", "No module named 'no'")],
)
def test_what_cannot_be_loaded(name: str, says: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=says):
        installed_service(name)


def plain(worker: Any) -> None: ...


@pytest.mark.parametrize("source", [plain, int, 5])
def test_what_is_no_service(source: Any) -> None:
    app = TaskQ("x", set_as_current=False)
    with pytest.raises(ImproperlyConfigured, match="is no "):
        app.service(source)


def test_each_worker_has_its_own() -> None:
    app = TaskQ("x", set_as_current=False)

    @app.service
    class Mine(Service):
        name = "my own"

    @app.service
    async def span(worker: Any) -> AsyncIterator[None]:
        yield

    kept = app.services.add(Service())
    first, second = list(app.services), list(app.services)
    assert [service.name for service in first] == ["my own", "span", "Service"]
    assert isinstance(first[0], Mine)
    assert first[0] is not second[0]
    assert first[1] is not second[1]
    assert first[2] is second[2] is kept
