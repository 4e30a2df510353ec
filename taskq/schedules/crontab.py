"""Rules by the clock on the wall, as cron has them."""

from __future__ import annotations

from bisect import bisect_left
from calendar import monthrange
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Any, Self

from taskq.schedules import wallclock
from taskq.schedules.base import BaseSchedule
from taskq.schedules.fields import DAY, HOUR, MINUTE, MONTH, WEEKDAY, Spec
from taskq.schedules.zones import find_zone, zone_name

_ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_LEAP_YEAR = 2024
_LAST_YEAR = 9999
_CYCLE = 40
"""Years after which a date that has not come never comes: February 29th on a given weekday
can be forty years away, around a century that has no leap day."""


class crontab(BaseSchedule):  # noqa: N801 - Celery's name
    """Runs when the clock on the wall shows a time that fits.

    Day of week, day of month and month must *all* fit, as in Celery.

    The zone's changes of the clock follow cron: if neither `minute` nor `hour` begins with
    ``*``, each time counts once a day.  A time that the clock leaves out in spring counts as
    soon as the clock has been put forward, and of a time that it shows twice in autumn the first
    counts.  Other rules follow what the clock shows.

    Args:
        minute: 0 to 59.
        hour: 0 to 23.
        day_of_week: 0 to 6 from Sunday (7 is Sunday too), or names: ``mon``, ``friday``.
        day_of_month: 1 to 31.
        month_of_year: 1 to 12, or names: ``jan``, ``december``.
        nowfun: see `BaseSchedule`.
        tz: the zone of the clock, by name or as a tzinfo; the app's by default.

    Each of the fields is a number, a list of numbers, or text: ``*``, ``*/15``, ``8-18/2``,
    ``22-2``, ``1,15``.

    Raises:
        ValueError: a field is not understood, or there never is such a day, or no such zone.
        TypeError: a field is of another type.
    """

    kind = "crontab"

    def __init__(
        self,
        minute: Spec = "*",
        hour: Spec = "*",
        *,
        day_of_week: Spec = "*",
        day_of_month: Spec = "*",
        month_of_year: Spec = "*",
        nowfun: Callable[[], datetime] | None = None,
        tz: str | tzinfo | None = None,
    ) -> None:
        super().__init__(nowfun=nowfun)
        self.minute = MINUTE.numbers(minute)
        self.hour = HOUR.numbers(hour)
        self.day_of_week = WEEKDAY.numbers(day_of_week)
        self.day_of_month = DAY.numbers(day_of_month)
        self.month_of_year = MONTH.numbers(month_of_year)
        self.tz = find_zone(tz) if tz is not None else None
        self.fields = (
            MINUTE.text(minute),
            HOUR.text(hour),
            DAY.text(day_of_month),
            MONTH.text(month_of_year),
            WEEKDAY.text(day_of_week),
        )
        self._once = not self.fields[0].startswith("*") and not self.fields[1].startswith("*")
        self._every_day = len(self.day_of_week) == 7 and len(self.day_of_month) == 31
        longest = max(monthrange(_LEAP_YEAR, month)[1] for month in self.month_of_year)
        if self.day_of_month[0] > longest:
            raise ValueError(
                f"day_of_month={self.fields[2]!r} with month_of_year={self.fields[3]!r}: "
                "there is no such day in any year"
            )

    @classmethod
    def from_string(
        cls,
        crontab: str,
        *,
        nowfun: Callable[[], datetime] | None = None,
        tz: str | tzinfo | None = None,
    ) -> Self:
        """The rule of a line of a crontab.

        Args:
            crontab: minute, hour, day of month, month, day of week; or one of ``@hourly``,
                ``@daily``, ``@weekly``, ``@monthly`` and ``@yearly``.
            nowfun: see `BaseSchedule`.
            tz: the zone of the clock.

        Raises:
            ValueError: there are not five fields, or one of them is not understood.
        """
        fields = _ALIASES.get(crontab.strip().lower(), crontab).split()
        if len(fields) != 5:
            raise ValueError(
                f"{crontab!r} has {len(fields)} fields: five are needed, minute hour "
                f"day-of-month month day-of-week, or one of {', '.join(_ALIASES)}"
            )
        minute, hour, day, month, weekday = fields
        return cls(
            minute,
            hour,
            day_of_month=day,
            month_of_year=month,
            day_of_week=weekday,
            nowfun=nowfun,
            tz=tz,
        )

    def next(self, after: datetime) -> datetime | None:
        """The next moment at which it runs; see `BaseSchedule.next`."""
        zone = self.tz or after.tzinfo or UTC
        local = after.astimezone(zone)
        find = wallclock.next_once if self._once else wallclock.next_shown
        moment = find(self._following, local, zone)
        return moment.astimezone(zone) if moment is not None else None

    def _following(self, time: datetime) -> datetime | None:
        """The first time at or after another one that fits; both without a zone."""
        hour, minute = time.hour, time.minute + (time.second > 0)
        if self._day_fits(time):
            index = bisect_left(self.hour, hour)
            if index < len(self.hour):
                if self.hour[index] > hour:
                    return _time(time.year, time.month, time.day, self.hour[index], self.minute[0])
                at = bisect_left(self.minute, minute)
                if at < len(self.minute):
                    return _time(time.year, time.month, time.day, hour, self.minute[at])
                if index + 1 < len(self.hour):
                    hour = self.hour[index + 1]
                    return _time(time.year, time.month, time.day, hour, self.minute[0])
        return self._following_day(time)

    def _day_fits(self, time: datetime) -> bool:
        if time.month not in self.month_of_year:
            return False
        return self._every_day or (
            time.day in self.day_of_month and time.isoweekday() % 7 in self.day_of_week
        )

    def _following_day(self, time: datetime) -> datetime | None:
        """The first time of the first day after another time's that fits."""
        year, month, day = time.year, time.month, time.day + 1
        last = min(year + _CYCLE, _LAST_YEAR)
        while year <= last:
            if month in self.month_of_year:
                weekday, length = monthrange(year, month)
                for candidate in self.day_of_month[bisect_left(self.day_of_month, day) :]:
                    if candidate > length:
                        break
                    if (weekday + candidate) % 7 in self.day_of_week:
                        return _time(year, month, candidate, self.hour[0], self.minute[0])
            year, month, day = (year, month + 1, 1) if month < 12 else (year + 1, 1, 1)
        return None

    def to_plain(self) -> Any:
        """What a store keeps."""
        text = " ".join(self.fields)
        if self.tz is None:
            return text
        name = zone_name(self.tz)
        if name is None:
            raise TypeError(f"{self!r} cannot be kept in a store: its zone has no name")
        return [text, name]

    @classmethod
    def from_plain(cls, value: Any) -> Self:
        """The rule that a store has kept."""
        match value:
            case str():
                return cls.from_string(value)
            case [str() as text, str() as zone]:
                return cls.from_string(text, tz=zone)
        raise ValueError(f"{value!r} is no crontab: give text such as '0 2 * * *'")

    def _key(self) -> Any:
        return self.fields, self.tz

    def __repr__(self) -> str:
        zone = f" {zone_name(self.tz) or self.tz}" if self.tz is not None else ""
        return f"<crontab: {' '.join(self.fields)}{zone} (m/h/dM/MY/d)>"


def _time(year: int, month: int, day: int, hour: int, minute: int) -> datetime:
    """What a clock shows, wherever it hangs."""
    return datetime(year, month, day, hour, minute)  # noqa: DTZ001
