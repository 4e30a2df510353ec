"""A real worker whose results go to a store other than its broker's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskq import chord, group
from taskq.brokers.base import QueueDepth
from taskq.exceptions import ChordError
from tests.conformance.places import memcached_url, postgresql_url, s3_url
from tests.faults.stage import Stage

PLACES = {
    "postgresql": postgresql_url,
    "memcached": memcached_url,
    "files": lambda request: f"file://{request.getfixturevalue('tmp_path')}/results",
    "s3": s3_url,
}


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """A store of that kind, with nothing in it."""
    return PLACES[request.param](request)


@pytest.fixture
def stage(url: str, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path, tasks="tests.e2e.project", result_backend=url)
    yield stage
    stage.close()


@pytest.mark.parametrize(
    "url",
    [pytest.param(name, marks=[pytest.mark.slow] * (name == "s3")) for name in PLACES],
    indirect=True,
)
def test_calls_groups_and_chords(stage: Stage) -> None:
    worker = stage.worker()
    tasks = stage.app.tasks
    assert stage.send("add", 2, 3).get(timeout=20) == 5
    with pytest.raises(ValueError, match="unexpected") as caught:
        stage.send("fail", "unexpected").get(timeout=20)
    assert "project.py" in "".join(caught.value.__notes__)
    members = [tasks["add"].s(n, n) for n in range(100)]
    assert group(members, app=stage.app)().get(timeout=20) == [2 * n for n in range(100)]
    good = chord(members, tasks["total"].s("good"), app=stage.app)()
    assert good.get(timeout=20) == sum(2 * n for n in range(100))
    members[50] = tasks["fail"].s("unexpected")
    bad = chord(members, tasks["total"].s("bad"), app=stage.app)()
    with pytest.raises(ChordError, match="unexpected"):
        bad.get(timeout=20)

    async def await_many() -> list[int]:
        results = [await tasks["double"].adelay(n) for n in range(20)]
        return list(await asyncio.gather(*results))

    assert asyncio.run(await_many()) == [2 * n for n in range(20)]
    assert [stage.journal.count("total", key) for key in ("good", "bad")] == [1, 0]
    stage.wait(lambda: stage.depth() == QueueDepth(), "an empty queue")
    assert worker.terminate() == 0
