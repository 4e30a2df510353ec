"""The contract of a schedule: which moments it names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, NamedTuple, Self


class schedstate(NamedTuple):  # noqa: N801 - Celery's name
    """What `BaseSchedule.is_due` says.

    Attributes:
        is_due: is it time?
        next: seconds until it is worth asking again.
    """

    is_due: bool
    next: float


class BaseSchedule(ABC):
    """A rule that names moments; a subclass with `next` is a schedule of one's own.

    A rule has no state: what has run, and when, is known to beat's store alone.

    Args:
        nowfun: gives the time to `is_due` and `remaining_estimate`; beat does not ask it.

    Attributes:
        kind: the name under which a store keeps the rule; empty for one that can only be
            written in code.
    """

    kind: ClassVar[str] = ""

    def __init__(self, *, nowfun: Callable[[], datetime] | None = None) -> None:
        self.nowfun = nowfun

    @abstractmethod
    def next(self, after: datetime) -> datetime | None:
        """The first moment of this rule that comes after another one.

        Args:
            after: with a time zone.  A rule without a zone of its own reads the clock of
                that zone; beat gives the app's.

        Returns:
            The moment, with a time zone, or None if there is no other.
        """

    def first(self, now: datetime) -> datetime | None:
        """The moment at which a new entry runs first."""
        return self.next(now)

    def to_plain(self) -> Any:
        """What a store keeps: `from_plain` makes the same rule of it.

        Raises:
            TypeError: rules of this kind can only be written in code.
        """
        raise TypeError(f"{self!r} cannot be kept in a store: it has no `kind`")

    @classmethod
    def from_plain(cls, value: Any) -> Self:
        """The rule that `to_plain` has described.

        Raises:
            ValueError: it describes none.
        """
        raise TypeError(f"{cls.__name__} cannot be read from a store")

    # Celery's questions, for code that asks them

    def now(self) -> datetime:
        """The time, as `nowfun` says."""
        moment = self.nowfun() if self.nowfun is not None else datetime.now(UTC)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """How long it is from now until it runs next, if it has last run then."""
        following = self.next(
            last_run_at if last_run_at.tzinfo else last_run_at.replace(tzinfo=UTC)
        )
        return timedelta.max if following is None else following - self.now()

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Should it run now, if it has last run then?"""
        remaining = self.remaining_estimate(last_run_at).total_seconds()
        if remaining > 0:
            return schedstate(False, remaining)
        now = self.now()
        following = self.next(now)
        return schedstate(True, 0.0 if following is None else (following - now).total_seconds())

    # Equal rules name the same moments.

    def _key(self) -> Any:
        return {name: value for name, value in vars(self).items() if name != "nowfun"}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BaseSchedule) or type(other) is not type(self):
            return NotImplemented
        return bool(self._key() == other._key())

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        key = self._key()
        shown = (
            ", ".join(f"{name}={value!r}" for name, value in key.items())
            if isinstance(key, Mapping)
            else repr(key)
        )
        return f"<{type(self).__name__}: {shown}>"
