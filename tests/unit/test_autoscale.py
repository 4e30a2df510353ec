"""A pool that scales itself: at once upwards, and slowly down."""

from __future__ import annotations

from typing import Any

import pytest

from taskq.exceptions import ImproperlyConfigured
from taskq.worker.autoscale import PATIENCE, Autoscaler, Bounds


class Worker:
    """A pool and a dispatcher in one, of which only numbers are there."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.running = self.waiting = 0

    def grow(self, count: int) -> None:
        self.size += count

    def shrink(self, count: int) -> None:
        self.size -= count


def make(size: int, maximum: int, minimum: int) -> tuple[Worker, Autoscaler]:
    worker: Any = Worker(size)
    return worker, Autoscaler(worker, worker, Bounds(maximum, minimum))


def test_it_grows_while_tasks_wait() -> None:
    worker, scaler = make(2, 10, 2)
    worker.running, worker.waiting = 2, 50
    sizes = []
    for second in range(4):
        scaler.look(float(second))
        worker.running = worker.size
        sizes.append(worker.size)
    assert sizes == [4, 8, 10, 10]


def test_it_does_not_grow_for_what_finds_room() -> None:
    worker, scaler = make(4, 10, 2)
    worker.running, worker.waiting = 3, 5
    scaler.look(0.0)
    assert worker.size == 4


def test_it_shrinks_to_what_it_has_needed_lately() -> None:
    worker, scaler = make(10, 10, 2)
    for second in range(int(PATIENCE)):
        worker.running = 5 if second == 20 else 1
        scaler.look(float(second))
        assert worker.size == 10 or second >= PATIENCE - 2
    assert worker.size == 5
    worker.running = 1
    for second in range(int(PATIENCE), int(2 * PATIENCE)):
        scaler.look(float(second))
    assert worker.size == 2


def test_bounds_change() -> None:
    worker, scaler = make(2, 10, 2)
    assert scaler.update(minimum=4).minimum == 4
    assert worker.size == 4
    scaler.update(3, 1)
    assert worker.size == 3
    with pytest.raises(ImproperlyConfigured, match="autoscale=3,5"):
        scaler.update(minimum=5)
    assert worker.size == 3
