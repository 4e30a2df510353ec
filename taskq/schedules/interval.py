"""Rules by the time that has passed."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from taskq.schedules.base import BaseSchedule

_DAY = 86400.0
_LONGEST = 100 * 366 * _DAY


class schedule(BaseSchedule):  # noqa: N801 - Celery's name
    """Runs every so many seconds, counted from the run before it is due: it does not drift.

    Args:
        run_every: seconds, or a timedelta.
        relative: at round times of the clock: an interval of hours runs at the full hour, one
            of days at midnight, one of minutes at the full minute.
        nowfun: see `BaseSchedule`.

    Raises:
        ValueError: it is not above zero.
        TypeError: it is neither a number nor a timedelta.
    """

    kind = "every"

    def __init__(
        self,
        run_every: float | timedelta,
        relative: bool = False,
        *,
        nowfun: Callable[[], datetime] | None = None,
    ) -> None:
        super().__init__(nowfun=nowfun)
        if isinstance(run_every, timedelta):
            run_every = run_every.total_seconds()
        if isinstance(run_every, bool) or not isinstance(run_every, int | float):
            raise TypeError(f"run_every={run_every!r} must be seconds or a timedelta")
        if not 0.001 <= run_every <= _LONGEST or not math.isfinite(run_every):
            raise ValueError(
                f"run_every={run_every!r} must be from a thousandth of a second to a hundred years"
            )
        self.seconds = float(run_every)
        self.relative = relative

    @property
    def run_every(self) -> timedelta:
        """The interval."""
        return timedelta(seconds=self.seconds)

    def next(self, after: datetime) -> datetime | None:
        """The next moment at which it runs; see `BaseSchedule.next`."""
        try:
            if self.relative and self.seconds >= _DAY:
                return self._midnight(after)
            # Added in UTC: an hour is an hour, whatever the clock on the wall does meanwhile.
            moment = after.astimezone(UTC) + self.run_every
        except OverflowError:
            return None
        return self._rounded(moment.astimezone(after.tzinfo)) if self.relative else moment

    def _midnight(self, after: datetime) -> datetime:
        """The midnight that the clock shows; where it leaves that out, what comes instead."""
        # Added on the wall: days have 23 hours or 25 when the clock is changed.
        time = after.replace(tzinfo=None, fold=0) + self.run_every
        midnight = time.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=after.tzinfo)
        return midnight.astimezone(UTC).astimezone(after.tzinfo)

    def _rounded(self, moment: datetime) -> datetime:
        if self.seconds >= 3600:
            return moment - timedelta(
                minutes=moment.minute, seconds=moment.second, microseconds=moment.microsecond
            )
        if self.seconds >= 60:
            return moment.replace(second=0, microsecond=0)
        return moment.replace(microsecond=0) if self.seconds >= 1 else moment

    def to_plain(self) -> Any:
        """What a store keeps."""
        return [self.seconds, True] if self.relative else self.seconds

    @classmethod
    def from_plain(cls, value: Any) -> Self:
        """The rule that a store has kept."""
        match value:
            case int() | float():
                return cls(value)
            case [int() | float() as seconds, bool() as relative]:
                return cls(seconds, relative)
        raise ValueError(f"{value!r} is no interval: give a number of seconds")

    def __repr__(self) -> str:
        return f"<freq: {self.seconds:g} seconds{', at round times' if self.relative else ''}>"
