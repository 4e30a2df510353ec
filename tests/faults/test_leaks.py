"""A worker of months, in minutes: nothing that it holds grows, in any pool.

A million tasks by default; ``TASKQ_TEST_SOAK=50000`` makes it fewer.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from taskq.brokers.base import QueueDepth
from taskq.exceptions import OperationalError
from taskq.stores.redis.calls import command
from tests.faults.conftest import MakeStage
from tests.faults.processes import descriptors, memory
from tests.faults.stage import Stage, WorkerProcess
from tests.servers import redis_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

TASKS = int(os.environ.get("TASKQ_TEST_SOAK", "1000000"))
BATCH = 1000
AHEAD = 20_000
"""Tasks that wait at a time."""
FEW = 100
"""Keys that are no results: queues, consumers, senders."""
RECONNECT = 2.0
"""Seconds between two moments at which all connections are cut."""


@dataclass
class Size:
    """What a worker's processes hold: bytes and descriptors."""

    parent: int
    parent_files: int
    child: int
    child_files: int

    def __str__(self) -> str:
        return (
            f"parent {self.parent / 2**20:.1f} MiB, {self.parent_files} files; "
            f"largest child {self.child / 2**20:.1f} MiB, {self.child_files} files"
        )


def size_of(worker: WorkerProcess) -> Size:
    """Measure it; a child that goes at that moment is left out."""
    children = []
    for child in worker.children():
        try:
            children.append((memory(child.pid), descriptors(child.pid)))
        except (FileNotFoundError, ProcessLookupError):
            continue
    own = (memory(worker.pid), descriptors(worker.pid))
    return Size(*own, *(max(column) for column in zip(*children, strict=True)))


class Soak:
    """One worker under load, whose connections are cut every now and then."""

    def __init__(self, stage: Stage, worker: WorkerProcess, redis: Any) -> None:
        self.stage, self.worker, self._redis = stage, worker, redis
        self.sent = 0
        self.cuts = 0
        self._last_cut = time.monotonic()

    def run_until(self, count: int) -> None:
        """Send so many, and wait until all of them have ended."""
        while self.sent < count:
            self._cut()
            if self._depth().ready < AHEAD:
                keys = range(self.sent, min(self.sent + BATCH, count))
                self._repeat(lambda keys=keys: self.stage.send_all("stir", keys))
                self.sent = keys.stop
            else:
                self._wait(lambda depth: depth.ready < AHEAD, "fewer tasks")
        self._wait(lambda depth: depth == QueueDepth(), "an empty queue")

    def _wait(self, reached: Callable[[QueueDepth], bool], what: str) -> None:
        def look() -> bool:
            self._cut()
            return reached(self._depth())

        self.worker.wait(look, what, 120)

    def _depth(self) -> QueueDepth:
        return self._repeat(self.stage.depth)

    def _repeat(self, call: Any) -> Any:
        """Producers are told when their connection is cut; sending again sends nothing twice."""
        while True:
            try:
                return call()
            except OperationalError:
                time.sleep(0.05)

    def _cut(self) -> None:
        if time.monotonic() - self._last_cut > RECONNECT:
            for kind in ("normal", "pubsub"):
                self._redis.call("CLIENT", "KILL", "TYPE", kind)
            self.cuts += 1
            self._last_cut = time.monotonic()


@pytest.mark.parametrize("pool", ["prefork", "threads", "asyncio", "gevent"])
def test_nothing_grows(
    pool: str, make_stage: MakeStage, capsys: pytest.CaptureFixture[str]
) -> None:
    with redis_server() as redis:
        stage = make_stage(broker_url=redis.url, broker_lease=5, result_expires=2)
        options = ["-l", "CRITICAL", "-E", "--max-tasks-per-child", str(TASKS // 50 + 1000)]
        wide = {} if pool == "prefork" else {"pool": pool, "members": 2}
        worker = stage.worker(
            *options, concurrency=2 if pool == "prefork" else 20, ready=False, **wide
        )
        soak = Soak(stage, worker, redis)
        begun = time.monotonic()
        soak.run_until(TASKS * 3 // 10)
        before, keys_before = size_of(worker), keys_of(stage)
        soak.run_until(TASKS)
        seconds = time.monotonic() - begun
        after, keys_after = size_of(worker), keys_of(stage)
        (stats,) = (stage.app.control.inspect(timeout=10).stats() or {}).values()
        ran = stats["total"]["stir"]
        with capsys.disabled():
            print(  # noqa: T201 - the figures are what a soak is for
                f"\n{pool}: {TASKS} tasks, {ran} runs in {seconds:.0f} s "
                f"({ran / seconds:.0f}/s), all connections cut {soak.cuts} times\n"
                f"  at 30 %: {before}; {keys_before} keys\n"
                f"  at 100 %: {after}; {keys_after} keys"
            )
        assert ran >= TASKS
        # Each connection that was cut leaves some hundred objects until the collector runs.
        assert after.parent - before.parent < 16 << 20
        assert after.child - before.child < 8 << 20
        assert abs(after.parent_files - before.parent_files) <= 4
        assert abs(after.child_files - before.child_files) <= 4
        assert keys_after <= keys_before + 5
        assert stage.dead_letters() == []
        assert worker.terminate() == 0


def keys_of(stage: Stage) -> int:
    """How many keys there are, once results have expired.

    Those that recognise a step which is sent twice are left out: each is there for an hour.
    """
    deadline = time.monotonic() + 30
    while True:
        (keys,) = stage.app.broker.store.calls(command("", "KEYS", "*"))  # type: ignore[attr-defined]
        keys = [key for key in keys if b":once:" not in key]
        if len(keys) < FEW or time.monotonic() > deadline:
            return len(keys)
        time.sleep(0.5)
