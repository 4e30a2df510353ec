"""One RabbitMQ, one Redis, and both sides' workers and clients on them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from taskq import TaskQ
from tests.faults.stage import Stage, WorkerProcess
from tests.interop.celery_home import NoCeleryError, celery_python
from tests.interop.processes import CeleryClient, CeleryWorker
from tests.servers import RabbitMQAddress, RedisServer, VirtualHost

ON_CELERY, ON_TASKQ = "on-celery", "on-taskq"
"""The queues that only one side's worker consumes."""


@dataclass
class Town:
    """Where both live.

    Attributes:
        folder: where tasks write.
        host: the virtual host of RabbitMQ.
        settings: that both sides have.
        stage: taskq's client, and what starts its workers.
        celery: Celery's client.
        taskq_worker: consumes ``on-taskq``, and with the other the default queue.
        celery_worker: consumes ``on-celery``, and likewise.
    """

    folder: Path
    host: VirtualHost
    settings: dict[str, Any]
    stage: Stage
    celery: CeleryClient
    taskq_worker: WorkerProcess
    celery_worker: CeleryWorker

    @property
    def app(self) -> TaskQ:
        """taskq's app."""
        return self.stage.app


@pytest.fixture(scope="session")
def celery_environment() -> str:
    """The Python that has Celery and Flower."""
    try:
        return celery_python()
    except (NoCeleryError, OSError) as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


@pytest.fixture(scope="package")
def town(
    celery_environment: str,
    rabbitmq_address: RabbitMQAddress,
    shared_redis: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Town]:
    """Both sides on one RabbitMQ, with results in one Redis."""
    folder = tmp_path_factory.mktemp("interop")
    with ExitStack() as stack:
        host = stack.enter_context(rabbitmq_address.virtual_host())
        settings = {
            "broker_url": host.url,
            # A database of its own: other tests use the first one.
            "result_backend": shared_redis.url.removesuffix("/0") + "/9",
        }
        stage = Stage(folder, "tests.interop.taskq_side", **settings)
        stack.callback(stage.close)
        queues = f"{ON_CELERY},celery"
        celery_worker = CeleryWorker(celery_environment, folder, "celery1", settings, "-Q", queues)
        stack.callback(celery_worker.close)
        taskq_worker = stage.worker("-Q", f"{ON_TASKQ},celery", ready=False)
        client = CeleryClient(celery_environment, folder, settings)
        stack.callback(client.close)
        client.wait_ready()
        celery_worker.wait_ready()
        taskq_worker.wait_ready()
        yield Town(folder, host, settings, stage, client, taskq_worker, celery_worker)
