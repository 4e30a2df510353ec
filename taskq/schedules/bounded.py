"""Rules that hold for a while, or once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from taskq.schedules.base import BaseSchedule
from taskq.schedules.interval import schedule

_JUST_BEFORE = timedelta(microseconds=1)


class bounded(BaseSchedule):  # noqa: N801 - as the other rules
    """Runs as another rule does, from a moment on, up to another one, or a single time.

    An interval begins at the start; other rules run at the first of their moments that does not
    come before it.

    Args:
        rule: the other rule.
        start: the first moment that counts, with a time zone.
        end: the last moment that counts, with a time zone.
        once: run at the first of the moments alone.

    Raises:
        ValueError: a moment has no time zone, or the end comes before the start.
        TypeError: they are no datetimes, or the rule is none, or has bounds already.
    """

    kind = "bounded"

    def __init__(
        self,
        rule: BaseSchedule,
        start: datetime | None = None,
        end: datetime | None = None,
        once: bool = False,
    ) -> None:
        inner: Any = rule
        if not isinstance(inner, BaseSchedule) or isinstance(inner, bounded):
            raise TypeError(f"bounded({rule!r}) needs a rule without bounds")
        super().__init__(nowfun=rule.nowfun)
        bounds: tuple[tuple[str, Any], ...] = (("start", start), ("end", end))
        for name, moment in bounds:
            if moment is None:
                continue
            if not isinstance(moment, datetime):
                raise TypeError(f"{name}={moment!r} must be a datetime")
            if moment.tzinfo is None:
                raise ValueError(
                    f"{name}={moment!r} needs a time zone: add tzinfo=UTC, or a ZoneInfo"
                )
        if start is not None and end is not None and end < start:
            raise ValueError(f"end={end.isoformat()} comes before start={start.isoformat()}")
        self.rule = rule
        self.start = start
        self.end = end
        self.once = once

    def next(self, after: datetime) -> datetime | None:
        """The next moment at which it runs; see `BaseSchedule.next`."""
        if self.once:
            return None
        if self._begins_after(after):
            return self.first(after)
        return self._before_end(self.rule.next(after))

    def first(self, now: datetime) -> datetime | None:
        """The moment at which a new entry runs first."""
        if not self._begins_after(now):
            return self._before_end(self.rule.first(now))
        assert self.start is not None
        # A rule without a zone reads the clock of the zone of what it is asked about.
        start = self.start.astimezone(now.tzinfo)
        if isinstance(self.rule, schedule) and not self.rule.relative:
            return self._before_end(start)
        return self._before_end(self.rule.first(start - _JUST_BEFORE))

    def _begins_after(self, moment: datetime) -> bool:
        return self.start is not None and self.start.astimezone(UTC) > moment

    def _before_end(self, moment: datetime | None) -> datetime | None:
        if moment is None or self.end is None:
            return moment
        return moment if moment.astimezone(UTC) <= self.end.astimezone(UTC) else None

    def to_plain(self) -> Any:
        """What a store keeps."""
        plain: dict[str, Any] = {"rule": {self.rule.kind: self.rule.to_plain()}}
        for name, moment in (("start", self.start), ("end", self.end)):
            if moment is not None:
                plain[name] = moment.isoformat()
        return {**plain, "once": True} if self.once else plain

    @classmethod
    def from_plain(cls, value: Any) -> Self:
        """The rule that a store has kept; the one within it has been read already."""
        if not isinstance(value, Mapping) or not isinstance(value.get("rule"), BaseSchedule):
            raise ValueError(f"{value!r} is no rule with bounds: give rule, start, end and once")
        if unknown := value.keys() - {"rule", "start", "end", "once"}:
            raise ValueError(f"a rule with bounds has no {', '.join(sorted(map(str, unknown)))}")
        start, end = (
            datetime.fromisoformat(value[name]) if value.get(name) else None
            for name in ("start", "end")
        )
        return cls(value["rule"], start, end, bool(value.get("once")))

    def _key(self) -> Any:
        bounds = (each and each.astimezone(UTC) for each in (self.start, self.end))
        return self.rule, *bounds, self.once

    def __repr__(self) -> str:
        said = [repr(self.rule)]
        if self.start is not None:
            said.append(f"from {self.start.isoformat()}")
        if self.end is not None:
            said.append(f"until {self.end.isoformat()}")
        return f"<bounded: {' '.join(said)}{', once' if self.once else ''}>"
