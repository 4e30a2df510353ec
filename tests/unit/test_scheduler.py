"""The scheduler with a clock that the test sets, and a store in memory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from taskq import TaskQ, chain, group, signals
from taskq.beat import BeatLazyFunc
from taskq.beat.scheduler import Scheduler
from taskq.beat.stores.base import IN_STORE, Claim, Record
from taskq.beat.stores.memory import MemoryScheduleStore
from taskq.beat.ticks import AT_ONCE, ticks_due
from taskq.exceptions import OperationalError
from taskq.message import TaskMessage
from taskq.schedules import BaseSchedule, clocked, crontab, schedule

START = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC).timestamp()


class World:
    """A clock, a store, and any number of beats.

    Attributes:
        time: what the clock shows.
        app: with tasks ``add`` and ``note``.
        store: what all beats share.
    """

    def __init__(self, **settings: Any) -> None:
        self.time = START
        self.app = TaskQ("proj", broker="memory://", set_as_current=False, **settings)
        self.app.task(_add, name="add")
        self.app.task(_note, name="note")
        self.store = MemoryScheduleStore(clock=self.clock)

    def clock(self) -> float:
        return self.time

    def beat(self, clock: Callable[[], float] | None = None, **entries: Any) -> Scheduler:
        """A beat that has started, with these entries in its code."""
        self.app.conf.update(beat_schedule=entries)
        beat = Scheduler(
            self.app,
            self.store,
            self.app.Beat().entries(),
            poll=0.0,
            clock=clock or self.clock,
        )
        beat.start()
        return beat

    def run(self, until: float, *beats: Scheduler, step: float = 1.0) -> None:
        """Let the clock go on to a time, and all beats tick at each step."""
        while self.time < until:
            self.time = min(self.time + step, until)
            for beat in beats:
                beat.tick()

    def sent(self) -> list[TaskMessage]:
        """What lies in the queue."""
        return self.app.broker.browse("default", 100_000)

    def ticks(self, name: str | None = None) -> list[str]:
        """The due times of what lies in the queue: hours, minutes and seconds of UTC."""
        return [
            str(message.headers["periodic_task_due"])[11:19]
            for message in self.sent()
            if name in (None, message.headers["periodic_task_name"])
        ]

    def record(self, name: str) -> Record:
        (record,) = self.store.read([name])
        return record


def _add(x: int, y: int) -> int:
    return x + y


def _note(key: object = None) -> None:
    """A task that nobody runs."""


@pytest.fixture
def world() -> World:
    return World()


def entry(schedule: Any, task: str = "note", **fields: Any) -> dict[str, Any]:
    return {"task": task, "schedule": schedule, **fields}


def at(text: str) -> float:
    """A time of the first of January 2026, in UTC."""
    return datetime.fromisoformat(f"2026-01-01T{text}+00:00").timestamp()


# Sending


def test_entries_are_sent_when_they_are_due(world: World) -> None:
    beat = world.beat(a=entry(20), b=entry(crontab("*"), "add", args=(1, 2)))
    world.run(at("12:02:00"), beat)
    assert world.ticks("a") == ["12:00:50", "12:01:10", "12:01:30", "12:01:50"]
    assert world.ticks("b") == ["12:01:00", "12:02:00"]


def test_a_message_says_which_tick_it_is_and_its_id_is_the_ticks_own(world: World) -> None:
    world.run(at("12:01:00"), world.beat(b=entry(crontab("*"), options={"headers": {"x": 1}})))
    (message,) = world.sent()
    assert message.headers["periodic_task_name"] == "b"
    assert message.headers["periodic_task_due"] == "2026-01-01T12:01:00+00:00"
    assert message.headers["x"] == 1
    assert message.once == "beat:proj:b:1767268860000000"
    other = World()
    other.run(at("12:01:00"), other.beat(b=entry(crontab("*"))))
    assert other.sent()[0].id == message.id


def test_tick_says_how_long_there_is_nothing_to_do(world: World) -> None:
    beat = world.beat(a=entry(20))
    beat._poll = 0.5
    assert beat.tick() == pytest.approx(0.5, abs=0.1)
    world.time = START + 19.9
    assert beat.tick() == pytest.approx(0.1, abs=0.01)


def test_options_and_queues_are_the_calls(world: World) -> None:
    world.run(at("12:00:40"), world.beat(a=entry(10, options={"queue": "slow", "priority": 7})))
    (message,) = world.app.broker.browse("slow", 10)
    assert message.priority == 7


def test_lazy_arguments_are_computed_for_each_tick(world: World) -> None:
    lazy = BeatLazyFunc(lambda: world.time)
    world.run(at("12:00:50"), world.beat(a=entry(10, args=(lazy,))))
    assert [message.headers["argsrepr"] for message in world.sent()] == [
        f"({at('12:00:40')},)",
        f"({at('12:00:50')},)",
    ]


def test_signals_around_sending_are_sent(world: World) -> None:
    seen: list[str] = []

    def before(sender: str, **kwargs: Any) -> None:
        seen.append(f"before {sender}")

    def after(sender: str, **kwargs: Any) -> None:
        seen.append(f"after {sender}")

    signals.before_task_publish.connect(before)
    signals.after_task_publish.connect(after)
    try:
        world.run(at("12:00:40"), world.beat(a=entry(10)))
    finally:
        signals.before_task_publish.disconnect(before)
        signals.after_task_publish.disconnect(after)
    assert seen == ["before note", "after note"]


def test_workflows_are_sent_each_tick_with_ids_of_their_own(world: World) -> None:
    add, note = world.app.tasks["add"], world.app.tasks["note"]
    world.app.add_periodic_task(10, group(add.s(1, 1), note.si()), name="both")
    world.app.add_periodic_task(10, chain(add.s(1, 1), note.si()), name="row")
    world.run(at("12:00:50"), world.beat())
    assert sorted(world.ticks("both")) == ["12:00:40", "12:00:40", "12:00:50", "12:00:50"]
    assert world.ticks("row") == ["12:00:40", "12:00:50"]
    assert len({message.id for message in world.sent()}) == 6


def test_a_clocked_entry_runs_once_and_never_again(world: World) -> None:
    moment = datetime.fromtimestamp(START + 5, UTC)
    beat = world.beat(a=entry(clocked(moment)))
    world.run(START + 20, beat)
    world.run(START + 40, world.beat(a=entry(clocked(moment), args=(1,))))
    assert world.ticks() == ["12:00:35"]
    assert world.record("a").due is None


def test_the_zone_of_the_settings_is_that_of_rules_without_one() -> None:
    world = World(timezone="Asia/Tokyo")
    world.run(at("15:00:00"), world.beat(a=entry(crontab(0, 0))), step=600)
    assert world.ticks() == ["15:00:00"]


def test_the_state_is_kept(world: World) -> None:
    beat = world.beat(a=entry(10))
    world.time = START + 10.25
    beat.tick()
    record = world.record("a")
    assert (record.runs, record.last_due, record.due) == (1, START + 10, START + 20)
    assert record.lateness == pytest.approx(0.25)
    assert record.last_run == pytest.approx(START + 10.25)


# Many beats


def test_however_many_beats_there_are_each_tick_is_sent_once(world: World) -> None:
    entries = {"a": entry(7), "b": entry(crontab("*")), "c": entry(13, missed="all")}
    beats = [world.beat(**entries) for _ in range(3)]
    world.run(at("12:10:30"), *beats)
    assert len(world.ticks("a")) == len(set(world.ticks("a"))) == 600 // 7
    assert len(world.ticks("b")) == len(set(world.ticks("b"))) == 10
    assert len(world.ticks("c")) == len(set(world.ticks("c"))) == 600 // 13


def test_beats_that_disagree_about_the_time_send_each_tick_once(world: World) -> None:
    entries = {"a": entry(30), "b": entry(crontab("*"))}
    # The store's clock is the one that counts: theirs are corrected by it.
    beats = [
        world.beat(clock=lambda ahead=ahead: world.time + ahead, **entries)  # type: ignore[misc]
        for ahead in (0.0, 3600.0, -7.5)
    ]
    world.run(at("12:05:00"), *beats)
    assert world.ticks("a") == sorted(set(world.ticks("a")))
    assert world.ticks("b") == [f"12:0{minute}:00" for minute in range(1, 6)]
    assert world.record("a").lateness <= 1.0


def test_a_beat_that_was_stopped_goes_on_without_sending_what_others_have_sent(
    world: World,
) -> None:
    entries = {"a": entry(10)}
    one, other = world.beat(**entries), world.beat(**entries)
    world.run(at("12:00:45"), one, other)
    world.run(at("12:01:25"), other)
    world.run(at("12:01:35"), one)
    assert world.ticks() == ["12:00:40", "12:00:50", *(f"12:01:{n}0" for n in range(4))]


def test_beats_that_start_together_agree_on_when_an_interval_runs_first(world: World) -> None:
    one = world.beat(a=entry(10))
    world.time += 3
    other = world.beat(a=entry(10))
    world.run(at("12:00:55"), one, other)
    assert world.ticks() == ["12:00:40", "12:00:50"]


def test_what_a_dead_beat_has_claimed_is_sent_by_another_when_the_lease_ends(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = world.beat(a=entry(10)), world.beat(a=entry(10))
    # It dies between the claim and the publishing, and holds the message.
    monkeypatch.setattr(one._outbox, "_publish", _die)
    world.time = at("12:00:40")
    with pytest.raises(SystemExit):
        one.tick()
    world.run(at("12:00:49"), other)
    assert world.ticks() == []
    world.run(at("12:00:55"), other)
    assert world.ticks() == ["12:00:40", "12:00:50"]


def _die(held: object) -> None:
    raise SystemExit


def test_what_was_delivered_is_not_delivered_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat = world.beat(a=entry(10))
    published: list[TaskMessage] = []
    monkeypatch.setattr(world.app.broker, "publish", published.extend)
    world.run(at("12:01:15"), beat)
    assert len(published) == 4


def test_what_cannot_be_delivered_for_long_is_left_to_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat = world.beat(a=entry(clocked(datetime.fromtimestamp(START + 1, UTC))))
    monotonic = world.clock
    assert beat._outbox is not None
    monkeypatch.setattr(beat._outbox, "_monotonic", monotonic)
    published: list[TaskMessage] = []

    def away(messages: list[TaskMessage]) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(world.app.broker, "publish", away)
    world.time = START + 1
    with pytest.raises(OperationalError):
        beat.tick()
    # The broker is there again, but the lease is about to end: another beat may have the message.
    monkeypatch.setattr(world.app.broker, "publish", published.extend)
    world.time += 6
    beat.tick()
    assert published == []
    world.time += 5
    beat.tick()
    assert len(published) == 1


# Missed ticks


@pytest.mark.parametrize(
    ("missed", "max_lateness", "expected"),
    [
        ("once", None, ["12:10:00"]),
        ("once", 20, []),
        ("skip", None, []),
        ("skip", 60, ["12:10:00"]),
        ("all", None, [f"12:{minute:02}:00" for minute in range(1, 11)]),
        ("all", 150, ["12:08:00", "12:09:00", "12:10:00"]),
    ],
)
def test_what_was_missed_while_no_beat_ran(
    world: World, missed: str, max_lateness: float | None, expected: list[str]
) -> None:
    entries = {"a": entry(crontab("*"), missed=missed, max_lateness=max_lateness)}
    world.beat(**entries)
    world.time = at("12:10:30")
    beat = world.beat(**entries)
    beat.tick()
    assert world.ticks() == expected
    record = world.record("a")
    assert (record.runs, record.runs + record.missed) == (len(expected), 10)
    assert record.due == at("12:11:00")
    world.run(at("12:11:00"), beat)
    assert world.ticks() == [*expected, "12:11:00"]


def test_the_settings_say_what_becomes_of_missed_ticks_where_an_entry_does_not() -> None:
    world = World(beat_missed="all", beat_cron_starting_deadline=100)
    entries = {"a": entry(crontab("*")), "b": entry(60)}
    world.beat(**entries)
    world.time = at("12:10:29")
    world.beat(**entries).tick()
    assert world.ticks("a") == ["12:09:00", "12:10:00"]
    assert len(world.ticks("b")) == 9


def test_very_many_missed_ticks_are_sent_in_steps(world: World) -> None:
    entries = {"a": entry(1, missed="all")}
    world.beat(**entries)
    world.time = START + 2.5 * AT_ONCE
    world.beat(**entries).tick()
    assert len(set(world.ticks())) == len(world.ticks()) == 2.5 * AT_ONCE


@pytest.mark.parametrize("rule", [schedule(1), crontab("*/2"), schedule(60, relative=True)])
@pytest.mark.parametrize(("missed", "lateness"), [("once", None), ("all", 600.0)])
def test_years_of_missed_ticks_are_not_looked_at_one_by_one(
    rule: BaseSchedule, missed: str, lateness: float | None
) -> None:
    calls = 0
    plain = type(rule).next

    class Counting(type(rule)):  # type: ignore[misc]
        def next(self, after: datetime) -> datetime | None:
            nonlocal calls
            calls += 1
            return plain(self, after)

    rule.__class__ = Counting
    now = at("12:00:30") + 3 * 365 * 86400
    found = ticks_due(rule, at("12:00:00"), now, UTC, missed, lateness)
    assert calls < 25_000
    assert all(now - tick <= (lateness or 120) for tick in found.ticks)
    assert found.next_due is not None
    assert found.ticks
    if found.next_due <= now:  # as many as are sent in one step
        assert len(found.ticks) == AT_ONCE or isinstance(rule, schedule)
    assert found.missed >= 10_000


# The clock


def test_after_the_clock_jumped_ahead_missed_ticks_follow_their_policy(world: World) -> None:
    beat = world.beat(a=entry(60, missed="skip"), b=entry(60), c=entry(60, missed="all"))
    world.time = at("14:00:45")
    beat.tick()
    assert (len(world.ticks("a")), len(world.ticks("b")), len(world.ticks("c"))) == (0, 1, 120)
    world.run(at("14:01:45"), beat)
    assert (len(world.ticks("a")), len(world.ticks("b")), len(world.ticks("c"))) == (1, 2, 121)


def test_after_the_clock_was_set_back_intervals_go_on_and_no_tick_is_sent_twice(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    beats = [world.beat(a=entry(60), b=entry(crontab("*"))) for _ in range(2)]
    world.run(at("12:30:00"), *beats)
    world.time = at("12:10:10")
    with caplog.at_level(logging.WARNING, "taskq.beat"):
        for beat in beats:
            beat.tick()
    assert "the clock was set back by 1190 seconds" in caplog.text
    assert "such as b" in caplog.text
    sent = len(world.ticks("a")), len(world.ticks("b"))
    world.run(at("12:15:00"), *beats)
    assert (len(world.ticks("a")), len(world.ticks("b"))) == (sent[0] + 4, sent[1])
    world.run(at("12:31:00"), *beats)
    assert world.ticks("b").count("12:31:00") == 1
    assert len(world.ticks("b")) == len(set(world.ticks("b")))


def test_an_interval_that_a_wrong_clock_put_far_ahead_starts_afresh_with_the_beat(
    world: World,
) -> None:
    world.time = at("12:00:00") + 10 * 365 * 86400
    world.beat(a=entry(60))
    world.time = at("12:00:00")
    world.run(at("12:01:00"), world.beat(a=entry(60)))
    assert world.ticks() == ["12:01:00"]


@pytest.mark.parametrize(
    ("night", "expected"),
    [
        ("2026-03-29", ["2026-03-29T01:00:00+00:00", "2026-03-30T00:30:00+00:00"]),
        ("2026-10-25", ["2026-10-25T00:30:00+00:00", "2026-10-26T01:30:00+00:00"]),
    ],
)
@pytest.mark.parametrize("stops", [False, True])
def test_a_night_on_which_the_clock_is_changed(
    night: str, expected: list[str], stops: bool
) -> None:
    world = World(timezone="Europe/Berlin")
    world.time = datetime.fromisoformat(night).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    entries = {"nightly": entry(crontab(30, 2)), "hourly": entry(crontab(0))}
    beats = [world.beat(**entries) for _ in range(2)]
    start, end = world.time, world.time + 30 * 3600
    while world.time < end:
        if stops:  # a beat that starts anew every half hour
            beats[0] = world.beat(**entries)
        world.run(world.time + 1800, *beats, step=60)
    nightly = [
        str(message.headers["periodic_task_due"])
        for message in world.sent()
        if message.headers["periodic_task_name"] == "nightly"
    ]
    assert nightly == expected
    assert len(world.ticks("hourly")) == (end - start) / 3600


# Edits


def test_an_entry_that_the_code_changes_takes_the_new_rule_at_once(world: World) -> None:
    world.beat(a=entry(3600))
    world.run(at("12:00:50"), world.beat(a=entry(10)))
    assert world.ticks() == ["12:00:40", "12:00:50"]


def test_an_argument_that_the_code_changes_does_not_forget_what_was_missed(world: World) -> None:
    world.beat(a=entry(crontab("*"), args=(1,)))
    world.time = at("12:01:05")
    world.beat(a=entry(crontab("*"), args=(2,))).tick()
    (message,) = world.sent()
    assert message.headers["argsrepr"] == "(2,)"


def test_an_entry_that_the_code_has_no_more_is_forgotten_by_all_beats(world: World) -> None:
    old = world.beat(a=entry(10), b=entry(10))
    new = world.beat(b=entry(10))
    world.run(at("12:00:50"), old, new)
    assert (world.ticks("a"), world.ticks("b")) == ([], ["12:00:40", "12:00:50"])


def test_a_beat_with_older_code_leaves_an_entry_to_the_newer(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    old = world.beat(a=entry(10, args=("old",)))
    new = world.beat(a=entry(10, args=("new",)))
    world.run(at("12:00:50"), old, new)
    assert [m.headers["argsrepr"] for m in world.sent()] == ["('new',)"] * 2
    assert "was changed by a beat that started later" in caplog.text


def test_entries_of_the_store_are_run_and_followed(world: World) -> None:
    beat = world.beat()
    definition = b'{"task":"note","schedule":{"every":10}}'
    world.store.put([Record("live", definition, IN_STORE, "r1", due=START + 10)])
    world.run(at("12:00:45"), beat)
    world.store.disable("live")
    world.run(at("12:01:10"), beat)
    assert world.ticks() == ["12:00:40"]
    world.store.enable("live", at("12:01:20"))
    world.run(at("12:01:25"), beat)
    assert world.ticks() == ["12:00:40", "12:01:20"]
    world.store.remove(["live"])
    world.run(at("12:02:00"), beat)
    assert len(world.ticks()) == 2


@pytest.mark.parametrize(
    "broken",
    [
        *(b"", b"\xff", b"[]", b"{}"),
        *(b'{"task":"note","schedule":{"moon":1}}', b'{"task":1,"schedule":1}'),
    ],
)
def test_a_row_that_makes_no_sense_is_told_of_and_the_others_go_on(
    world: World, caplog: pytest.LogCaptureFixture, broken: bytes
) -> None:
    world.store.put([Record("broken", broken, IN_STORE, "r1", due=START)])
    world.run(at("12:00:50"), world.beat(a=entry(10)))
    assert world.ticks("a") == ["12:00:40", "12:00:50"]
    assert caplog.text.count("'broken'") == 1


def test_a_disabled_entry_of_the_code_does_not_run_and_has_missed_nothing(world: World) -> None:
    world.run(at("12:01:00"), world.beat(a=entry(10, enabled=False)))
    world.run(at("12:01:15"), world.beat(a=entry(10)))
    assert world.ticks() == ["12:01:10"]


def test_a_store_that_was_emptied_gets_the_entries_of_the_code_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    beats = [world.beat(a=entry(10)) for _ in range(2)]
    world.run(at("12:00:45"), *beats)
    world.store.__init__(clock=world.clock)  # type: ignore[misc]
    world.run(at("12:01:10"), *beats)
    assert world.ticks() == ["12:00:40", "12:00:56", "12:01:06"]
    assert "has lost its entries" in caplog.text


def test_a_store_that_was_emptied_and_is_away_gets_its_entries_later(world: World) -> None:
    beat = world.beat(a=entry(10))
    world.store.__init__(clock=world.clock)  # type: ignore[misc]
    put = world.store.put
    world.store.put = _away  # type: ignore[method-assign]
    with pytest.raises(OperationalError):
        beat.tick()
    world.store.put = put  # type: ignore[method-assign]
    world.run(at("12:00:45"), beat)
    assert len(world.ticks()) == 1


def test_an_edit_that_cannot_be_read_at_once_is_followed_later(world: World) -> None:
    beat = world.beat()
    definition = b'{"task":"note","schedule":{"every":10}}'
    world.store.put([Record("live", definition, IN_STORE, "r1", due=START + 10)])
    load = world.store.load
    world.store.load = _away  # type: ignore[method-assign]
    with pytest.raises(OperationalError):
        beat.tick()
    world.store.load = load  # type: ignore[method-assign]
    world.run(at("12:00:45"), beat)
    assert world.ticks() == ["12:00:40"]


def _away(*args: object) -> Any:
    raise OperationalError("gone")


# Errors


def test_a_task_that_is_not_there_is_warned_of_and_sent(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.run(at("12:00:40"), world.beat(a=entry(10, "elsewhere")))
    assert "there is no task 'elsewhere' here, which schedule entry a names." in caplog.text
    assert world.sent()[0].task == "elsewhere"


@pytest.mark.parametrize(
    "wrong",
    [
        {"task": "add", "args": (1,)},
        {"task": "note", "args": (object(),)},
        {"task": "note", "options": {"no_such_option": 1}},
        {"task": "note", "options": {"priority": 77}},
    ],
)
def test_a_tick_that_cannot_be_sent_is_told_of_and_the_others_go_on(
    world: World, caplog: pytest.LogCaptureFixture, wrong: dict[str, Any]
) -> None:
    beat = world.beat(wrong={"schedule": 10, **wrong}, right=entry(10))
    world.run(at("12:00:50"), beat)
    assert world.ticks("right") == ["12:00:40", "12:00:50"]
    record = world.record("wrong")
    assert (record.runs, record.failures) == (0, 2)
    assert record.error
    assert "schedule entry wrong cannot be sent" in caplog.text


def test_a_claim_that_the_store_refuses_does_not_keep_others_from_theirs(world: World) -> None:
    beat = world.beat(a=entry(10), b=entry(10), c=entry(10))
    claim = world.store.claim

    def picky(claims: list[Claim]) -> set[str]:
        if any(one.name == "b" and one.messages for one in claims):
            raise RuntimeError("not this one")
        return claim(claims)

    world.store.claim = picky  # type: ignore[method-assign,assignment]
    world.run(at("12:00:40"), beat)
    assert world.ticks("a") == world.ticks("c") == ["12:00:40"]
    assert world.ticks("b") == []
    assert world.record("b").error == "RuntimeError: not this one"


def test_nothing_is_lost_while_the_store_is_away(world: World) -> None:
    beat = world.beat(a=entry(10, missed="all"), b=entry(10, missed="all"))
    claim, away = world.store.claim, True

    def flaky(claims: list[Claim]) -> set[str]:
        if away:
            raise OperationalError("gone")
        return claim(claims)

    world.store.claim = flaky  # type: ignore[method-assign,assignment]
    for _ in range(25):
        world.time += 1
        try:
            beat.tick()
        except OperationalError:
            pass
    away = False
    beat.tick()
    assert world.ticks("a") == world.ticks("b") == ["12:00:40", "12:00:50"]


def test_nothing_is_lost_while_the_broker_is_away(world: World) -> None:
    beat = world.beat(a=entry(10))
    publish, away = world.app.broker.publish, True

    def flaky(messages: list[TaskMessage]) -> None:
        if away:
            raise OperationalError("gone")
        publish(messages)

    world.app.broker.publish = flaky  # type: ignore[method-assign,assignment]
    for _ in range(25):
        world.time += 1
        try:
            beat.tick()
        except OperationalError:
            pass
    away = False
    beat.tick()
    assert world.ticks() == ["12:00:40", "12:00:50"]


class Broken(BaseSchedule):
    """Works until somebody asks what comes after the first run."""

    def __init__(self, stands: bool) -> None:
        super().__init__()
        self.stands = stands

    def next(self, after: datetime) -> datetime | None:
        if after.timestamp() < START + 5:
            return datetime.fromtimestamp(START, UTC) + timedelta(seconds=5)
        if self.stands:
            return after
        raise RuntimeError("no idea")


@pytest.mark.parametrize("stands", [False, True])
def test_a_rule_of_ones_own_that_fails_rests_and_the_others_go_on(
    world: World, caplog: pytest.LogCaptureFixture, stands: bool
) -> None:
    world.run(at("12:00:50"), world.beat(a=entry(Broken(stands)), b=entry(10)))
    assert world.ticks("b") == ["12:00:40", "12:00:50"]
    assert caplog.text.count("schedule entry a cannot say when it runs next") == 1


# The app


def test_periodic_stands_beside_the_task(world: World) -> None:
    @world.app.periodic(10, args=("x",), missed="all")
    @world.app.periodic("*/5 * * * *", name="often")
    @world.app.task(name="beside")
    def beside(key: str = "") -> None: ...

    assert world.app.periodic_entries["beside"].args == ("x",)
    assert world.app.periodic_entries["often"].schedule == crontab("*/5")
    with pytest.raises(TypeError, match=r"above @app\.task"):
        world.app.periodic(10)(lambda: None)  # type: ignore[arg-type,type-var]


def test_two_entries_of_one_name_are_refused(world: World) -> None:
    task = world.app.tasks["note"]
    world.app.periodic(10)(task)
    world.app.periodic(10)(task)  # the module was imported twice
    with pytest.raises(Exception, match="two schedule entries are named 'note'"):
        world.app.periodic(20)(task)


def test_add_periodic_task_in_a_receiver_that_stands_below_the_settings() -> None:
    app = TaskQ("proj", broker="memory://", set_as_current=False)
    app.config_from_object({"task_default_queue": "other"})
    calls = []

    @app.on_after_configure.connect
    def set_up(sender: TaskQ, **kwargs: Any) -> None:
        calls.append(sender)
        sender.add_periodic_task(10.0, add.s(1, 2), name="by name", queue="slow")
        sender.add_periodic_task(crontab(0), add.s(1, 2), expires=10)

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    entries = app.Beat().entries()
    assert calls == [app]
    assert entries["by name"].args == (1, 2)
    assert entries["by name"].options == {"queue": "slow"}
    assert len(entries) == 2
