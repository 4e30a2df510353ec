"""A project to run commands on, in this process and as real ones."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from taskq import TaskQ
from taskq.cli.main import cli
from taskq.context import set_current_app
from tests.cli.processes import Processes

TASKS = """\
from taskq import TaskQ

app = TaskQ("proj", broker="sqlite:///proj.db", broker_connection_timeout=0.2)


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def fail() -> None:
    raise ValueError("no luck")
"""

Run = Callable[..., Result]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder, with an app in ``proj.py``; what is imported from it is forgotten."""
    # Set first, so that what a command itself puts there is taken back too.
    monkeypatch.setenv("TASKQ_CONFIG_MODULE", "")
    for name in [name for name in os.environ if name.startswith("TASKQ_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "proj.py").write_text(TASKS)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    set_current_app(None)


@pytest.fixture
def run(project: Path) -> Run:
    """Runs a command in this process."""

    def run(*arguments: str, input: str | None = None) -> Result:
        result = CliRunner().invoke(cli, arguments, input=input, prog_name="taskq")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception  # a traceback is never what a user should see
        return result

    return run


@pytest.fixture
def app(project: Path) -> Iterator[TaskQ]:
    """An app with no tasks, on the broker of the project's."""
    with TaskQ("test", broker=f"sqlite:///{project / 'proj.db'}", set_as_current=False) as app:
        yield app


@pytest.fixture
def processes(project: Path) -> Iterator[Processes]:
    """Starts real commands in the project's folder; kills what is left of them."""
    with Processes(project) as processes:
        yield processes
