"""A move from Celery to taskq while tasks are sent and run: both on one queue, workers killed."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.faults.stage import PATIENCE, Stage, WorkerProcess
from tests.interop.processes import CeleryClient, CeleryWorker
from tests.servers import RedisServer, VirtualHost

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]

_ROUNDS = 6
_EACH = 15


class Move:
    """Both sides' clients, and workers that come and go.

    Args:
        python: of Celery's environment.
        folder: an empty folder.
        settings: that both sides have.
        stack: ends all that is started.
    """

    def __init__(
        self, python: str, folder: Path, settings: dict[str, Any], stack: ExitStack
    ) -> None:
        self._python, self._folder, self._stack = python, folder, stack
        self._settings = settings
        self._count = itertools.count(1)
        self.stage = Stage(folder, "tests.interop.taskq_side", broker_lease=2, **settings)
        stack.callback(self.stage.close)
        self.celery = CeleryClient(python, folder, settings)
        stack.callback(self.celery.close)
        self.celery.wait_ready()

    def celery_worker(self) -> CeleryWorker:
        """One more worker of Celery's."""
        name = f"celery{next(self._count)}"
        worker = CeleryWorker(self._python, self._folder, name, self._settings, "-Q", "celery")
        self._stack.callback(worker.close)
        return worker.wait_ready()

    def taskq_worker(self) -> WorkerProcess:
        """One more worker of ours."""
        return self.stage.worker("-Q", "celery")

    def send(self, number: int) -> Callable[[], int]:
        """Send a task by either client; what is returned waits for its result."""
        if number % 2:
            result = self.stage.send("interop.add", number, 1)
            return lambda: result.get(timeout=PATIENCE)
        task_id = self.celery.send("interop.add", [number, 1], {})
        return lambda: self.celery.get(task_id)["value"]


@pytest.fixture
def move(
    celery_environment: str, rabbitmq: VirtualHost, redis: RedisServer, tmp_path: Path
) -> Iterator[Move]:
    with ExitStack() as stack:
        # Celery's workers acknowledge before they run, unless they are told otherwise.
        settings = {
            "broker_url": rabbitmq.url,
            "result_backend": redis.url,
            "task_acks_late": True,
        }
        yield Move(celery_environment, tmp_path, settings, stack)


def test_workers_of_both_sides_come_and_go(move: Move) -> None:
    theirs, ours = move.celery_worker(), move.taskq_worker()
    waiting: list[Callable[[], int]] = []
    for turn in range(_ROUNDS):
        waiting += [move.send(len(waiting) + n) for n in range(_EACH)]
        if turn % 3 == 0:
            theirs.process.kill()
            theirs = move.celery_worker()
        elif turn % 3 == 1:
            ours.kill()
            ours = move.taskq_worker()
        else:
            theirs.process.send_signal(signal.SIGTERM)
            assert ours.terminate() == 0
            ours = move.taskq_worker()
            theirs = move.celery_worker()
    assert [wait() for wait in waiting] == [n + 1 for n in range(_ROUNDS * _EACH)]
    # The last of Celery's goes, and ours serves the calls of both.
    theirs.process.send_signal(signal.SIGTERM)
    theirs.process.wait(PATIENCE)
    assert [wait() for wait in [move.send(n) for n in range(10)]] == list(range(1, 11))
    assert ours.terminate() == 0
