"""System checks: what ``manage.py check`` says of taskq in the project."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.db import Error, connections

from taskq.backends.registry import make_backend
from taskq.contrib.django import conf
from taskq.exceptions import ImproperlyConfigured, TaskQError

if TYPE_CHECKING:
    from taskq.app import TaskQ

TAG = "taskq"
"""``manage.py check --tag taskq``."""

_IDS = {"unknown": "taskq.E001", "conflict": "taskq.E002", "value": "taskq.E003"}


def register() -> None:
    """Have Django run them."""
    checks.register(check_settings, TAG)
    checks.register(check_places, TAG)
    checks.register(check_outbox, TAG)
    # Not before each `migrate`, the first one above all: `manage.py taskq` asks for this one.
    checks.register(check_results, TAG, deploy=True)


def check_settings(**kwargs: Any) -> list[checks.CheckMessage]:
    """E001 unknown, E002 in conflict, E003 of a wrong type; W001 unknown, and perhaps others'."""
    found: list[checks.CheckMessage] = []
    for problem in conf.read().problems:
        if problem.is_harmless:
            hint = f"{problem.hint} It is ignored; if it is not taskq's, all is well."
            found.append(checks.Warning(problem.text, hint, id="taskq.W001"))
        else:
            found.append(checks.Error(problem.text, problem.hint, id=_IDS[problem.kind]))
    return found


def check_places(**kwargs: Any) -> list[checks.CheckMessage]:
    """Where messages and results go, if anybody is ever to find them there."""
    app: TaskQ = apps.get_app_config("taskq").app  # type: ignore[attr-defined]
    found: list[checks.CheckMessage] = [*_without_store(app)]
    if settings.DEBUG or app.conf.task_always_eager:
        return found
    if app.conf.broker_url.startswith("memory:"):
        text = "The broker is in memory: no worker will ever see what this process sends."
        hint = "Set TASKQ_BROKER_URL, for example to redis://localhost."
        found.append(checks.Warning(text, hint, id="taskq.W002"))
    if (app.conf.result_backend or app.conf.broker_url).startswith("memory:"):
        text = "The result store is in memory: results stay with the process that has run the task."
        hint = "Set TASKQ_RESULT_BACKEND, or leave it out to keep results beside the messages."
        found.append(checks.Warning(text, hint, id="taskq.W003"))
    return found


def check_outbox(
    databases: Collection[str] | None = None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """Is there a table for the outbox?  A warning: before the first migration there is none."""
    app: TaskQ = apps.get_app_config("taskq").app  # type: ignore[attr-defined]
    if not (databases and app.conf.outbox):
        return []
    # Models must be there before what uses them is imported.
    from taskq.contrib.django.outbox import Relay

    relay = Relay(app)
    if relay.alias not in databases:
        return []
    try:
        relay.check()
    except ImproperlyConfigured as exc:
        return [checks.Warning(str(exc), id="taskq.W005")]
    except TaskQError:
        pass  # who uses the database says why it cannot
    return []


def check_results(
    databases: Collection[str] | None = None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """Is there a table for results?"""
    app: TaskQ = apps.get_app_config("taskq").app  # type: ignore[attr-defined]
    if not databases or (app.conf.result_backend or "").partition("://")[0] != "django-db":
        return []
    # Models must be there before what uses them is imported.
    from taskq.contrib.django.models import TaskResult
    from taskq.contrib.django.results.factories import results_alias

    alias = results_alias(app.conf)
    if alias not in databases:
        return []
    try:
        if TaskResult._meta.db_table in connections[alias].introspection.table_names():
            return []
    except Error:
        return []  # as above
    text = f"Results belong in the database {alias!r}, which has no table for them."
    hint = "Run `manage.py migrate`; until then workers cannot say how tasks have ended."
    return [checks.Warning(text, hint, id="taskq.W007")]


def _without_store(app: TaskQ) -> Iterator[checks.CheckMessage]:
    """Is there a result store, and is what it needs installed?  It is made, but not connected."""
    try:
        make_backend(app.conf.result_backend or app.conf.broker_url, app.conf)
    except ImproperlyConfigured as exc:
        hint = "Set TASKQ_RESULT_BACKEND, to 'disabled' if nobody asks for results."
        yield checks.Error(f"There is no result store: {exc}.", hint, id="taskq.E004")
