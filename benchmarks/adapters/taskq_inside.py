"""taskq with its worker in the producer's process, as the memory broker needs it."""

from __future__ import annotations

from benchmarks.adapters import taskq_adapter
from benchmarks.adapters.base import InProcessAdapter


class Peer(taskq_adapter.Peer, InProcessAdapter):
    """Blocking producer beside a worker with two children."""

    def run_worker(self) -> None:
        taskq_adapter.app.Worker(concurrency=2).run()
