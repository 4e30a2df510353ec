"""What every schedule store must do; see `taskq.beat.stores.base`."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from taskq.beat.stores import Claim, Record, ScheduleStore
from taskq.exceptions import QueueNotFound
from taskq.message import TaskMessage, unpack
from tests.conformance.schedule_stores import SHORT, Place, StoreKind, params
from tests.waiting import wait_until


@pytest.fixture(params=params())
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    kind: StoreKind = request.param
    place = Place(kind, request)
    assert place.store.sends == kind.sends
    yield place
    place.close()


sending = pytest.mark.parametrize("place", params(lambda kind: kind.sends), indirect=True)
by_outbox = pytest.mark.parametrize("place", params(lambda kind: not kind.sends), indirect=True)
shared = pytest.mark.parametrize("place", params(lambda kind: kind.name != "memory"), indirect=True)
"""What a store in memory is not: it is one app's."""


@pytest.fixture
def store(place: Place) -> ScheduleStore:
    return place.store


def record(name: str = "a", **fields: object) -> Record:
    defaults = {"definition": b'{"task":"note"}', "source": "code", "revision": "r1", "due": 100.0}
    return Record(name, **{**defaults, **fields})  # type: ignore[arg-type]


def claim(
    name: str = "a", due: float = 100.0, next_due: float | None = 160.0, **fields: object
) -> Claim:
    defaults = {"revision": "r1", "last": due, "runs": 1, "now": 101.5, "lateness": 1.5}
    return Claim(name, due=due, next_due=next_due, **{**defaults, **fields})  # type: ignore[arg-type]


def message(place: Place, task_id: str, once: str | None = None, **options: object) -> TaskMessage:
    made = place.app.producer.build("note", (), {}, {"task_id": task_id, **options})  # type: ignore[typeddict-item]
    made.once = once
    return made


def one(store: ScheduleStore, name: str = "a") -> Record:
    (found,) = store.read([name])
    return found


# Rows


def test_what_was_put_is_there(store: ScheduleStore) -> None:
    rows = [
        record("a", due=1795538715.3216011),
        record("ü:{x} 日", definition='{"args":["ü"]}'.encode(), due=None, source="store"),
        record("c", enabled=False, due=0.1 + 0.2),
    ]
    store.put(rows)
    assert sorted(store.load(), key=lambda row: row.name) == sorted(rows, key=lambda row: row.name)
    assert store.read(["c", "nobody"]) == [rows[2]]
    assert store.read([]) == []


def test_a_row_of_the_same_revision_stays_as_it_is(store: ScheduleStore) -> None:
    store.put([record(due=100.0)])
    assert store.claim([claim(next_due=160.0)]) == {"a"}
    # A beat that starts at the same time has read the store before that.
    store.put([record(due=100.0)])
    assert one(store).due == 160.0


def test_another_revision_replaces_definition_and_due_and_keeps_the_counts(
    store: ScheduleStore,
) -> None:
    store.put([record()])
    store.claim([claim(missed=2)])
    store.disable("a")
    store.put([record(revision="r2", due=500.0, definition=b"{}", source="store")])
    row = one(store)
    assert (row.revision, row.due, row.definition, row.source) == ("r2", 500.0, b"{}", "store")
    assert (row.runs, row.missed, row.last_due, row.enabled) == (1, 2, 100.0, False)


def test_rows_are_removed(store: ScheduleStore) -> None:
    store.put([record("a"), record("b")])
    assert store.remove(["a", "nobody"]) == 1
    assert [row.name for row in store.load()] == ["b"]
    assert store.remove([]) == 0
    assert store.claim([claim("a")]) == set()


def test_many_rows(store: ScheduleStore) -> None:
    store.put([record(f"entry {number}") for number in range(1203)])
    assert len(store.load()) == 1203
    assert len(store.read([f"entry {number}" for number in range(1203)])) == 1203
    assert store.put([]) is None


@shared
def test_each_app_has_its_own_rows(place: Place) -> None:
    other = place.another(main="another")
    other.put([record("a", due=7.0)])
    place.store.put([record("a", due=8.0)])
    assert (one(other).due, one(place.store).due) == (7.0, 8.0)
    other.remove(["a"])
    assert other.load() == []
    assert one(place.store).due == 8.0


# Edits


def test_every_edit_changes_the_version_and_no_claim_does(place: Place) -> None:
    store, other = place.store, place.another()
    seen = [other.poll()[1]]

    def edited() -> bool:
        seen.append(other.poll()[1])
        return seen[-1] != seen[-2]

    store.put([record()])
    assert edited()
    store.claim([claim()])
    assert not edited()
    store.disable("a")
    assert edited()
    store.enable("a", 200.0)
    assert edited()
    store.reset("a", 200.0, 150.0)
    assert edited()
    store.remove(["a"])
    assert edited()


def test_a_disabled_entry_cannot_be_claimed_until_it_is_enabled(store: ScheduleStore) -> None:
    store.put([record()])
    assert store.disable("a")
    assert not one(store).enabled
    assert store.claim([claim()]) == set()
    assert store.enable("a", 120.0)
    assert (one(store).enabled, one(store).due) == (True, 120.0)
    assert store.claim([claim(due=120.0)]) == {"a"}
    # Enabled once more, it keeps the due time that it has.
    assert store.enable("a", 999.0)
    assert one(store).due == 160.0
    assert not store.enable("nobody", 1.0)
    assert not store.disable("nobody")


def test_a_reset_row_runs_again_from_another_time(store: ScheduleStore) -> None:
    store.put([record()])
    store.claim([claim(next_due=160.0)])
    assert not store.reset("a", 100.0, 50.0)
    assert store.reset("a", 160.0, 50.0)
    assert (one(store).due, one(store).last_due) == (50.0, None)
    assert store.claim([claim(due=50.0, next_due=None)]) == {"a"}
    assert store.reset("a", None, 70.0)
    assert one(store).due == 70.0


def test_the_version_says_when_the_store_was_made_anew(place: Place) -> None:
    assert place.store.poll()[1] == "0.0" or place.store.poll()[1].partition(".")[0] != "0"
    births = set()
    for _ in range(3):
        place.store.put([record()])
        place.store.disable("a")
        births.add(place.store.poll()[1].partition(".")[0])
    assert len(births) == 1
    assert births != {"0"}


# Claims


def test_a_claim_moves_the_row_and_counts(store: ScheduleStore) -> None:
    store.put([record()])
    assert store.claim([claim(last=130.0, runs=2, missed=3, failures=1, error="no")]) == {"a"}
    row = one(store)
    assert (row.due, row.last_due, row.last_run, row.lateness) == (160.0, 130.0, 101.5, 1.5)
    assert (row.runs, row.missed, row.failures, row.error) == (2, 3, 1, "no")
    # A step that sends nothing leaves the last run as it was.
    assert store.claim([claim(due=160.0, next_due=None, runs=0, missed=1, now=999.0)]) == {"a"}
    row = one(store)
    assert (row.due, row.last_run, row.missed, row.error) == (None, 101.5, 4, "")


def test_times_keep_all_their_digits(store: ScheduleStore) -> None:
    due, following = 1695538715.3216011, 1695538715.3216013
    store.put([record(due=due)])
    assert store.claim([claim(due=due, next_due=following)]) == {"a"}
    assert one(store).due == following
    assert store.claim([claim(due=due)]) == set()
    assert store.claim([claim(due=following)]) == {"a"}


def test_a_claim_does_not_count_twice(place: Place) -> None:
    store, other = place.store, place.another()
    store.put([record()])
    assert store.claim([claim()]) == {"a"}
    assert other.claim([claim()]) == set()
    assert store.claim([claim()]) == set()


@pytest.mark.parametrize(
    "wrong",
    [{"revision": "r2"}, {"due": 99.0}, {"name": "nobody"}],
    ids=["revision", "due", "name"],
)
def test_a_claim_must_fit_the_row(place: Place, wrong: dict[str, object]) -> None:
    place.store.put([record()])
    lost = claim(**{"messages": [message(place, "lost")], **wrong})  # type: ignore[arg-type]
    assert place.store.claim([lost]) == set()
    assert place.queued() == []
    assert place.store.take(10) == []


def test_no_tick_up_to_the_last_one_is_claimed_again(store: ScheduleStore) -> None:
    store.put([record(due=100.0)])
    store.claim([claim(last=130.0, next_due=160.0)])
    # Another rule, by a beat that has not seen the claim.
    store.put([record(revision="r2", due=120.0)])
    assert store.claim([claim(revision="r2", due=120.0)]) == set()
    assert store.claim([claim(revision="r2", due=120.0, last=131.0)]) == {"a"}


def test_a_tick_is_not_claimed_before_its_time(store: ScheduleStore) -> None:
    due = store.poll()[0] + 0.3
    store.put([record(due=due)])
    assert store.claim([claim(due=due)]) == set()
    wait_until(lambda: store.claim([claim(due=due)]) == {"a"}, 5, "the tick's time")
    assert store.poll()[0] >= due


def test_of_several_claims_those_count_that_fit(place: Place) -> None:
    place.store.put([record("a"), record("b"), record("c")])
    claims = [
        claim(name, messages=[message(place, f"{name}1"), message(place, f"{name}2")])
        for name in "abc"
    ]
    claims[1].due = 1.0
    assert place.store.claim(claims) == {"a", "c"}
    assert arrived(place) == ["a1", "a2", "c1", "c2"]
    assert place.store.claim([]) == set()


def arrived(place: Place) -> list[str]:
    """The ids of all that was sent, from the queue or from the outbox."""
    if place.store.sends:
        assert place.store.take(100) == []
        return sorted(place.queued())
    assert place.queued() == []
    held = place.store.take(100)
    place.store.sent(held)
    return sorted(unpack(one.packed).id for one in held)


@sending
def test_a_store_that_sends_keeps_the_brokers_promises(place: Place) -> None:
    place.store.put([record("a"), record("b")])
    later = message(place, "later", countdown=60)
    claims = [
        claim("a", messages=[message(place, "first", once="k"), later]),
        claim("b", messages=[message(place, "second", once="k"), message(place, "x", queue="q")]),
    ]
    assert place.store.claim(claims) == {"a", "b"}
    # The key was accepted once, although both claims count.
    assert sorted(place.queued()) == ["first", "later"]
    assert place.queued("q") == ["x"]
    assert "q" in place.app.broker.queues()
    depth = place.app.broker.depth("default")
    assert (depth.ready, depth.delayed) == (1, 1)


@sending
def test_an_exchange_without_a_queue_is_an_error_and_nothing_counts(place: Place) -> None:
    place.store.put([record("a"), record("b")])
    lost = message(place, "lost", exchange="nowhere", routing_key="x")
    with pytest.raises(QueueNotFound, match="nowhere"):
        place.store.claim([claim("a", messages=[message(place, "y")]), claim("b", messages=[lost])])
    assert place.queued() == []
    assert [row.runs for row in place.store.load()] == [0, 0]


def test_threads_that_race_for_a_tick_get_it_once(place: Place) -> None:
    place.store.put([record()])
    stores = [place.another() for _ in range(4)]
    due, won = 100.0, []

    def race(store: ScheduleStore, number: int) -> None:
        for tick in range(20):
            at = due + tick
            mine = claim(due=at, next_due=at + 1, messages=[message(place, f"{tick}-{number}")])
            while one(store).due == at:
                if store.claim([mine]):
                    won.append(tick)
            # Whoever lost goes on when the winner has moved the row.

    threads = [
        threading.Thread(target=race, args=(store, number)) for number, store in enumerate(stores)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(won) == list(range(20))
    assert one(place.store).runs == 20
    assert len(arrived(place)) == 20


# The outbox


@by_outbox
def test_a_message_of_the_outbox_is_held_by_one_and_free_again_after_the_lease(
    place: Place,
) -> None:
    other = place.another()
    place.store.put([record()])
    place.store.claim([claim(messages=[message(place, "x", once="k")])])
    (held,) = place.store.take(10)
    assert (unpack(held.packed).id, unpack(held.packed).once) == ("x", "k")
    assert other.take(10) == []
    again = []
    wait_until(lambda: again.extend(other.take(10)) or bool(again), SHORT + 5, "the lease's end")
    assert unpack(again[0].packed).id == "x"
    other.sent(again)
    place.store.sent([held])
    assert place.store.take(10) == []


@by_outbox
def test_the_outbox_is_taken_in_parts(place: Place) -> None:
    place.store.put([record()])
    place.store.claim([claim(messages=[message(place, f"m{n}") for n in range(5)])])
    assert [len(place.store.take(3)) for _ in range(3)] == [3, 2, 0]


def test_a_closed_store_can_be_used_again(store: ScheduleStore) -> None:
    store.put([record()])
    with store:
        pass
    assert one(store).name == "a"
