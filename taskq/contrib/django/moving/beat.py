"""Moving the schedule of django-celery-beat."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from django.core.exceptions import ValidationError
from django.db import router, transaction

from taskq.context import get_current_app
from taskq.contrib.django.models import PeriodicTask
from taskq.contrib.django.models.marks import current_namespace
from taskq.contrib.django.moving import tables
from taskq.contrib.django.moving.report import Report
from taskq.schedules import read_entries

_BUILT_IN = ("celery.backend_cleanup",)
"""Entries that Celery's beat makes by itself; taskq's workers clean up without them."""


class Refused(Exception):
    """Something cannot be moved; the message says why."""


def move_schedule(alias: str, dry_run: bool) -> Report:
    """Move all entries that are not there yet.

    Args:
        alias: the database that they are in.
        dry_run: only see what would be moved.
    """
    report = Report("periodic tasks")
    there = router.db_for_write(PeriodicTask)
    known = set(
        PeriodicTask._base_manager.using(there)
        .filter(namespace=current_namespace())
        .values_list("name", flat=True)
    )
    in_code = _names_in_code()
    rules = _rules(alias)
    with transaction.atomic(using=there):
        for row in tables.rows_of(tables.PERIODIC_TASKS, alias):
            name = row["name"]
            if name in known:
                report.skipped.append(f"{name}: it is here already")
            elif name in in_code or row["task"] in _BUILT_IN:
                report.skipped.append(f"{name}: it is written in code, or built in")
            else:
                _move(row, rules, report, dry_run)
    return report


def _names_in_code() -> set[str]:
    app = get_current_app()
    app.load_modules()
    return {*read_entries(app.conf.beat_schedule), *app.periodic_entries}


def _move(row: dict[str, Any], rules: dict[str, Any], report: Report, dry_run: bool) -> None:
    try:
        task = PeriodicTask(**_columns(row, rules))
        task.full_clean()
        if not dry_run:
            task.save()
    except (Refused, ValidationError) as exc:
        report.failed.append(f"{row['name']}: {'; '.join(_reasons(exc))}")
    else:
        report.moved.append(row["name"])


def _reasons(error: Refused | ValidationError) -> Iterator[str]:
    if isinstance(error, ValidationError):
        for field, texts in error.message_dict.items():
            yield f"{field}: {' '.join(texts)}" if field != "__all__" else " ".join(texts)
    else:
        yield str(error)


def _rules(alias: str) -> dict[str, dict[int, dict[str, Any]]]:
    """The rules by the column that names them, and by their ids."""
    kinds = {
        "interval_id": tables.INTERVALS,
        "crontab_id": tables.CRONTABS,
        "solar_id": tables.SOLARS,
        "clocked_id": tables.CLOCKEDS,
    }
    return {
        column: {row["id"]: row for row in tables.rows_of(table, alias)}
        for column, table in kinds.items()
    }


def _columns(row: dict[str, Any], rules: dict[str, Any]) -> dict[str, Any]:
    """The columns of a row of theirs in ours."""
    options = {name: row[name] for name in ("exchange", "routing_key") if row[name]}
    last = row["last_run_at"]
    return {
        "name": row["name"],
        "task": row["task"],
        "description": row["description"] or "",
        "enabled": row["enabled"],
        "args": _json(row, "args", list),
        "kwargs": _json(row, "kwargs", dict),
        "headers": _json(row, "headers", dict),
        "queue": row["queue"] or "",
        "priority": row["priority"],
        "expires": row["expire_seconds"],
        "options": options,
        "start": row["start_time"],
        # Theirs is the moment after which nothing is sent any more.
        "end": row["expires"],
        "one_off": bool(row["one_off"]),
        "runs": row["total_run_count"] or 0,
        "last_run": last.timestamp() if last is not None else None,
        **_rule(row, rules),
    }


def _json(row: dict[str, Any], name: str, kind: type[Any]) -> Any:
    text = row[name]
    if not text:
        return kind()
    try:
        return json.loads(text)
    except ValueError as exc:
        raise Refused(f"{name}: {text!r} is no JSON ({exc})") from exc


def _rule(row: dict[str, Any], rules: dict[str, Any]) -> dict[str, Any]:
    for column, makes in _RULES.items():
        key = row[column]
        if key is not None:
            found = rules[column].get(key)
            if found is None:
                raise Refused(f"its {column.removesuffix('_id')} {key} is missing")
            columns: dict[str, Any] = makes(found)
            if columns["kind"] == PeriodicTask.Kind.CLOCKED:
                # A moment comes once anyway.
                columns["one_off"] = False
            return columns
    raise Refused("it has no schedule")


def _interval(row: dict[str, Any]) -> dict[str, Any]:
    kind = {"kind": PeriodicTask.Kind.INTERVAL}
    if row["period"] == "microseconds":
        return {**kind, "every": row["every"] / 1e6, "period": "seconds"}
    return {**kind, "every": row["every"], "period": row["period"]}


def _crontab(row: dict[str, Any]) -> dict[str, Any]:
    names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
    fields = [(row[name] or "*").replace(" ", "") for name in names]
    return {
        "kind": PeriodicTask.Kind.CRONTAB,
        "crontab": " ".join(fields),
        "zone": row["timezone"] or "",
    }


def _solar(row: dict[str, Any]) -> dict[str, Any]:
    names = ("event", "latitude", "longitude")
    return {"kind": PeriodicTask.Kind.SOLAR, **{name: row[name] for name in names}}


def _clocked(row: dict[str, Any]) -> dict[str, Any]:
    return {"kind": PeriodicTask.Kind.CLOCKED, "moment": row["clocked_time"]}


_RULES = {
    "interval_id": _interval,
    "crontab_id": _crontab,
    "solar_id": _solar,
    "clocked_id": _clocked,
}
