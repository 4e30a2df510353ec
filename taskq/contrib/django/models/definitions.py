"""Between the columns of a `PeriodicTask`, which people edit, and what beats read of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _

from taskq.beat.ticks import messages_of
from taskq.exceptions import ImproperlyConfigured
from taskq.schedules import BaseSchedule, ScheduleEntry, bounded, clocked, crontab, schedule, solar
from taskq.schedules.plain import read_schedule
from taskq.schedules.zones import find_zone

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.contrib.django.models.schedules import PeriodicTask

PERIODS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}
"""Seconds of the units of an interval."""
_OPTIONS = ("queue", "priority", "headers", "expires")
"""Options of the call that have columns of their own."""
_UNSET: tuple[Any, ...] = ("", None, {}, [])


# From columns to an entry


def entry_of_columns(task: PeriodicTask) -> ScheduleEntry:
    """The entry that the columns describe.

    Raises:
        ValidationError: they describe none; it names the column.
    """
    rule = _bounded(task, _rule(task))
    options = {name: getattr(task, name) for name in _OPTIONS}
    with _at("options"):
        if not isinstance(task.options or {}, dict):
            raise ValueError(_("This must be an object, in braces."))
        if known := [name for name in _OPTIONS if name in (task.options or {})]:
            raise ValueError(_("Use the field for %(name)s.") % {"name": known[0]})
    set_options = {name: value for name, value in options.items() if value not in _UNSET}
    with _at(None):
        return ScheduleEntry(
            task.name,
            task.task,
            rule,
            tuple(task.args or ()),
            dict(task.kwargs or {}),
            {**set_options, **(task.options or {})},
            task.missed or None,
            task.max_lateness,
        )


@contextmanager
def _at(field: str | None) -> Iterator[None]:
    """Say at which field something is wrong; None is at none of them."""
    try:
        yield
    except (ValueError, TypeError, ImportError, OverflowError, ImproperlyConfigured) as exc:
        raise ValidationError({field: str(exc)} if field else str(exc)) from exc


def _need(task: PeriodicTask, *fields: str) -> None:
    missing = {name: _("This is needed.") for name in fields if getattr(task, name) in ("", None)}
    if missing:
        raise ValidationError(missing)


def _rule(task: PeriodicTask) -> BaseSchedule:
    return _RULES[task.kind](task)


def _interval(task: PeriodicTask) -> BaseSchedule:
    _need(task, "every", "period")
    with _at("every"):
        return schedule((task.every or 0) * PERIODS[task.period], task.at_round_times)


def _crontab(task: PeriodicTask) -> BaseSchedule:
    _need(task, "crontab")
    with _at("zone"):
        zone = find_zone(task.zone) if task.zone else None
    with _at("crontab"):
        return crontab.from_string(task.crontab, tz=zone)


def _solar(task: PeriodicTask) -> BaseSchedule:
    _need(task, "event", "latitude", "longitude")
    with _at("event"):
        assert task.latitude is not None
        assert task.longitude is not None
        return solar(task.event, task.latitude, task.longitude)


def _clocked(task: PeriodicTask) -> BaseSchedule:
    _need(task, "moment")
    with _at("moment"):
        moment = _aware(task.moment)
        assert moment is not None
        return clocked(moment)


def _other(task: PeriodicTask) -> BaseSchedule:
    _need(task, "rule")
    with _at("rule"):
        return read_schedule(json.loads(task.rule))


_RULES: dict[str, Callable[[PeriodicTask], BaseSchedule]] = {
    "every": _interval,
    "crontab": _crontab,
    "solar": _solar,
    "once": _clocked,
    "other": _other,
}


def _bounded(task: PeriodicTask, rule: BaseSchedule) -> BaseSchedule:
    if not (task.start or task.end or task.one_off):
        return rule
    with _at("end" if task.end else "start"):
        return bounded(rule, _aware(task.start), _aware(task.end), task.one_off)


def _aware(moment: datetime | None) -> datetime | None:
    if moment is None:
        return None
    moment = moment if timezone.is_aware(moment) else timezone.make_aware(moment)
    return moment.astimezone(UTC)


def problems(task: PeriodicTask, app: TaskQ) -> dict[str | None, list[str]]:
    """What is wrong with the columns: messages by the names of fields; None is of no field.

    Args:
        task: the row.
        app: the app whose tasks are asked for their signatures.
    """
    found: dict[str | None, list[str]] = {}

    def note(error: ValidationError) -> None:
        if hasattr(error, "error_dict"):
            for field, messages in error.message_dict.items():
                found.setdefault(field, []).extend(messages)
        else:
            found.setdefault(None, []).extend(error.messages)

    for check in (_check_json, lambda task: _check_call(task, app)):
        try:
            check(task)
        except ValidationError as error:
            note(error)
    try:
        # With arguments that are none there is a rule to be looked at all the same.
        entry = None if found else entry_of_columns(task)
        if entry is None:
            _bounded(task, _rule(task))
    except ValidationError as error:
        note(error)
        return found
    if entry is not None:
        try:
            # What the call would say of its options when it is due, it says now.
            messages_of(app, entry, "beat:check", 0.0, once=False)
        except Exception as exc:
            found[None] = [str(exc)]
    return found


def _check_json(task: PeriodicTask) -> None:
    wrong: dict[str, str] = {}
    for field, kind, text in (
        ("args", list, _("This must be a list, in brackets.")),
        ("kwargs", dict, _("This must be an object, in braces.")),
        ("headers", dict, _("This must be an object, in braces.")),
    ):
        value = getattr(task, field)
        if value is not None and not isinstance(value, kind):
            wrong[field] = text
        elif "\\u0000" in json.dumps(value):
            wrong[field] = _("Databases cannot keep the character 0.")
    if wrong:
        raise ValidationError(wrong)


def _check_call(task: PeriodicTask, app: TaskQ) -> None:
    """The arguments must fit the task, if it is known here."""
    known = app.tasks.get(task.task)
    if known is None or not known.typing:
        return
    if not isinstance(task.args, list) or not isinstance(task.kwargs, dict):
        return
    try:
        known.check_arguments(tuple(task.args), task.kwargs)
    except TypeError as exc:
        field = "kwargs" if task.kwargs and "keyword" in str(exc) else "args"
        raise ValidationError({field: str(exc)}) from exc


# From a definition to columns

_EMPTY: dict[str, Any] = {
    "task": "",
    "kind": "other",
    "every": None,
    "period": "seconds",
    "at_round_times": False,
    "crontab": "",
    "zone": "",
    "event": "",
    "latitude": None,
    "longitude": None,
    "moment": None,
    "rule": "",
    "start": None,
    "end": None,
    "one_off": False,
    "args": [],
    "kwargs": {},
    "queue": "",
    "priority": None,
    "headers": {},
    "expires": None,
    "options": {},
    "missed": "",
    "max_lateness": None,
}


def columns_of(definition: bytes) -> dict[str, Any]:
    """The columns that show a definition; as far as it can be shown in them."""
    columns = {**_EMPTY, "args": [], "kwargs": {}, "headers": {}, "options": {}}
    if b"\\u0000" in definition:
        return columns
    try:
        fields: dict[str, Any] = json.loads(definition)
    except ValueError:
        return columns
    for name in ("task", "args", "kwargs", "missed", "max_lateness"):
        if fields.get(name) is not None:
            columns[name] = fields[name]
    options = dict(fields.get("options") or {})
    for name in _OPTIONS:
        if _has_column(name, options.get(name)):
            columns[name] = options.pop(name)
    columns["options"] = options
    columns.update(_columns_of_rule(fields.get("schedule")))
    return columns


def _has_column(name: str, value: Any) -> bool:
    match name:
        case "queue":
            return isinstance(value, str)
        case "headers":
            return isinstance(value, dict)
        case _:
            return isinstance(value, int | float) and not isinstance(value, bool)


def _columns_of_rule(plain: Any) -> dict[str, Any]:
    match plain:
        case {"bounded": {"rule": inner, **bounds}}:
            return {
                **_columns_of_rule(inner),
                "start": _moment(bounds.get("start")),
                "end": _moment(bounds.get("end")),
                "one_off": bool(bounds.get("once")),
            }
        case {"every": [float() | int() as seconds, bool() as round_times]}:
            return {**_every(seconds), "at_round_times": round_times}
        case {"every": float() | int() as seconds}:
            return _every(seconds)
        case {"crontab": [str() as text, str() as zone]}:
            return {"kind": "crontab", "crontab": text, "zone": zone}
        case {"crontab": str() as text}:
            return {"kind": "crontab", "crontab": text}
        case {"solar": [str() as event, latitude, longitude]}:
            place = {"latitude": latitude, "longitude": longitude}
            return {"kind": "solar", "event": event, **place}
        case {"once": str() as moment}:
            return {"kind": "once", "moment": _moment(moment)}
        case None:
            return {}
        case _:
            return {"kind": "other", "rule": json.dumps(plain)}


def _every(seconds: float) -> dict[str, Any]:
    for period, length in reversed(PERIODS.items()):
        if seconds >= length and seconds % length == 0:
            return {"kind": "every", "every": seconds / length, "period": period}
    return {"kind": "every", "every": seconds, "period": "seconds"}


def _moment(text: Any) -> datetime | None:
    return _kept(datetime.fromisoformat(text)) if text else None


def _kept(moment: datetime) -> datetime:
    """A moment as Django keeps it by its settings."""
    from django.conf import settings

    return moment if settings.USE_TZ else timezone.make_naive(moment)


def rule_of_definition(definition: str) -> BaseSchedule | None:
    """The rule in a definition; None if it can only be written in code."""
    try:
        return read_schedule(json.loads(definition)["schedule"])
    except (ValueError, TypeError, KeyError, ImportError):
        return None
