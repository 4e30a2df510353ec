"""Intervals, single moments, the sun, schedules of one's own, and entries."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from taskq.exceptions import ImproperlyConfigured
from taskq.schedules import (
    BaseSchedule,
    ScheduleEntry,
    bounded,
    clocked,
    crontab,
    read_entries,
    read_schedule,
    schedule,
    solar,
)
from taskq.schedules.plain import plain_schedule
from taskq.schedules.zones import find_zone, machine_zone, zone_name

NOW = datetime(2026, 5, 5, 10, 17, 23, 500_000, tzinfo=UTC)
PARIS = ZoneInfo("Europe/Paris")


def test_an_interval_is_counted_from_the_run_before() -> None:
    assert schedule(90).next(NOW) == NOW + timedelta(seconds=90)
    assert schedule(timedelta(days=1)).next(NOW) == NOW + timedelta(days=1)


def test_an_interval_is_real_time_on_the_night_of_a_change() -> None:
    before = datetime(2026, 3, 29, 1, 30, tzinfo=PARIS)
    following = schedule(3600).next(before)
    assert following is not None
    assert following.astimezone(PARIS).isoformat() == "2026-03-29T03:30:00+02:00"


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        (timedelta(hours=1), "2026-05-05T11:00:00+00:00"),
        (timedelta(hours=2), "2026-05-05T12:00:00+00:00"),
        (timedelta(minutes=5), "2026-05-05T10:22:00+00:00"),
        (timedelta(days=1), "2026-05-06T00:00:00+00:00"),
        (timedelta(seconds=30), "2026-05-05T10:17:53+00:00"),
    ],
)
def test_a_relative_interval_is_at_round_times(every: timedelta, expected: str) -> None:
    following = schedule(every, relative=True).next(NOW)
    assert following is not None
    assert following.isoformat() == expected


def test_relative_days_end_at_the_midnight_of_the_zone() -> None:
    at = datetime(2026, 10, 24, 15, tzinfo=PARIS)
    found = []
    for _ in range(3):
        following = schedule(timedelta(days=1), relative=True).next(at)
        assert following is not None
        found.append(following.isoformat())
        at = following
    assert found == [
        "2026-10-25T00:00:00+02:00",
        # After a day of 25 hours.
        "2026-10-26T00:00:00+01:00",
        "2026-10-27T00:00:00+01:00",
    ]


@pytest.mark.parametrize("every", [0, -1, math.inf, math.nan, 1e12, timedelta(0)])
def test_an_interval_that_makes_no_sense_is_refused(every: Any) -> None:
    with pytest.raises(ValueError, match="run_every="):
        schedule(every)


@pytest.mark.parametrize("every", ["10", None, True])
def test_an_interval_of_a_wrong_type_is_refused(every: Any) -> None:
    with pytest.raises(TypeError, match="run_every="):
        schedule(every)


def test_clocked_runs_once() -> None:
    rule = clocked(NOW)
    assert rule.next(NOW - timedelta(days=1)) == NOW
    assert rule.next(NOW) is None
    assert rule.first(NOW + timedelta(days=1)) == NOW


def test_clocked_needs_a_zone() -> None:
    with pytest.raises(ValueError, match="needs a time zone"):
        clocked(datetime(2026, 5, 5))  # noqa: DTZ001 - what is refused
    with pytest.raises(TypeError, match="needs a datetime"):
        clocked("2026-05-05")  # type: ignore[arg-type]


# The Naval Observatory's table for London on 21 March 2026, to the minute.
@pytest.mark.parametrize(
    ("event", "expected"),
    [("sunrise", "06:02"), ("solar_noon", "12:08"), ("sunset", "18:14")],
)
def test_the_sun_over_london(event: str, expected: str) -> None:
    following = solar(event, 51.5, -0.12).next(datetime(2026, 3, 21, tzinfo=UTC))
    assert following is not None
    hour, minute = map(int, expected.split(":"))
    difference = following - datetime(2026, 3, 21, hour, minute, tzinfo=UTC)
    assert abs(difference) <= timedelta(minutes=2)


def test_the_day_begins_and_ends_in_the_right_order() -> None:
    events = [
        *("dawn_astronomical", "dawn_nautical", "dawn_civil", "sunrise", "solar_noon"),
        *("sunset", "dusk_civil", "dusk_nautical", "dusk_astronomical"),
    ]
    found = [solar(event, 40, 0).next(datetime(2026, 3, 21, tzinfo=UTC)) for event in events]
    assert found == sorted(found, key=str)


def test_each_sunrise_of_a_year_comes_once() -> None:
    rule, at, found = solar("sunrise", 51.5, -0.12), datetime(2026, 1, 1, tzinfo=UTC), []
    while at.year == 2026:
        following = rule.next(at)
        assert following is not None
        found.append(following.date())
        at = following
    assert len(set(found)) == len(found) == 366  # the last is of the next year


def test_of_two_sunrises_on_one_date_of_utc_both_come() -> None:
    rule = solar("sunrise", 60, 60)
    first = rule.next(datetime(2026, 4, 30, tzinfo=UTC))
    assert first is not None
    second = rule.next(first)
    assert second is not None
    assert first.date() == second.date()
    assert second - first > timedelta(hours=23)


def test_where_the_sun_does_not_set_it_sets_when_summer_is_over() -> None:
    following = solar("sunset", 69.65, 18.96).next(datetime(2026, 6, 1, tzinfo=UTC))
    assert following is not None
    assert (following.year, following.month) == (2026, 7)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("noon", 0, 0), "'noon' is not known"),
        (("sunset", 91, 0), "lat=91"),
        (("sunset", 0, 181), "lon=181"),
    ],
)
def test_a_sun_that_is_not_there(arguments: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        solar(*arguments)


class Fridays(BaseSchedule):
    """A schedule of one's own."""

    def next(self, after: datetime) -> datetime | None:
        return after + timedelta(days=(4 - after.weekday()) % 7 or 7)


def test_a_schedule_of_ones_own_needs_one_method() -> None:
    rule = Fridays()
    following = rule.next(NOW)
    assert following is not None
    assert following.weekday() == 4
    assert read_schedule(rule) is rule
    assert rule == Fridays()
    with pytest.raises(TypeError, match="cannot be kept in a store"):
        plain_schedule(rule)


@pytest.mark.parametrize(
    "rule",
    [
        crontab("*/5", 3, tz="Europe/Paris"),
        crontab(0),
        schedule(30),
        schedule(3600, relative=True),
        clocked(NOW),
        solar("sunset", 1, 2.5),
    ],
)
def test_plain_data_makes_the_same_schedule(rule: BaseSchedule) -> None:
    again = read_schedule(plain_schedule(rule))
    assert again == rule
    assert again.next(NOW - timedelta(1)) == rule.next(NOW - timedelta(1))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(30, schedule(30)), (timedelta(minutes=1), schedule(60)), ("0 2 * * *", crontab(0, 2))],
)
def test_the_short_ways(value: Any, expected: BaseSchedule) -> None:
    assert read_schedule(value) == expected


@pytest.mark.parametrize(
    "value",
    [{"cron": "* * * * *"}, {"every": "x"}, {"crontab": 3}, {"once": 3}, {"solar": [1]}, "x"],
)
def test_data_that_describes_no_schedule(value: Any) -> None:
    with pytest.raises(ValueError, match=r"crontab|no interval|no moment|no solar|fields"):
        read_schedule(value)


@pytest.mark.parametrize("value", [None, True, object(), {}, {"a": 1, "b": 2}])
def test_what_is_no_schedule(value: Any) -> None:
    with pytest.raises(TypeError, match="is no schedule"):
        read_schedule(value)


# Zones


def test_the_machines_zone_has_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    assert zone_name(machine_zone()) == "America/New_York"
    monkeypatch.setenv("TZ", "Nowhere/Atall")
    assert machine_zone().utcoffset(NOW) is not None
    assert zone_name(UTC) == "UTC"
    assert find_zone(UTC) is UTC


# Entries


def test_an_entry_has_celerys_fields() -> None:
    entries = read_entries(
        {
            "a": {
                "task": "proj.add",
                "schedule": 30,
                "args": [1, 2],
                "kwargs": {"x": 3},
                "options": {"queue": "slow"},
                "relative": True,
                "missed": "all",
                "max_lateness": timedelta(minutes=1),
            }
        }
    )
    assert entries["a"] == ScheduleEntry(
        *("a", "proj.add", schedule(30, relative=True), (1, 2), {"x": 3}, {"queue": "slow"}),
        missed="all",
        max_lateness=60.0,
    )
    again = ScheduleEntry.from_mapping("a", entries["a"].to_mapping())
    assert again == entries["a"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "has no 'task'"),
        ({"task": "t"}, "has no 'schedule'"),
        ({"task": "t", "schedule": "61 * * * *"}, "61 is not from 0 to 59"),
        ({"task": "t", "schedule": 1, "crontab": 1}, "no field 'crontab': there are task"),
        ({"task": "t", "schedule": 1, "arg": 1}, "did you mean 'args'?"),
        ({"task": "t", "schedule": 1, "args": "ab"}, "args='ab' must be a list"),
        ({"task": "t", "schedule": 1, "kwargs": [1]}, "kwargs=\\[1\\] must be a mapping"),
        ({"task": 5, "schedule": 1}, "task=5 must be the name"),
        ({"task": "t", "schedule": 1, "missed": "never"}, "choose one of once, all, skip"),
        ({"task": "t", "schedule": 1, "max_lateness": -1}, "max_lateness=-1"),
        ({"task": "t", "schedule": 1, "enabled": "yes"}, "enabled='yes'"),
        (["t", 1], "must be a mapping"),
    ],
)
def test_a_wrong_entry_is_named(fields: Any, says: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"(?s)nightly.*{says}"):
        read_entries({"nightly": fields})


def test_names_have_an_end() -> None:
    with pytest.raises(ImproperlyConfigured, match="1 to 200 characters"):
        read_entries({"": {"task": "t", "schedule": 1}})
    with pytest.raises(ImproperlyConfigured, match="must be a mapping from names"):
        read_entries([])  # type: ignore[arg-type]


# Bounds


def test_a_rule_holds_from_its_start_to_its_end() -> None:
    start, end = NOW + timedelta(hours=1), NOW + timedelta(hours=2)
    rule = bounded(schedule(1800), start, end)
    assert rule.first(NOW) == start
    assert rule.next(NOW) == start
    assert rule.next(start) == start + timedelta(seconds=1800)
    assert rule.next(start + timedelta(seconds=1800)) == end
    assert rule.next(end) is None
    assert bounded(schedule(1800), start).first(end) == end + timedelta(seconds=1800)


def test_a_crontab_begins_at_its_first_moment_after_the_start() -> None:
    start = datetime(2026, 5, 6, 7, 30, tzinfo=UTC)
    rule = bounded(crontab("30", "7"), start)
    assert rule.first(NOW) == start
    rule = bounded(crontab("30", "7", tz=PARIS), start)
    assert rule.first(NOW) == datetime(2026, 5, 7, 7, 30, tzinfo=PARIS)
    # Without a zone it reads the clock of whoever asks.
    rule = bounded(crontab("30", "7"), start)
    assert rule.first(NOW.astimezone(PARIS)) == datetime(2026, 5, 7, 7, 30, tzinfo=PARIS)


def test_once_is_the_first_moment_alone() -> None:
    rule = bounded(crontab("0", "12"), once=True)
    noon = datetime(2026, 5, 5, 12, tzinfo=UTC)
    assert rule.first(NOW) == noon
    assert rule.next(noon) is None


def test_bounds_are_kept() -> None:
    rule = bounded(crontab("0", "12", tz=PARIS), NOW, NOW + timedelta(days=1), once=True)
    plain = plain_schedule(rule)
    assert read_schedule(plain) == rule
    assert read_schedule({"bounded": {"rule": {"every": 5}}}) == bounded(schedule(5))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"start": datetime(2026, 5, 5)}, "needs a time zone"),  # noqa: DTZ001 - what is refused
        ({"start": "2026-05-05"}, "must be a datetime"),
        ({"start": NOW, "end": NOW - timedelta(days=1)}, "comes before start"),
        ({"rule": bounded(schedule(5))}, "without bounds"),
        ({"rule": 5}, "without bounds"),
    ],
)
def test_bounds_that_make_no_sense(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        bounded(**{"rule": schedule(5), **wrong})


@pytest.mark.parametrize("plain", [5, {}, {"rule": {"every": 5}, "begin": 1}])
def test_bounds_that_cannot_be_read(plain: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        read_schedule({"bounded": plain})
