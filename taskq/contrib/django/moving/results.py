"""Moving the results of django-celery-results."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from django.db import models
from django.utils import timezone

from taskq.context import get_current_app
from taskq.contrib.django.models import GroupResult, TaskResult
from taskq.contrib.django.models.results import NAME_SIZE
from taskq.contrib.django.moving import tables
from taskq.contrib.django.moving.report import Report
from taskq.contrib.django.results.factories import results_alias

_BATCH = 500
_UNSAFE = "it is a pickle, which nobody reads here, since whoever can write there could run code"


class Refused(Exception):
    """Something cannot be moved; the message says why."""


def move_results(alias: str, dry_run: bool) -> list[Report]:
    """Move all results that are not there yet.

    Args:
        alias: the database that they are in.
        dry_run: only see what would be moved.
    """
    there = results_alias(get_current_app().conf)
    tasks = _move(
        tables.rows_of(tables.TASK_RESULTS, alias), "task_id", _task, there, "results", dry_run
    )
    groups = _move(
        tables.rows_of(tables.GROUP_RESULTS, alias), "group_id", _group, there, "groups", dry_run
    )
    return [tasks, groups]


def _move(
    rows: Iterable[dict[str, Any]], key: str, make: Any, there: str, what: str, dry_run: bool
) -> Report:
    report = Report(what)
    for batch in _batches(rows):
        made: dict[str, models.Model] = {}
        for row in batch:
            try:
                made[row[key]] = make(row)
            except Refused as exc:
                report.failed.append(f"{row[key]}: {exc}")
        if not made:
            continue
        model = type(next(iter(made.values())))
        objects = model._default_manager.using(there)
        known = set(objects.filter(**{f"{key}__in": list(made)}).values_list(key, flat=True))
        report.skipped += [f"{name}: it is here already" for name in made if name in known]
        new = [name for name in made if name not in known]
        if not dry_run:
            # A worker may store the same one meanwhile, and is right.
            objects.bulk_create([made[name] for name in new], ignore_conflicts=True)
        report.moved += new
    return report


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


def _task(row: dict[str, Any]) -> TaskResult:
    result = _json_text(row)
    done = row["date_done"] or timezone.now()
    meta = _loaded(row["meta"]) or {}
    more = {name: value for name, value in meta.items() if value} if isinstance(meta, dict) else {}
    args, kwargs = _shown(row["task_args"]), _shown(row["task_kwargs"])
    return TaskResult(
        task_id=row["task_id"],
        state=row["status"],
        name=_short(row["task_name"]),
        worker=_short(row["worker"]),
        args=args,
        kwargs=kwargs,
        result=result,
        traceback=row["traceback"],
        more=json.dumps(more) if more else None,
        created=row["date_created"] or done,
        changed=done,
    )


def _group(row: dict[str, Any]) -> GroupResult:
    if get_current_app().conf.result_serializer != "json":
        raise Refused("groups can be moved where result_serializer is json")
    payload = f'{{"result":{_json_text(row) or "null"}}}'.encode()
    return GroupResult(
        group_id=row["group_id"], payload=payload, stored=row["date_done"] or timezone.now()
    )


def _json_text(row: dict[str, Any]) -> str | None:
    """What was returned, as JSON."""
    kind, text = row["content_type"], row["result"]
    if text is None:
        return None
    if kind == "application/json":
        try:
            json.loads(text)
        except ValueError as exc:
            raise Refused(f"its result is no JSON ({exc})") from exc
        return str(text)
    if "python-serialize" in (kind or ""):
        raise Refused(_UNSAFE)
    raise Refused(f"its result is of the type {kind}, and only JSON is moved")


def _shown(text: str | None) -> str | None:
    """Arguments as JSON; they were kept as Python writes them."""
    value = _loaded(text)
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return json.dumps(value)
    try:
        return json.dumps(value) if value is not None else None
    except TypeError:
        return json.dumps(repr(value))


def _loaded(text: str | None) -> Any:
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def _short(text: str | None) -> str:
    return (text or "")[:NAME_SIZE]
