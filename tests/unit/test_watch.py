"""The watch of a pool."""

from __future__ import annotations

import asyncio

import pytest

from taskq.worker.loops import loop_factory
from taskq.worker.pool.watch import Watch


@pytest.mark.parametrize("delay", [0.0, 1e-4, 0.01])
def test_it_can_be_woken_while_a_look_is_due_at_once(delay: float) -> None:
    """On the worker's own kind of loop, which makes another kind of handle of that."""

    async def main() -> list[float | None]:
        pauses: list[float | None] = [None, 60.0, delay]
        looks: asyncio.Queue[float | None] = asyncio.Queue()

        def look() -> float | None:
            looks.put_nowait(pauses[-1])
            return pauses.pop()

        watch = Watch(asyncio.get_running_loop(), look)
        watch.wake(delay)
        watch.wake()
        watch.wake(60)
        seen = [await looks.get()]
        watch.wake(0.005)
        seen.append(await looks.get())
        watch.wake(0.005)  # sooner than in a minute
        seen.append(await looks.get())
        watch.stop()
        watch.wake()
        await asyncio.sleep(0.02)
        assert looks.empty()
        return seen

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        assert runner.run(main()) == [delay, 60.0, None]


async def test_a_look_that_fails_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskq.worker.pool.watch._AFTER_ERROR", 0.001)
    looks = 0
    again = asyncio.Event()

    def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise TypeError("no number")
        again.set()

    Watch(asyncio.get_running_loop(), look).wake(0)
    async with asyncio.timeout(20):
        await again.wait()
