"""From what a clock on the wall shows to moments, through every change of the clock.

A time of day can be there once, not at all (the clock is put forward over it) or twice (it is
put back).  PEP 495 gives the second of two the attribute ``fold``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo

FollowingTime = Callable[[datetime], datetime | None]
"""Gives the first time of a rule at or after another; both without a zone."""

_SECOND = timedelta(seconds=1)


def next_once(following: FollowingTime, after: datetime, zone: tzinfo) -> datetime | None:
    """The next moment of a rule whose times each count once a day.

    A time that the clock leaves out counts when it has been put forward, several of them
    together; of a time that is there twice the first counts.

    Args:
        following: the rule.
        after: in `zone`.
        zone: of the clock.
    """
    limit = after.astimezone(UTC)
    time = following(_floor(after))
    while time is not None:
        moment = _once(time, zone)
        if moment > limit:
            return moment
        time = following(time + _SECOND)
    return None


def next_shown(following: FollowingTime, after: datetime, zone: tzinfo) -> datetime | None:
    """The next moment at which the clock shows a time of the rule.

    A time that the clock leaves out does not come; one that it shows twice counts twice.

    Args:
        following: the rule.
        after: in `zone`.
        zone: of the clock.
    """
    start = end = _floor(after)
    back = after.replace(fold=0).utcoffset(), after.replace(fold=1).utcoffset()
    if not after.fold and back[0] != back[1]:
        # The clock is going to be put back: times before this one will be shown again.
        assert back[0] is not None
        assert back[1] is not None
        start, end = start - abs(back[0] - back[1]), end + abs(back[0] - back[1])
    limit = after.astimezone(UTC)
    best: datetime | None = None
    time = following(start)
    while time is not None:
        for moment in _shown(time, zone):
            if moment > limit and (best is None or moment < best):
                best = moment
        if best is not None and time >= end:
            return best
        time = following(time + _SECOND)
    return best


def _floor(after: datetime) -> datetime:
    return after.replace(tzinfo=None, fold=0, microsecond=0)


def _at(time: datetime, zone: tzinfo, fold: int = 0) -> datetime:
    """The moment of a time, in UTC: datetimes of one zone compare by what they show."""
    return time.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def _once(time: datetime, zone: tzinfo) -> datetime:
    first, second = _at(time, zone), _at(time, zone, 1)
    return first if first <= second else _change(second, first, zone)


def _shown(time: datetime, zone: tzinfo) -> tuple[datetime, ...]:
    first, second = _at(time, zone), _at(time, zone, 1)
    if first == second:
        return (first,)
    return (first, second) if first < second else ()


def _change(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """The moment between two at which the zone's offset changes, by halving; both in UTC."""
    offset = before.astimezone(zone).utcoffset()
    low, high = int(before.timestamp()), int(after.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)
