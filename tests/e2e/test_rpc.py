"""A real worker that sends results to whoever has sent the task."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskq import chain, group
from taskq.exceptions import TaskRevokedError
from tests.faults.stage import Stage
from tests.servers import VirtualHost


@pytest.fixture
def stage(rabbitmq: VirtualHost, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(
        tmp_path, tasks="tests.e2e.project", broker_url=rabbitmq.url, result_backend="rpc://"
    )
    yield stage
    stage.close()


def test_results_find_their_senders(stage: Stage) -> None:
    worker = stage.worker()
    tasks = stage.app.tasks
    assert stage.send("add", 2, 3).get(timeout=20) == 5
    with pytest.raises(ValueError, match="unexpected") as caught:
        stage.send("fail", "unexpected").get(timeout=20)
    assert "project.py" in "".join(caught.value.__notes__)
    assert stage.send("retry", 2).get(timeout=20) == 2
    # From inside of a task: children have addresses of their own, and states are sent as well.
    found = stage.send("parent", 1).get(timeout=20)
    assert found["value"] == 2
    assert stage.send("aparent", 1).get(timeout=20) == 2
    members = [tasks["add"].s(n, n) for n in range(100)]
    assert group(members, app=stage.app)().get(timeout=20) == [2 * n for n in range(100)]
    # Later steps are sent by the worker, and their results to whoever has sent the first.
    result = chain(tasks["add"].s(1, 2), tasks["add"].s(3), tasks["double"].s())()
    assert (result.get(timeout=20), result.parent.get(timeout=20)) == (12, 6)
    broken = chain(tasks["fail"].s("unexpected"), tasks["double"].s(), tasks["double"].s())()
    with pytest.raises(ValueError, match="unexpected"):
        broken.get(timeout=20)

    async def await_many() -> list[int]:
        results = [await tasks["double"].adelay(n) for n in range(20)]
        return list(await asyncio.gather(*results))

    assert asyncio.run(await_many()) == [2 * n for n in range(20)]
    assert worker.terminate() == 0


def test_what_is_decided_without_running_is_told(stage: Stage) -> None:
    revoked = stage.send("add", 1, 1)
    revoked.revoke()
    late = stage.send("add", 1, 1, expires=-1)
    unknown = stage.app.send_task("nobody.knows")
    worker = stage.worker()
    for result in (revoked, late):
        with pytest.raises(TaskRevokedError):
            result.get(timeout=20)
    with pytest.raises(Exception, match=r"nobody\.knows"):
        unknown.get(timeout=20)
    assert worker.terminate() == 0
