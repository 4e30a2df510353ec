"""Pace and window: what the worker learns of how long tasks take."""

from __future__ import annotations

import pytest

from taskq.worker.pool.pace import PROVEN, Pace
from taskq.worker.window import MAXIMUM, Window


def proven(name: str = "t") -> Pace:
    pace = Pace()
    for _ in range(PROVEN):
        assert not pace.is_short(name)
        pace.note(name, 0.0002)
    return pace


def test_a_task_proves_that_it_is_short() -> None:
    pace = proven("a")
    assert pace.is_short("a")
    assert not pace.is_short("b")


def test_a_long_run_ends_that() -> None:
    pace = proven()
    pace.note("t", 0.5)
    for _ in range(PROVEN - 1):
        pace.note("t", 0.0002)
    assert not pace.is_short("t")
    pace.note("t", 0.0002)
    assert pace.is_short("t")


def test_a_small_delay_is_forgiven_to_one_that_has_long_been_short() -> None:
    pace = proven()
    pace.note("t", 0.005)
    assert not pace.is_short("t")
    pace = proven()
    for _ in range(PROVEN):
        pace.note("t", 0.0002)
    pace.note("t", 0.005)
    assert pace.is_short("t")


def test_a_long_run_is_never_forgiven() -> None:
    pace = proven()
    for _ in range(100_000):
        pace.note("t", 0.0002)
    pace.note("t", 0.05)
    assert not pace.is_short("t")


def test_what_it_has_earned_is_bounded() -> None:
    pace = proven()
    for _ in range(100_000):
        pace.note("t", 0.0002)
    for _ in range(100):
        pace.note("t", 0.005)
    assert not pace.is_short("t")


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("taskq.worker.window.time", clock)
    return clock


def work(window: Window, clock: Clock, rate: float, seconds: float) -> None:
    for _ in range(int(seconds * 10)):
        clock.now += 0.1
        window.note(int(rate / 10))


def test_a_window_of_slow_tasks_stays_small(clock: Clock) -> None:
    window = Window(8)
    assert window.size == 8
    work(window, clock, rate=10, seconds=10)
    assert window.size == 8


def test_a_window_grows_with_the_speed_and_shrinks_again(clock: Clock) -> None:
    window = Window(8)
    work(window, clock, rate=5000, seconds=10)
    assert 450 <= window.size <= 510  # what is done in a tenth of a second
    work(window, clock, rate=10, seconds=10)
    assert window.size == 8


def test_a_window_has_an_end(clock: Clock) -> None:
    window = Window(8)
    work(window, clock, rate=10_000_000, seconds=10)
    assert window.size == MAXIMUM


def test_a_moment_is_too_short_to_judge(clock: Clock) -> None:
    window = Window(8)
    clock.now += 0.001
    window.note(1000)
    assert window.size == 8


def test_at_least_one(clock: Clock) -> None:
    assert Window(0).size == MAXIMUM
