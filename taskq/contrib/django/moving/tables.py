"""The tables of django-celery-beat (2.9) and django-celery-results (2.6).

They are read as they are, whether the packages are installed or not; columns that an older
version has not are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps.registry import Apps
from django.db import connections, models

_apps = Apps()
_Row = dict[str, Any]


def _table(name: str, /, **columns: models.Field[Any, Any]) -> type[models.Model]:
    meta = type("Meta", (), {"apps": _apps, "app_label": "celerys", "db_table": name})
    body = {"Meta": meta, "__module__": __name__, **columns}
    return type(name.title().replace("_", ""), (models.Model,), body)


def _texts(*names: str) -> dict[str, models.Field[Any, Any]]:
    return {name: models.TextField(null=True) for name in names}


def _times(*names: str) -> dict[str, models.Field[Any, Any]]:
    return {name: models.DateTimeField(null=True) for name in names}


def _numbers(*names: str) -> dict[str, models.Field[Any, Any]]:
    return {name: models.IntegerField(null=True) for name in names}


INTERVALS = _table("django_celery_beat_intervalschedule", **_numbers("every"), **_texts("period"))
CRONTABS = _table(
    "django_celery_beat_crontabschedule",
    **_texts("minute", "hour", "day_of_month", "month_of_year", "day_of_week", "timezone"),
)
SOLARS = _table(
    "django_celery_beat_solarschedule",
    **_texts("event"),
    latitude=models.FloatField(),
    longitude=models.FloatField(),
)
CLOCKEDS = _table("django_celery_beat_clockedschedule", **_times("clocked_time"))
PERIODIC_TASKS = _table(
    "django_celery_beat_periodictask",
    **_texts("name", "task", "args", "kwargs", "queue", "exchange", "routing_key", "headers"),
    **_texts("description"),
    **_times("expires", "start_time", "last_run_at"),
    **_numbers("priority", "expire_seconds", "total_run_count"),
    **_numbers("interval_id", "crontab_id", "solar_id", "clocked_id"),
    enabled=models.BooleanField(),
    one_off=models.BooleanField(),
)
TASK_RESULTS = _table(
    "django_celery_results_taskresult",
    **_texts("task_id", "task_name", "task_args", "task_kwargs", "status", "worker"),
    **_texts("content_type", "content_encoding", "result", "traceback", "meta"),
    **_times("date_created", "date_done"),
)
GROUP_RESULTS = _table(
    "django_celery_results_groupresult",
    **_texts("group_id", "content_type", "content_encoding", "result"),
    **_times("date_done"),
)


def is_there(table: type[models.Model], alias: str) -> bool:
    """Is that table in the database?"""
    connection = connections[alias]
    return table._meta.db_table in connection.introspection.table_names()


def rows_of(table: type[models.Model], alias: str) -> Iterator[_Row]:
    """The rows of a table, in the order in which they were made; none if it is not there.

    Args:
        table: one of this module.
        alias: the database.
    """
    if not is_there(table, alias):
        return
    connection = connections[alias]
    with connection.cursor() as cursor:
        found = connection.introspection.get_table_description(cursor, table._meta.db_table)
    there = {column.name for column in found}
    names = [field.name for field in table._meta.fields if field.name in there]
    missing = dict.fromkeys(field.name for field in table._meta.fields if field.name not in there)
    rows = table._default_manager.using(alias).order_by("pk").values(*names)
    for row in rows.iterator(chunk_size=1000):
        yield {**missing, **row}
