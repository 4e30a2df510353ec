"""Rate limits: what may start, what waits, and what goes back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from taskq import TaskQ
from taskq.brokers.base import Fate
from taskq.exceptions import ImproperlyConfigured
from taskq.task.rates import parse_rate
from taskq.worker import rates as module
from taskq.worker.rates import LATER, SOON, RateLimits
from tests.unit.test_dispatcher import Bench
from tests.unit.worker_parts import make_delivery


@pytest.mark.parametrize(
    ("text", "rate"),
    [("10/s", 10), ("90/m", 1.5), ("5/h", 5 / 3600), (2, 2), ("0.5", 0.5), (0, None), (None, None)],
)
def test_they_are_read(text: Any, rate: float | None) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["ten", "10/d", "10/", "-1/s", "inf", "nan", True, "1/s/s"])
def test_what_cannot_be_read_is_named(text: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="10/s, 100/m or 5/h"):
        parse_rate(text)


def test_a_task_says_so_when_it_is_made() -> None:
    app = TaskQ("rates", broker="memory://", set_as_current=False)
    with pytest.raises(ImproperlyConfigured, match="rate_limit='often'"):
        app.task(name="wrong", rate_limit="often")(lambda: None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which stands still."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def make_app(**conf: Any) -> TaskQ:
    app = TaskQ("rates", broker="memory://", set_as_current=False)
    app.conf.update(conf)
    app.task(name="limited", rate_limit="10/s")(lambda: None)
    app.task(name="rare", rate_limit="6/m")(lambda: None)
    app.task(name="free")(lambda: None)
    return app


def test_turns_are_evenly_apart(clock: list[float]) -> None:
    rates = RateLimits(make_app())
    assert [rates.take("limited", True) for _ in range(3)] == [
        (0.0, True),
        (pytest.approx(0.05), True),  # a start may come a little early to make up for late ones
        (pytest.approx(0.15), True),
    ]
    clock[0] += 60
    assert rates.take("limited", True) == (0.0, True)
    assert rates.take("free", True) == (0.0, True)


def test_what_is_not_due_soon_goes_back_in_turn(clock: list[float]) -> None:
    rates = RateLimits(make_app())
    assert rates.take("rare", True) == (0.0, True)
    back = [rates.take("rare", True) for _ in range(30)]
    assert not any(taken for _, taken in back)
    waits = [wait for wait, _ in back]
    assert waits[:3] == pytest.approx([9.95, 19.95, 29.95], abs=0.01)
    assert waits[:5] == sorted(waits[:5])
    assert all(SOON < wait <= LATER for wait in waits)
    # None of them has taken a turn: the next one that comes in time has it.
    clock[0] += 10
    assert rates.take("rare", True) == (0.0, True)


def test_what_may_not_wait_goes_back(clock: list[float]) -> None:
    rates = RateLimits(make_app())
    rates.take("limited", True)
    wait, taken = rates.take("limited", False)
    assert not taken
    assert 0 < wait < 1


def test_limits_change(clock: list[float]) -> None:
    app = make_app(task_default_rate_limit="1/h")
    rates = RateLimits(app)
    assert rates.take("free", True)[1]
    assert not rates.take("free", True)[1]
    assert rates.set("free", None) is None
    assert all(rates.take("free", True) == (0.0, True) for _ in range(100))
    assert rates.set("free", "120/m") == 2
    with pytest.raises(ImproperlyConfigured, match="nonesuch"):
        rates.set("nonesuch", "1/s")
    with pytest.raises(ImproperlyConfigured, match="often"):
        rates.set("free", "often")
    assert not RateLimits(make_app(worker_disable_rate_limits=True))


async def test_what_is_held_back_does_not_block_others() -> None:
    app = make_app()
    bench = Bench(app, size=100, window=40)
    bench.dispatcher.rates = RateLimits(app)
    bench.dispatcher.admit(
        [make_delivery(app, "rare") for _ in range(30)]
        + [make_delivery(app, "free") for _ in range(5)]
    )
    assert [job.task.name for job in bench.pool.jobs] == ["rare", *["free"] * 5]
    given_back = [s for s, _ in bench.settlements if s.fate is Fate.REQUEUE]
    assert len(given_back) == 29
    assert all(s.unused and s.delay > SOON for s in given_back)
    assert bench.dispatcher.in_flight == 6


async def test_what_is_due_soon_waits_here_but_not_in_masses() -> None:
    app = make_app()
    bench = Bench(app, size=100, window=16)
    bench.dispatcher.rates = RateLimits(app)
    bench.dispatcher.admit([make_delivery(app, "limited") for _ in range(12)])
    assert len(bench.pool.jobs) == 1
    assert bench.dispatcher.in_flight == 5  # and a quarter of the window beside it
    async with asyncio.timeout(20):
        while len(bench.pool.jobs) < 5:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)
    assert len([s for s, _ in bench.settlements if s.delay]) == 7


async def test_what_waits_here_goes_back_at_the_end() -> None:
    app = make_app()
    bench = Bench(app, size=100, window=40)
    bench.dispatcher.rates = RateLimits(app)
    bench.dispatcher.admit([make_delivery(app, "limited") for _ in range(4)])
    bench.dispatcher.give_back()
    assert len([s for s, _ in bench.settlements if s.fate is Fate.REQUEUE and not s.delay]) == 3


async def test_what_waits_here_can_be_revoked() -> None:
    app = make_app()
    bench = Bench(app, size=100, window=40)
    bench.dispatcher.rates = RateLimits(app)
    deliveries = [make_delivery(app, "limited") for _ in range(2)]
    bench.dispatcher.admit(deliveries)
    bench.dispatcher.revoke({deliveries[1].message.id: ""})
    assert [job.verdict is not None for job in bench.pool.jobs] == [False, True]
