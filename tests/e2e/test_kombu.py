"""A real worker on a transport of kombu's."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskq import chain
from tests.faults.stage import Stage
from tests.servers import RedisServer


@pytest.mark.redis
def test_a_worker_on_celerys_layout_of_redis(redis: RedisServer, tmp_path: Path) -> None:
    url = f"kombu+{redis.url}"
    stage = Stage(tmp_path, tasks="tests.e2e.project", broker_url=url, result_backend=redis.url)
    try:
        worker = stage.worker()
        tasks = stage.app.tasks
        assert stage.send("add", 2, 3).get(timeout=20) == 5
        assert stage.send("add", 2, 3, countdown=1).get(timeout=20) == 5
        assert stage.send("retry", 2).get(timeout=20) == 2
        assert chain(tasks["add"].s(1, 2), tasks["double"].s())().get(timeout=20) == 6
        with pytest.raises(ValueError, match="unexpected"):
            stage.send("fail", "unexpected").get(timeout=20)
        assert worker.terminate() == 0
    finally:
        stage.close()
