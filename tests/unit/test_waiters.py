"""Many that wait for results on one event loop, behind one listener."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from taskq.backends.base import Outcome
from taskq.backends.waiting import Waiters, hints
from taskq.exceptions import OperationalError
from taskq.stores.wakeups import Listener, WakeUps


class Store:
    """What the waiters look into."""

    def __init__(self, path: Path) -> None:
        self.wakeups = WakeUps(str(path))
        self.ready: dict[str, Outcome] = {}
        self.looks: list[list[str]] = []
        self.away = False
        self.waiters = Waiters(self.look, lambda news: hints(self.listen, news))

    def listen(self) -> Listener:
        return self.wakeups.listener("results")

    async def look(self, task_ids: Sequence[str]) -> dict[str, Outcome]:
        self.looks.append(list(task_ids))
        if self.away:
            raise OperationalError("the disk is gone")
        return {key: self.ready[key] for key in task_ids if key in self.ready}

    def finish(self, task_id: str) -> None:
        self.ready[task_id] = Outcome(task_id, "SUCCESS", b"")
        self.wakeups.send("results", task_id.encode())

    async def until_watched(self) -> None:
        """Wait until the listener is bound and everybody has been looked after once."""
        looks = len(self.looks)
        while len(self.looks) == looks:  # noqa: ASYNC110 - looking sets no event
            await asyncio.sleep(0)

    async def until_quiet(self) -> None:
        """Wait until nothing is looked for any more: all have been looked after."""
        quiet = 0
        while quiet < 100:
            looks = len(self.looks)
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self.looks) == looks else 0


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    for name in ("FIRST_POLL", "LAST_POLL"):
        monkeypatch.setattr(f"taskq.backends.waiting.{name}", 3600.0)
    store = Store(tmp_path / "results")
    yield store
    store.wakeups.close()


async def test_only_what_a_hint_names_is_looked_at(store: Store) -> None:
    waiting = {key: asyncio.create_task(store.waiters.wait([key], 20)) for key in "abc"}
    await store.until_watched()
    await store.until_quiet()
    store.looks.clear()
    store.finish("b")
    assert set(await waiting.pop("b")) == {"b"}
    assert store.looks == [["b"], ["b"]]  # by the watch, and by the waiter itself
    for key, waiter in waiting.items():
        store.finish(key)
        assert set(await waiter) == {key}


async def test_what_comes_between_the_first_look_and_the_waiting_is_found(store: Store) -> None:
    lasting = asyncio.create_task(store.waiters.wait(["lasting"], 20))
    await store.until_watched()
    await store.until_watched()
    look = store.look

    async def look_too_early(task_ids: Sequence[str]) -> dict[str, Outcome]:
        found = await look(task_ids)
        if list(task_ids) == ["a"] and "a" not in store.ready:
            # Heard by the watch before anybody waits for it.
            store.finish("a")
            for _ in range(50):
                await asyncio.sleep(0.001)
        return found

    store.waiters._look = look_too_early
    assert set(await store.waiters.wait(["a"], 20)) == {"a"}
    store.finish("lasting")
    assert set(await lasting) == {"lasting"}


async def test_an_error_reaches_all_who_wait(store: Store) -> None:
    waiting = [asyncio.create_task(store.waiters.wait([key], 20)) for key in "aab"]
    await store.until_watched()
    await store.until_watched()
    store.away = True
    store.finish("a")
    for waiter in waiting:
        with pytest.raises(OperationalError, match="the disk is gone"):
            await waiter
    store.away = False
    assert set(await store.waiters.wait(["a"], 20)) == {"a"}
    again = asyncio.create_task(store.waiters.wait(["b"], 20))
    await store.until_watched()
    store.finish("b")
    assert set(await again) == {"b"}


async def test_a_hint_without_names_means_look_at_all(store: Store) -> None:
    waiting = [asyncio.create_task(store.waiters.wait([key], 20)) for key in "ab"]
    await store.until_watched()
    await store.until_watched()
    store.ready = {key: Outcome(key, "SUCCESS", b"") for key in "ab"}
    store.wakeups.send("results")
    assert [set(await waiter) for waiter in waiting] == [{"a"}, {"b"}]
