"""A pool that another package brings, by the entry point ``taskq.pools``."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskq import TaskQ
from tests.cli.processes import Processes

POOL = """
from collections.abc import Callable
from typing import Any

from taskq.worker.pool.executors.base import Executor


class Plain(Executor):
    '''Runs one task after the other, and says so; nothing interrupts a task.'''

    single = True

    def run(self) -> None:
        lane = self.child.lane(0, self.invoke)
        while (packet := self.child.receive()) is not None:
            how, items = packet
            lane.take(items)
            lane.serve(how == 1, items)

    def invoke(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        print("plain runs", args)
        return function(*args, **kwargs)


class NoPool: ...
"""


@pytest.fixture
def installed(project: Path) -> Path:
    """The package, as installers leave it."""
    (project / "pools.py").write_text(POOL)
    info = project / "pools-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pools\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[taskq.pools]\nplain = pools:Plain\nbad = pools:NoPool\n"
    )
    return project


def test_it_runs_tasks(processes: Processes, installed: Path, app: TaskQ) -> None:
    worker = processes.worker("-P", "plain", "-c", "2")
    results = [app.send_task("proj.add", (number, 1)) for number in range(20)]
    assert [result.get(timeout=20) for result in results] == list(range(1, 21))
    error = app.send_task("proj.fail").get(timeout=20, propagate=False)
    assert repr(error) == "ValueError('no luck')"
    assert worker.stop() == 0
    assert "concurrency  2 (plain)" in worker.output
    assert "plain-1] proj.add[" in worker.output or "plain-2] proj.add[" in worker.output
    assert "plain runs [7, 1]" in worker.output


def test_what_is_no_pool(processes: Processes, installed: Path) -> None:
    status, output = processes.finish("-A", "proj", "worker", "-P", "bad")
    assert status == 2
    assert "pool 'bad': pools:NoPool is <class 'pools.NoPool'>, and no subclass of" in output
