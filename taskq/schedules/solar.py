"""Rules by the position of the sun."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Self

from taskq.schedules.base import BaseSchedule


class _Event(NamedTuple):
    """How ephem computes an event.

    Attributes:
        method: of its observer.
        horizon: degrees and minutes above the horizon; None is of no meaning.
        center: it is the centre of the sun that passes it, not its upper rim.
    """

    method: str
    horizon: str = "0"
    center: bool = False


# The horizon of sunrise and sunset is the Naval Observatory's, for which ephem's own refraction
# is turned off (https://rhodesmill.org/pyephem/rise-set.html, "Computing Twilight").
EVENTS = {
    "dawn_astronomical": _Event("next_rising", "-18", True),
    "dawn_nautical": _Event("next_rising", "-12", True),
    "dawn_civil": _Event("next_rising", "-6", True),
    "sunrise": _Event("next_rising", "-0:34"),
    "solar_noon": _Event("next_transit"),
    "sunset": _Event("next_setting", "-0:34"),
    "dusk_civil": _Event("next_setting", "-6", True),
    "dusk_nautical": _Event("next_setting", "-12", True),
    "dusk_astronomical": _Event("next_setting", "-18", True),
}
_SEARCHED = 400
"""Days: near the poles the sun rises once a year."""
_DAY = timedelta(days=1)
_APART = timedelta(hours=12)
"""Less than the time between two events of a kind."""


class solar(BaseSchedule):  # noqa: N801 - Celery's name
    """Runs when the sun rises, sets, or stands at another place of note.

    Where the sun does not rise or set for a while, it runs when that happens again.

    Args:
        event: dawn_astronomical, dawn_nautical, dawn_civil, sunrise, solar_noon, sunset,
            dusk_civil, dusk_nautical or dusk_astronomical.
        lat: degrees north, from -90 to 90.
        lon: degrees east, from -180 to 180.
        nowfun: see `BaseSchedule`.

    Raises:
        ValueError: there is no such event, or no such place.
        ImportError: ephem is not installed: ``pip install taskq[solar]``.
    """

    kind = "solar"

    def __init__(
        self,
        event: str,
        lat: float,
        lon: float,
        *,
        nowfun: Callable[[], datetime] | None = None,
    ) -> None:
        super().__init__(nowfun=nowfun)
        if event not in EVENTS:
            raise ValueError(f"solar event {event!r} is not known: there are {', '.join(EVENTS)}")
        for name, value, most in (("lat", lat, 90), ("lon", lon, 180)):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name}={value!r} must be a number of degrees")
            if not -most <= value <= most:
                raise ValueError(f"{name}={value!r} must be from -{most} to {most} degrees")
        self.event = event
        self.lat = float(lat)
        self.lon = float(lon)
        _ephem()

    def next(self, after: datetime) -> datetime | None:
        """The next moment of the event, to the second; see `BaseSchedule.next`."""
        limit = after.astimezone(UTC)
        # Day by day from a midnight, so that the same event is computed in the same way whenever
        # it is asked for: searches from two moments differ by seconds.
        day = limit.replace(hour=0, minute=0, second=0, microsecond=0)
        for _ in range(_SEARCHED):
            for moment in self._within(day):
                if moment > limit:
                    return moment
            day += _DAY
        return None

    def _within(self, day: datetime) -> Iterator[datetime]:
        """The moments of the event in the day that begins then; seldom none, or two."""
        ephem = _ephem()
        method, horizon, center = EVENTS[self.event]
        place = ephem.Observer()
        place.lat, place.lon = str(self.lat), str(self.lon)
        place.elevation, place.pressure, place.horizon = 0, 0, horizon
        options = {} if method == "next_transit" else {"use_center": center}
        start = day
        while start < day + _DAY:
            place.date = start.replace(tzinfo=None)
            try:
                found = getattr(place, method)(ephem.Sun(), **options)
            except ephem.CircumpolarError:
                return
            moment = found.datetime().replace(microsecond=0, tzinfo=UTC)
            if moment >= day + _DAY:
                return
            yield moment
            start = moment + _APART

    def to_plain(self) -> Any:
        """What a store keeps."""
        return [self.event, self.lat, self.lon]

    @classmethod
    def from_plain(cls, value: Any) -> Self:
        """The rule that a store has kept."""
        match value:
            case [str() as event, int() | float() as lat, int() | float() as lon]:
                return cls(event, lat, lon)
        raise ValueError(f"{value!r} is no solar event: give event, latitude and longitude")

    def __repr__(self) -> str:
        return f"<solar: {self.event} at latitude {self.lat:g}, longitude: {self.lon:g}>"


def _ephem() -> Any:
    # Imported by those who use it: it is a driver of an extra.
    try:
        import ephem
    except ImportError as exc:
        raise ImportError("solar schedules need ephem: pip install taskq[solar]") from exc
    return ephem
