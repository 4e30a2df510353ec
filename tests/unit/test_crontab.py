"""The rules of crontab: fields, strings, errors, and every change of the clock."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim

from taskq.schedules import crontab

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [
    *("UTC", "Europe/Berlin", "Europe/Dublin", "America/New_York", "America/Los_Angeles"),
    *("Australia/Sydney", "Asia/Kolkata", "Africa/Casablanca", "Pacific/Auckland"),
]
# Changes by half an hour, at midnight (where cronsim fails: it begins a day at a midnight that
# is not there), by a whole day, and of the zone itself.
ODD_ZONES = [
    *("America/Sao_Paulo", "Asia/Tehran", "Australia/Lord_Howe", "America/Havana"),
    *("Pacific/Apia", "Asia/Beirut", "Africa/Cairo", "America/Santiago"),
    *("Antarctica/Troll", "Asia/Pyongyang", "America/Caracas"),
]


def moments(rule: crontab, start: datetime, count: int) -> list[datetime]:
    """The next moments of a rule, in UTC."""
    found = []
    for _ in range(count):
        following = rule.next(start)
        assert following is not None
        found.append(following.astimezone(UTC))
        start = following
    return found


def berlin(text: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).astimezone(UTC)


# Fields


@pytest.mark.parametrize(
    ("spec", "hours"),
    [
        ("*", list(range(24))),
        ("*/6", [0, 6, 12, 18]),
        ("8-18/5", [8, 13, 18]),
        ("22-2", [0, 1, 2, 22, 23]),
        ("22-2/2", [0, 2, 22]),
        ("1, 3,5-6", [1, 3, 5, 6]),
        (7, [7]),
        ([3, 1, 3], [1, 3]),
        ({4, 5}, [4, 5]),
        (range(2, 4), [2, 3]),
    ],
)
def test_a_field_is_a_number_a_text_or_numbers(spec: object, hours: list[int]) -> None:
    assert crontab(0, spec).hour == tuple(hours)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spec", "days"),
    [
        ("mon-fri", [1, 2, 3, 4, 5]),
        ("Saturday,sun", [0, 6]),
        ("7", [0]),
        ("5-7", [0, 5, 6]),
        ("fri-mon", [0, 1, 5, 6]),
        (0, [0]),
        ([7, 1], [0, 1]),
        ("*/2", [0, 2, 4, 6]),
    ],
)
def test_days_have_names_and_two_numbers_for_sunday(spec: object, days: list[int]) -> None:
    assert crontab(day_of_week=spec).day_of_week == tuple(days)  # type: ignore[arg-type]


def test_months_have_names() -> None:
    assert crontab(month_of_year="jan,Dec-february").month_of_year == (1, 2, 12)


@pytest.mark.parametrize(
    ("field", "spec", "says"),
    [
        ("minute", 60, "minute=60: 60 is not from 0 to 59"),
        ("hour", "24", "hour='24': 24 is not from 0 to 23"),
        ("hour", "-1", "'' is not understood"),
        ("minute", "x", "'x' is not understood"),
        ("minute", "*/0", "the step '0' is no number above 0"),
        ("minute", "5/10", "a step needs a range, such as 5-59/10"),
        ("minute", "", "'' is not understood"),
        ("minute", [], "names no moment at all"),
        ("day_of_week", 8, "8 is not from 0 to 6"),
        ("day_of_week", "mont", "or names such as sun"),
        ("day_of_month", 0, "0 is not from 1 to 31"),
        ("day_of_month", "L", "'l' is not understood"),
        ("month_of_year", 13, "13 is not from 1 to 12"),
    ],
)
def test_a_wrong_field_is_named(field: str, spec: object, says: str) -> None:
    with pytest.raises(ValueError, match=field) as caught:
        crontab(**{field: spec})  # type: ignore[arg-type]
    assert says in str(caught.value)


@pytest.mark.parametrize("spec", [1.5, None, ["1"], [True]])
def test_a_field_of_a_wrong_type_is_named(spec: object) -> None:
    with pytest.raises(TypeError, match="minute="):
        crontab(spec)  # type: ignore[arg-type]


@pytest.mark.parametrize(("day", "month"), [(31, 2), (30, "feb"), (31, "apr,jun,sep,nov")])
def test_a_day_that_never_comes_is_refused(day: int, month: object) -> None:
    with pytest.raises(ValueError, match="there is no such day in any year"):
        crontab(0, 0, day_of_month=day, month_of_year=month)  # type: ignore[arg-type]


def test_a_wrong_zone_is_named() -> None:
    with pytest.raises(ValueError, match="no time zone 'Europe/Pariss'"):
        crontab(tz="Europe/Pariss")


# Strings


def test_a_line_of_a_crontab() -> None:
    rule = crontab.from_string("*/5 8-18 1,15 jan-jun mon")
    assert rule == crontab(
        "*/5", "8-18", day_of_month="1,15", month_of_year="jan-jun", day_of_week="mon"
    )


@pytest.mark.parametrize(
    ("alias", "line"), [("@hourly", "0 * * * *"), ("@daily", "0 0 * * *"), ("@weekly", "0 0 * * 0")]
)
def test_the_words_of_cron(alias: str, line: str) -> None:
    assert crontab.from_string(alias) == crontab.from_string(line)


@pytest.mark.parametrize("line", ["", "* * * *", "* * * * * *", "@reboot"])
def test_a_line_with_other_than_five_fields_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="five are needed"):
        crontab.from_string(line)


def test_equal_rules_are_equal_and_plain_data_makes_the_same_rule() -> None:
    rule = crontab(0, 2, tz="Europe/Berlin")
    assert rule == crontab.from_plain(rule.to_plain()) != crontab(0, 2)
    assert hash(rule) == hash(crontab("0", "2", tz=BERLIN))
    assert crontab().to_plain() == "* * * * *"


# The changes of the clock, in Berlin: forward on 2026-03-29 at 2, back on 2026-10-25 at 3


def test_a_time_that_is_left_out_in_spring_counts_when_the_clock_has_been_put_forward() -> None:
    found = moments(crontab(30, 2, tz=BERLIN), berlin("2026-03-28 12:00"), 2)
    assert found == [berlin("2026-03-29 03:00"), berlin("2026-03-30 02:30")]


def test_several_times_that_are_left_out_count_once() -> None:
    found = moments(crontab("0,20,40", "1-3", tz=BERLIN), berlin("2026-03-29 01:30"), 3)
    assert found == [berlin(f"2026-03-29 {at}") for at in ("01:40", "03:00", "03:20")]


def test_a_time_that_comes_twice_in_autumn_counts_the_first_time() -> None:
    found = moments(crontab(30, 2, tz=BERLIN), berlin("2026-10-24 12:00"), 2)
    assert found == [berlin("2026-10-25 02:30", fold=0), berlin("2026-10-26 02:30")]
    # Also for one who asks between the two.
    assert moments(crontab(30, 2, tz=BERLIN), berlin("2026-10-25 02:10", fold=1), 1) == [
        berlin("2026-10-26 02:30")
    ]


def test_a_rule_with_stars_follows_what_the_clock_shows() -> None:
    found = moments(crontab("*/30", tz=BERLIN), berlin("2026-10-25 01:59"), 5)
    assert [b - a for a, b in pairwise(found)] == [timedelta(minutes=30)] * 4
    assert found[0] == berlin("2026-10-25 02:00", fold=0)
    spring = moments(crontab(15, tz=BERLIN), berlin("2026-03-29 01:00"), 2)
    assert spring == [berlin("2026-03-29 01:15"), berlin("2026-03-29 03:15")]


def test_a_rule_without_a_zone_reads_the_clock_of_whom_it_is_asked_by() -> None:
    rule = crontab(0, 12)
    assert rule.next(datetime(2026, 7, 1, tzinfo=UTC)) == datetime(2026, 7, 1, 12, tzinfo=UTC)
    assert rule.next(datetime(2026, 7, 1, tzinfo=BERLIN)) == berlin("2026-07-01 12:00")


def test_a_leap_day_is_found_across_a_century_without_one() -> None:
    rule = crontab(0, 0, day_of_month=29, month_of_year=2, day_of_week="sun")
    following = rule.next(datetime(2088, 3, 1, tzinfo=UTC))
    assert following == datetime(2128, 2, 29, tzinfo=UTC)


def test_all_of_day_and_weekday_must_fit() -> None:
    rule = crontab(0, 0, day_of_month="1-7", day_of_week="mon")
    found = moments(rule, datetime(2026, 1, 1, tzinfo=UTC), 12)
    assert [moment.month for moment in found] == list(range(1, 13))
    assert all(moment.weekday() == 0 and moment.day <= 7 for moment in found)


def test_is_due_answers_as_celery_does() -> None:
    now = datetime(2026, 5, 5, 10, 30, tzinfo=UTC)
    rule = crontab(0, nowfun=lambda: now)
    assert rule.is_due(now - timedelta(minutes=10)) == (False, 1800.0)
    assert rule.is_due(now - timedelta(hours=1)) == (True, 1800.0)


# Against others, with thousands of random rules


def random_field(rng: random.Random, least: int, most: int) -> str:
    low, high = sorted((rng.randint(least, most), rng.randint(least, most)))
    choice = rng.random()
    if choice < 0.3:
        return "*"
    if choice < 0.45:
        return f"*/{rng.randint(1, max(2, most // 3))}"
    if choice < 0.6:
        return f"{low}-{high}"
    if choice < 0.7 and low < high:
        return f"{low}-{high}/{rng.randint(1, 5)}"
    return ",".join(str(rng.randint(least, most)) for _ in range(rng.randint(1, 3)))


def random_rules(seed: int, zones: list[str], count: int) -> Iterator[tuple[str, str, datetime]]:
    """Lines of a crontab, each with a zone and a moment, often near a change of the clock."""
    rng = random.Random(seed)
    while count:
        day, weekday = random_field(rng, 1, 28), random_field(rng, 0, 6)
        # Of day and weekday cron needs one where Celery needs both, unless one is a star.
        day, weekday = (day, "*") if rng.random() < 0.5 else ("*", weekday)
        line = " ".join(
            [
                *(random_field(rng, 0, 59), random_field(rng, 0, 23), day),
                *(random_field(rng, 1, 12) if rng.random() < 0.3 else "*", weekday),
            ]
        )
        zone = rng.choice(zones)
        start = datetime(rng.randint(1990, 2036), 1, 1, tzinfo=UTC)
        start += timedelta(seconds=rng.randint(0, 366 * 86400))
        if rng.random() < 0.7 and (change := change_after(start, ZoneInfo(zone))):
            start = change + timedelta(minutes=rng.randint(-180, 180))
        yield line, zone, start
        count -= 1


def change_after(start: datetime, zone: ZoneInfo) -> datetime | None:
    """The next change of the clock within half a year, to the hour."""
    offset = start.astimezone(zone).utcoffset()
    for hours in range(0, 200 * 24, 12):
        moment = start + timedelta(hours=hours)
        if moment.astimezone(zone).utcoffset() != offset:
            return moment.replace(minute=0, second=0) - timedelta(hours=6)
    return None


@pytest.mark.parametrize("seed", range(4))
def test_the_rules_of_cronsim(seed: int) -> None:
    for line, zone, start in random_rules(seed, ZONES, 600):
        others = CronSim(line, start.astimezone(ZoneInfo(zone)))
        expected = [next(others).astimezone(UTC) for _ in range(6)]
        assert moments(crontab.from_string(line, tz=zone), start, 6) == expected, (
            line,
            zone,
            start,
        )


def minute_by_minute(rule: crontab, start: datetime, zone: ZoneInfo, days: int) -> list[datetime]:
    """What a rule means, the slow way: look at the clock at every minute of real time."""
    found, seen, before = [], set(), start.astimezone(zone).replace(tzinfo=None)
    once = not rule.fields[0].startswith("*") and not rule.fields[1].startswith("*")
    moment = start.replace(second=0, microsecond=0)
    # Times that the clock has shown in the last two days, so that they are not counted again.
    for back in range(2 * 1440):
        seen.add((moment - timedelta(minutes=back)).astimezone(zone).replace(tzinfo=None, fold=0))
    before = moment.astimezone(zone).replace(tzinfo=None, fold=0)
    for _ in range(days * 1440):
        moment += timedelta(minutes=1)
        shown = moment.astimezone(zone).replace(tzinfo=None, fold=0)
        if once:
            # All that the clock has passed over since the minute before, and has not shown yet.
            passed, at = [], before + timedelta(minutes=1)
            while at <= shown:
                passed.append(at)
                at += timedelta(minutes=1)
            if any(fits(rule, one) and one not in seen for one in passed):
                found.append(moment)
            seen.update(passed)
        elif fits(rule, shown):
            found.append(moment)
        before = shown
    return found


def fits(rule: crontab, time: datetime) -> bool:
    return (
        time.minute in rule.minute
        and time.hour in rule.hour
        and time.day in rule.day_of_month
        and time.month in rule.month_of_year
        and time.isoweekday() % 7 in rule.day_of_week
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_clock_looked_at_every_minute(seed: int) -> None:
    for line, name, start in random_rules(seed + 100, [*ZONES, *ODD_ZONES], 60):
        zone = ZoneInfo(name)
        rule = crontab.from_string(line, tz=zone)
        expected = minute_by_minute(rule, start, zone, days=2)[:40]
        end = start + timedelta(days=2)
        found: list[datetime] = []
        moment = rule.next(start)
        while moment is not None and len(found) < 40 and moment.astimezone(UTC) <= end:
            found.append(moment.astimezone(UTC))
            moment = rule.next(moment)
        assert found == expected, (line, name, start)
