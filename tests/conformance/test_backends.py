"""What every result store does: keep outcomes, and tell whoever waits."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from taskq import states
from taskq.backends.base import Backend, ChordRecord
from tests.conformance.backends import (
    BackendKind,
    having,
    open_backend,
    outcome,
    params,
    part,
)
from tests.conformance.processes import forked
from tests.waiting import wait_until

PATIENCE = 20.0
"""Seconds after which a result that does not come is taken to be lost."""

STORE = """
import sys
from tests.conformance.backends import open_backend, outcome
backend = open_backend(sys.argv[1])
backend.store([outcome(task_id) for task_id in sys.argv[2:]])
backend.close()
"""


@pytest.fixture(params=params())
def kind(request: pytest.FixtureRequest) -> BackendKind:
    """The store under test."""
    chosen: BackendKind = request.param
    return chosen


@pytest.fixture
def backend(kind: BackendKind, request: pytest.FixtureRequest) -> Iterator[Backend]:
    """An empty store of that kind, which keeps outcomes for a day."""
    backend = open_backend(kind.url(request))
    yield backend
    backend.close()


@pytest.fixture
def brief(kind: BackendKind, request: pytest.FixtureRequest) -> Iterator[Backend]:
    """An empty store of that kind, which keeps outcomes for a second."""
    backend = open_backend(kind.url(request), expires=1.0)
    yield backend
    backend.close()


@pytest.fixture
def no_polling(kind: BackendKind, monkeypatch: pytest.MonkeyPatch) -> None:
    kind.stop_polling(monkeypatch)


# Keeping


def test_what_is_stored_is_found(backend: Backend) -> None:
    first = outcome("a", states.FAILURE, b"\x00\xff bytes")
    second = outcome("b", "PROGRESS", b"")
    backend.store([first, second])
    assert backend.fetch(["b", "unknown", "a"]) == {"a": first, "b": second}


def test_nothing_is_known_at_first(backend: Backend) -> None:
    assert backend.fetch([]) == {}
    assert backend.fetch(["a"]) == {}
    backend.store([])
    backend.forget(["a"])
    assert backend.cleanup() == 0


def test_many_at_once(backend: Backend) -> None:
    ids = [f"task-{n}" for n in range(1234)]
    backend.store([outcome(key, payload=key.encode()) for key in ids])
    assert {key: o.payload.decode() for key, o in backend.fetch(ids).items()} == {
        key: key for key in ids
    }
    backend.forget(ids[::2])
    assert set(backend.fetch(ids)) == set(ids[1::2])


def test_large_payloads(backend: Backend) -> None:
    payload = bytes(range(256)) * 20_000
    backend.store([outcome("a", payload=payload)])
    assert backend.fetch(["a"])["a"].payload == payload


@pytest.mark.parametrize("before", [states.STARTED, states.RETRY, "PROGRESS"])
@pytest.mark.parametrize("after", [states.SUCCESS, states.FAILURE, states.STARTED])
def test_the_latest_counts(backend: Backend, before: str, after: str) -> None:
    backend.store([outcome("a", before, b"before")])
    backend.store([outcome("a", after, b"after")])
    assert backend.fetch(["a"]) == {"a": outcome("a", after, b"after")}


@pytest.mark.parametrize("before", [states.FAILURE, states.REVOKED])
@pytest.mark.parametrize("after", [states.SUCCESS, states.FAILURE, states.REVOKED])
def test_the_latest_end_counts(backend: Backend, before: str, after: str) -> None:
    backend.store([outcome("a", before, b"before")])
    backend.store([outcome("a", after, b"after")])
    assert backend.fetch(["a"]) == {"a": outcome("a", after, b"after")}


@pytest.mark.parametrize("before", [states.FAILURE, states.REVOKED])
@pytest.mark.parametrize("after", [states.STARTED, states.RETRY, "PROGRESS"])
def test_how_far_it_is_does_not_hide_how_it_ended(
    backend: Backend, before: str, after: str
) -> None:
    backend.store([outcome("a", before, b"before")])
    backend.store([outcome("a", after, b"after")])
    assert backend.fetch(["a"]) == {"a": outcome("a", before, b"before")}


@pytest.mark.parametrize("later", [states.SUCCESS, states.FAILURE, states.STARTED, "PROGRESS"])
def test_success_is_never_overwritten(backend: Backend, later: str) -> None:
    backend.store([outcome("a", payload=b"first")])
    backend.store([outcome("b"), outcome("a", later, b"later"), outcome("c")])
    assert backend.fetch(["a"]) == {"a": outcome("a", payload=b"first")}
    assert set(backend.fetch(["b", "c"])) == {"b", "c"}


def test_success_is_not_overwritten_within_one_call(backend: Backend) -> None:
    backend.store([outcome("a", states.STARTED), outcome("a", payload=b"first")])
    backend.store([outcome("b", payload=b"first"), outcome("b", states.FAILURE, b"later")])
    found = backend.fetch(["a", "b"])
    assert [found[key].payload for key in "ab"] == [b"first", b"first"]


def test_what_is_forgotten_can_be_stored_again(backend: Backend) -> None:
    backend.store([outcome("a"), outcome("b")])
    backend.forget(["a", "unknown"])
    assert list(backend.fetch(["a", "b"])) == ["b"]
    backend.store([outcome("a", states.FAILURE)])
    assert backend.fetch(["a"])["a"].state == states.FAILURE


async def test_from_a_loop(backend: Backend) -> None:
    backend.store([outcome("a")])
    assert await backend.afetch(["a", "b"]) == {"a": outcome("a")}


def test_threads_store_together(backend: Backend) -> None:
    start = threading.Barrier(8)

    def store(thread: int) -> None:
        start.wait()
        for n in range(50):
            backend.store([outcome(f"{thread}-{n}"), outcome("shared", payload=b"%d" % thread)])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(store, range(8)))
    assert len(backend.fetch([f"{thread}-{n}" for thread in range(8) for n in range(50)])) == 400
    assert backend.fetch(["shared"])["shared"].state == states.SUCCESS


@pytest.mark.needs("a life after closing")
def test_a_closed_store_can_be_used_again(backend: Backend) -> None:
    backend.store([outcome("a")])
    backend.close()
    assert set(backend.fetch(["a"])) == {"a"}


# Expiry


def test_outcomes_expire(brief: Backend) -> None:
    stored = time.time()
    brief.store([outcome("a"), outcome("b", states.FAILURE), outcome("c")])
    wait_until(lambda: not brief.fetch(["a", "b", "c"]), PATIENCE, "results to expire")
    assert time.time() - stored > 0.99
    assert brief.wait(["a"], 0) == {}
    # Even an expired success does not stand in the way of what comes after it.
    brief.store([outcome("c", states.FAILURE)])
    assert brief.fetch(["c"])["c"].state == states.FAILURE
    assert brief.cleanup() <= 2  # stores that expire by themselves have nothing left to do
    assert brief.cleanup() == 0


def test_cleanup_leaves_what_is_alive(backend: Backend) -> None:
    backend.store([outcome("a"), outcome("b")])
    assert backend.cleanup() == 0
    assert set(backend.fetch(["a", "b"])) == {"a", "b"}


@pytest.mark.parametrize("expires", [0, None])
def test_for_ever(kind: BackendKind, request: pytest.FixtureRequest, expires: float | None) -> None:
    backend = open_backend(kind.url(request), expires=expires)
    backend.store([outcome("a")])
    assert backend.cleanup() == 0
    assert set(backend.fetch(["a"])) == {"a"}
    backend.close()


# Waiting, in threads


@pytest.mark.parametrize("timeout", [0, 0.01, None])
def test_waiting_for_what_is_there(backend: Backend, timeout: float | None) -> None:
    backend.store([outcome("a"), outcome("b", states.FAILURE), outcome("c", states.REVOKED)])
    for key in "abc":
        assert set(backend.wait([key], timeout)) == {key}


@pytest.mark.parametrize("state", [states.STARTED, states.RETRY, "PROGRESS"])
@pytest.mark.parametrize("timeout", [0, 0.05])
def test_waiting_in_vain(backend: Backend, state: str, timeout: float) -> None:
    backend.store([outcome("a", state)])
    start = time.monotonic()
    assert backend.wait(["a", "unknown"], timeout) == {}
    assert time.monotonic() - start >= timeout


@pytest.mark.usefixtures("no_polling")
def test_a_waiter_is_woken(backend: Backend) -> None:
    found: list[set[str]] = []

    def wait_for_all() -> None:
        found.extend(set(backend.wait([f"t{n}"], PATIENCE)) for n in range(10))

    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(wait_for_all)
        for n in range(10):
            backend.store([outcome(f"t{n}", states.STARTED), outcome("another")])
            backend.store([outcome(f"t{n}")])
            # It is waiting for the next one, or about to, when this one has been found.
            wait_until(lambda n=n: len(found) > n, PATIENCE, "the waiter to be woken")
        waiting.result()
    assert found == [{f"t{n}"} for n in range(10)]


@pytest.mark.usefixtures("no_polling")
def test_many_waiters_in_threads(backend: Backend) -> None:
    with ThreadPoolExecutor(20) as threads:
        waiting = {n: threads.submit(backend.wait, [f"t{n % 15}"], PATIENCE) for n in range(20)}
        for n in range(15):
            backend.store([outcome(f"t{n}", payload=b"%d" % n)])
        for n, waiter in waiting.items():
            assert waiter.result() == {
                f"t{n % 15}": outcome(f"t{n % 15}", payload=b"%d" % (n % 15))
            }


@pytest.mark.usefixtures("no_polling")
def test_waiting_for_several_ends_with_the_first(backend: Backend) -> None:
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(backend.wait, ["a", "b", "c"], PATIENCE)
        backend.store([outcome("b")])
        assert set(waiting.result()) == {"b"}
    backend.store([outcome("a")])
    assert set(backend.wait(["a", "b", "c"], 0)) == {"a", "b"}


# Waiting, on a loop


async def test_awaiting_what_is_there(backend: Backend) -> None:
    backend.store([outcome("a")])
    for timeout in (0, 0.01, None):
        assert set(await backend.await_(["a", "b"], timeout)) == {"a"}


@pytest.mark.parametrize("timeout", [0, 0.05])
async def test_awaiting_in_vain(backend: Backend, timeout: float) -> None:
    backend.store([outcome("a", states.STARTED)])
    assert await backend.await_(["a"], timeout) == {}


@pytest.mark.usefixtures("no_polling")
async def test_many_waiters_on_one_loop(backend: Backend) -> None:
    waiting = [asyncio.create_task(backend.await_([f"t{n % 150}"], PATIENCE)) for n in range(200)]
    await asyncio.sleep(0)
    for n in range(150):
        await asyncio.to_thread(backend.store, [outcome(f"t{n}")])
    for n, waiter in enumerate(waiting):
        assert set(await waiter) == {f"t{n % 150}"}


@pytest.mark.usefixtures("no_polling")
async def test_awaiting_several_ends_with_the_first(backend: Backend) -> None:
    waiting = asyncio.create_task(backend.await_(["a", "b"], PATIENCE))
    await asyncio.sleep(0)
    backend.store([outcome("a", states.STARTED), outcome("b")])
    assert set(await waiting) == {"b"}


@pytest.mark.usefixtures("no_polling")
async def test_waiters_come_and_go(backend: Backend) -> None:
    lasting = asyncio.create_task(backend.await_(["last"], PATIENCE))
    for n in range(10):
        given_up = asyncio.create_task(backend.await_([f"t{n}", "never"], PATIENCE))
        waiting = asyncio.create_task(backend.await_([f"t{n}"], PATIENCE))
        assert await backend.await_([f"t{n}"], 0.001) == {}
        given_up.cancel()
        backend.store([outcome(f"t{n}")])
        assert set(await waiting) == {f"t{n}"}
    backend.store([outcome("last")])
    assert set(await lasting) == {"last"}


def test_one_store_on_several_loops(backend: Backend) -> None:
    async def ask(key: str) -> set[str]:
        return set(await backend.await_([key], PATIENCE))

    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(asyncio.run, ask(key)) for key in "ab"]
        backend.store([outcome("a"), outcome("b")])
        assert [waiter.result() for waiter in waiting] == [{"a"}, {"b"}]
    assert asyncio.run(ask("a")) == {"a"}


# Members of chords


@pytest.mark.needs("chords")
def test_members_are_counted_by_their_places(backend: Backend) -> None:
    assert backend.add_parts([]) == []
    assert backend.chord_parts("g") == {}
    assert backend.add_parts([part(2), part(0, 1, "other")]) == [part(0, 1, "other")]
    assert backend.add_parts([part(2, payload=b"again")]) == []
    assert backend.add_parts([part(0, payload=b"\x00\xff"), part(0)]) == []
    assert backend.add_parts([part(1)]) == [part(1)]
    assert backend.chord_parts("g") == {0: b"\x00\xff", 1: b"1", 2: b"2"}
    assert backend.chord_parts("other") == {0: b"0"}


@pytest.mark.needs("chords")
def test_complete_is_told_again(backend: Backend) -> None:
    """Whoever has died between the counting and what follows it asks once more."""
    backend.add_parts([part(0), part(1)])
    for _ in range(3):
        assert backend.add_parts([part(2)]) == [part(2)]
    assert backend.add_parts([part(1, payload=b"again")]) == [part(1, payload=b"again")]
    assert backend.chord_parts("g") == {0: b"0", 1: b"1", 2: b"2"}


@pytest.mark.needs("chords")
def test_several_members_at_once(backend: Backend) -> None:
    complete = backend.add_parts([part(0, 2), part(0, group="h"), part(1, 2), part(1, group="h")])
    assert {each.group for each in complete} == {"g"}
    assert part(1, 2) in complete


@pytest.mark.needs("chords")
def test_many_members(backend: Backend) -> None:
    size = 1000
    for start in range(0, size - 100, 100):
        assert backend.add_parts([part(n, size) for n in range(start, start + 100)]) == []
    assert part(size - 1, size) in backend.add_parts([part(n, size) for n in range(900, size)])
    found = backend.chord_parts("g")
    assert sorted(found) == list(range(size))
    assert all(found[n] == b"%d" % n for n in range(size))


@pytest.mark.needs("chords")
def test_members_counted_from_many_threads(backend: Backend) -> None:
    with ThreadPoolExecutor(8) as threads:
        told = list(threads.map(lambda n: backend.add_parts([part(n, 50)]), range(50)))
    assert sum(map(len, told)) >= 1
    assert len(backend.chord_parts("g")) == 50


@pytest.mark.needs("chords")
def test_what_members_contribute_is_forgotten(backend: Backend) -> None:
    backend.add_parts([part(n) for n in range(3)])
    backend.add_parts([part(0, group="h")])
    backend.forget_parts("g")
    backend.forget_parts("unknown")
    assert backend.chord_parts("g") == {}
    assert backend.chord_parts("h") == {0: b"0"}
    assert backend.add_parts([part(0)]) == []


@pytest.mark.needs("chords")
def test_what_members_contribute_expires(brief: Backend) -> None:
    brief.add_parts([part(0)])

    def gone() -> bool:
        brief.cleanup()
        return brief.chord_parts("g") == {}

    def there_again() -> bool:
        # Where each value expires by itself, the last of the old ones may be about to.
        brief.add_parts([part(0)])
        brief.cleanup()
        return brief.chord_parts("g") == {0: b"0"}

    wait_until(gone, PATIENCE, "the clean-up of a chord")
    wait_until(there_again, PATIENCE, "a chord of the same name")


@pytest.mark.needs("chords")
def test_members_that_never_expire(kind: BackendKind, request: pytest.FixtureRequest) -> None:
    backend = open_backend(kind.url(request), expires=None)
    backend.add_parts([part(0)])
    backend.cleanup()
    assert backend.chord_parts("g") == {0: b"0"}
    backend.close()


@pytest.mark.needs("chords")
def test_the_first_member_lives_as_long_as_the_last(brief: Backend) -> None:
    begun = added = time.monotonic()
    brief.add_parts([part(0, 1000)])
    number = 0

    def one_more() -> bool:
        nonlocal number, added
        number, before, added = number + 1, added, time.monotonic()
        brief.add_parts([part(number, 1000)])
        brief.cleanup()
        if 0 not in brief.chord_parts("g"):
            # Only if this process has stood still for so long.
            assert time.monotonic() > before + brief.expires / 2
            brief.add_parts([part(0, 1000)])
        return time.monotonic() > begun + 3.5 * brief.expires

    wait_until(one_more, PATIENCE, "several times as long as one of them is kept")


@pytest.mark.needs("chords")
def test_what_follows_a_chord_is_kept(backend: Backend) -> None:
    backend.keep_chords([])
    assert backend.chord_record("g") is None
    backend.keep_chords([ChordRecord("g", b"\x00\xffwhat"), ChordRecord("h", b"other")])
    backend.keep_chords([ChordRecord("g", b"again")])
    assert (backend.chord_record("g"), backend.chord_record("h")) == (b"\x00\xffwhat", b"other")
    assert backend.chord_parts("g") == {}
    assert backend.add_parts([part(0), part(1)]) == []
    assert backend.add_parts([part(2)]) == [part(2)], "what follows is no member"
    assert backend.chord_parts("g") == {0: b"0", 1: b"1", 2: b"2"}
    backend.forget_chord("g")
    backend.forget_chord("unknown")
    assert (backend.chord_record("g"), backend.chord_parts("g")) == (None, {})
    assert backend.chord_record("h") == b"other"


@having("lists_chords")
def test_chords_that_have_not_ended(backend: Backend) -> None:
    assert backend.open_chords("", 10) == []
    backend.keep_chords([ChordRecord(key, key.encode()) for key in "dbca"])
    backend.add_parts([part(0, group="b"), part(1, group="b"), part(0, group="x")])
    backend.forget_chord("c")
    found = backend.open_chords("", 2)
    assert found == [ChordRecord("a", b"a", 0), ChordRecord("b", b"b", 2)]
    assert backend.open_chords("b", 2) == [ChordRecord("d", b"d", 0)]
    assert backend.open_chords("d", 2) == []


@having("lists_chords")
def test_members_that_join_a_chord(backend: Backend) -> None:
    backend.keep_chords([ChordRecord("g", b"what")])
    for _ in range(3):
        backend.extend_chord("g", 1000)
    backend.extend_chord("g", 1001)
    assert backend.add_parts([part(n) for n in range(3)]) == []
    assert backend.open_chords("", 10)[0].count == 1
    assert backend.add_parts([part(1000)]) == []
    assert backend.add_parts([part(1001)]) == [part(1001)]
    assert sorted(backend.chord_parts("g")) == [0, 1, 2, 1000, 1001]
    backend.forget_chord("g")
    assert backend.chord_parts("g") == {}


@having("lists_chords")
def test_an_unfinished_chord_outlives_results(brief: Backend) -> None:
    brief.keep_chords([ChordRecord("g", b"what")])
    brief.add_parts([part(0)])
    brief.store([outcome("a")])

    def gone() -> bool:
        brief.cleanup()
        return brief.fetch(["a"]) == {}

    wait_until(gone, PATIENCE, "the end of a result")
    assert brief.chord_record("g") == b"what"
    assert brief.chord_parts("g") == {0: b"0"}


# Groups


@pytest.mark.needs("groups")
def test_a_saved_group(backend: Backend) -> None:
    assert backend.restore_group("g") is None
    backend.save_group("g", b"\x00\xff one")
    backend.save_group("h", b"other")
    backend.save_group("g", b"two")
    assert (backend.restore_group("g"), backend.restore_group("h")) == (b"two", b"other")
    backend.delete_group("g")
    backend.delete_group("unknown")
    assert (backend.restore_group("g"), backend.restore_group("h")) == (None, b"other")


@pytest.mark.needs("groups")
def test_a_saved_group_expires(brief: Backend) -> None:
    brief.save_group("g", b"one")

    def gone() -> bool:
        brief.cleanup()
        return brief.restore_group("g") is None

    wait_until(gone, PATIENCE, "the end of a group")


# Other processes


@having("many_processes")
@pytest.mark.usefixtures("no_polling")
async def test_another_process_stores_while_we_wait(
    kind: BackendKind, backend: Backend, request: pytest.FixtureRequest
) -> None:
    url = kind.url(request)
    on_loop = asyncio.create_task(backend.await_(["a"], PATIENCE))
    in_thread = asyncio.create_task(asyncio.to_thread(backend.wait, ["b"], PATIENCE))
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", STORE, url, "a", "b")
    assert set(await on_loop) == {"a"}
    assert set(await in_thread) == {"b"}
    assert await other.wait() == 0


@having("many_processes")
def test_a_forked_child_stores_with_a_connection_of_its_own(backend: Backend) -> None:
    backend.store([outcome("before")])

    def child() -> None:
        for n in range(50):
            backend.store([outcome(f"child-{n}")])
        assert set(backend.wait(["parent-0"], PATIENCE)) == {"parent-0"}
        backend.close()

    with forked(child):
        for n in range(50):
            backend.store([outcome(f"parent-{n}")])
        assert set(backend.wait(["child-49"], PATIENCE)) == {"child-49"}
    ids = [f"{name}-{n}" for name in ("child", "parent") for n in range(50)]
    assert set(backend.fetch(["before", *ids])) == {"before", *ids}


@having("many_processes")
def test_outcomes_outlive_the_process(
    kind: BackendKind, backend: Backend, request: pytest.FixtureRequest
) -> None:
    backend.store([outcome("a")])
    backend.close()
    again = open_backend(kind.url(request))
    assert again.fetch(["a"]) == {"a": outcome("a")}
    again.close()
