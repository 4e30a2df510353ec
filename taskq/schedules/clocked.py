"""A rule that names one moment."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Self

from taskq.schedules.base import BaseSchedule


class clocked(BaseSchedule):  # noqa: N801 - the name that Celery's users know
    """Runs once.

    An entry that is made when the moment has passed has missed it, and its policy decides.

    Args:
        moment: when, with a time zone.
        nowfun: see `BaseSchedule`.

    Raises:
        ValueError: the moment has no time zone.
        TypeError: it is no datetime.
    """

    kind = "once"

    def __init__(self, moment: datetime, *, nowfun: Callable[[], datetime] | None = None) -> None:
        super().__init__(nowfun=nowfun)
        if not isinstance(moment, datetime):
            raise TypeError(f"clocked({moment!r}) needs a datetime")
        if moment.tzinfo is None:
            raise ValueError(
                f"clocked({moment!r}) needs a time zone: add tzinfo=UTC, or a ZoneInfo"
            )
        self.moment = moment

    def next(self, after: datetime) -> datetime | None:
        """The moment, if it is yet to come."""
        return self.moment if self.moment.astimezone(UTC) > after else None

    def first(self, now: datetime) -> datetime | None:
        """The moment, whether it has passed or not."""
        return self.moment

    def to_plain(self) -> Any:
        """What a store keeps."""
        return self.moment.isoformat()

    @classmethod
    def from_plain(cls, value: Any) -> Self:
        """The rule that a store has kept."""
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is no moment: give ISO 8601 text with an offset")
        return cls(datetime.fromisoformat(value))

    def _key(self) -> Any:
        return self.moment.astimezone(UTC)

    def __repr__(self) -> str:
        return f"<clocked: {self.moment.isoformat()}>"
