"""Schedules as plain data: what settings, files and stores hold."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from taskq.schedules.base import BaseSchedule
from taskq.schedules.bounded import bounded
from taskq.schedules.clocked import clocked
from taskq.schedules.crontab import crontab
from taskq.schedules.interval import schedule
from taskq.schedules.solar import solar

KINDS: Mapping[str, type[BaseSchedule]] = {
    kind.kind: kind for kind in (crontab, schedule, clocked, solar, bounded)
}
ENTRY_POINTS = "taskq.schedules"
"""Third parties add a kind under this group: kind = "module:ScheduleClass"."""


def read_schedule(value: Any, *, relative: bool = False) -> BaseSchedule:
    """The schedule that a value describes.

    Args:
        value: a schedule; seconds or a timedelta; text as in a crontab; or a mapping from the
            kind (crontab, every, once, solar, bounded) to what `BaseSchedule.to_plain` gives.
        relative: of an interval, see `schedule`.

    Raises:
        ValueError: it describes none.
        TypeError: it is of another type.
    """
    if isinstance(value, BaseSchedule):
        return value
    if isinstance(value, int | float | timedelta) and not isinstance(value, bool):
        return schedule(value, relative)
    if isinstance(value, str):
        return crontab.from_string(value)
    if isinstance(value, Mapping) and len(value) == 1:
        ((kind, plain),) = value.items()
        if kind == bounded.kind and isinstance(plain, Mapping) and "rule" in plain:
            plain = {**plain, "rule": read_schedule(plain["rule"])}
        return _kind(kind).from_plain(plain)
    hint = ""
    if type(value).__module__.partition(".")[0] in ("celery", "django_celery_beat"):
        hint = f": import {type(value).__name__} from taskq.schedules"
    raise TypeError(
        f"{value!r} is no schedule{hint or ': give seconds, a timedelta, crontab(...) or text'}"
    )


def plain_schedule(value: BaseSchedule) -> dict[str, Any]:
    """What `read_schedule` makes the same schedule of.

    Raises:
        TypeError: it can only be written in code.
    """
    return {value.kind: value.to_plain()}


def _kind(name: Any) -> type[BaseSchedule]:
    if name in KINDS:
        return KINDS[name]
    # importlib.metadata is slow to import, and only kinds of third parties need it.
    from importlib.metadata import entry_points

    for entry in entry_points(group=ENTRY_POINTS, name=str(name)):
        kind: type[BaseSchedule] = entry.load()
        return kind
    raise ValueError(
        f"there is no kind of schedule {name!r}: there are {', '.join(KINDS)}, and others by "
        f"installed packages (entry point {ENTRY_POINTS})"
    )
