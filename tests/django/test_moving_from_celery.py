"""Moving the tables that django-celery-beat and django-celery-results have made and filled."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.django.projects import Project
from tests.interop.celery_home import DJANGO_PACKAGES, NoCeleryError, celery_python

THEIRS = """\
import sys, django
from django.conf import settings
settings.configure(
    SECRET_KEY="x", USE_TZ=True, TIME_ZONE="Europe/Paris",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}},
    INSTALLED_APPS=["django_celery_beat", "django_celery_results"],
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
)
django.setup()
from datetime import UTC, datetime, timedelta
from celery import Celery, group
from celery.result import AsyncResult, GroupResult
from django.core.management import call_command
from django_celery_beat.models import (
    ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule)
call_command("migrate", verbosity=0)

five = IntervalSchedule.objects.create(every=5, period="minutes")
tiny = IntervalSchedule.objects.create(every=5, period="microseconds")
tokyo = CrontabSchedule.objects.create(
    minute="30", hour="7, 8", day_of_week="mon-fri", timezone="Asia/Tokyo")
sun = SolarSchedule.objects.create(event="sunset", latitude="48.86", longitude="2.35")
once = ClockedSchedule.objects.create(clocked_time=datetime(2031, 1, 1, tzinfo=UTC))
def add(name, **columns):
    usual = {"task": "work.tasks.add", "args": "[1, 2]"}
    PeriodicTask.objects.create(name=name, **{**usual, **columns})
add("interval", interval=five, queue="q", priority=3, headers='{"tenant": "x"}',
    expire_seconds=60, total_run_count=7, last_run_at=datetime(2026, 1, 2, tzinfo=UTC))
add("crontab", crontab=tokyo, args="[]", kwargs='{"x": 1, "y": 2}', description="at work",
    start_time=datetime(2030, 1, 1, tzinfo=UTC), expires=datetime(2032, 1, 1, tzinfo=UTC))
add("solar", solar=sun, enabled=False, exchange="ex", routing_key="rk")
add("clocked", clocked=once, one_off=True)
add("one-off", interval=five, one_off=True)
add("too fast", interval=tiny)
add("wrong arguments", interval=five, args="[1, 2, 3]")
add("in code", interval=five)
add("celery.backend_cleanup", crontab=tokyo, task="celery.backend_cleanup", args="[]")

app = Celery("proj", result_extended=True, accept_content=["json", "pickle"])
app.conf.result_backend = "django-db"
class Request:
    task, args, kwargs, hostname = "work.tasks.add", (1, 2), {}, "w@host"
    argsrepr, kwargsrepr, delivery_info, properties = "(1, 2)", "{}", {}, {}
    periodic_task_name = group = parent_id = root_id = None
    children, chord, ignore_result, correlation_id = [], None, False, "c"
backend = app.backend
backend.store_result("done", {"sum": [3, None]}, "SUCCESS", request=Request)
backend.store_result("failed", ValueError("no"), "FAILURE", traceback="Traceback: no",
                     request=Request)
backend.store_result("begun", None, "STARTED", request=Request)
children = GroupResult("group", [AsyncResult("done", app=app), AsyncResult("failed", app=app)],
                       app=app)
children.save(backend=backend)
app.conf.result_serializer = "pickle"
pickled = Celery("other", result_serializer="pickle", accept_content=["pickle"])
pickled.conf.result_backend = "django-db"
pickled.backend.store_result("pickled", {1, 2}, "SUCCESS", request=Request)
"""

LOOK = """
    import json
    from taskq.contrib.django.models import PeriodicTask
    names = ("enabled", "args", "kwargs", "queue", "priority", "headers", "expires", "options",
             "one_off", "runs", "description")
    print(json.dumps({
        row.name: {
            "rule": json.loads(row.definition)["schedule"], "due": row.due,
            "last": row.last_run, **{name: getattr(row, name) for name in names},
        }
        for row in PeriodicTask.objects.all()
    }))
"""


@pytest.fixture
def moved(project: Project) -> Project:
    """A project whose database has Celery's tables."""
    try:
        python = celery_python(DJANGO_PACKAGES)
    except (NoCeleryError, OSError) as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    database = project.folder / "db.sqlite3"
    _run(python, project.folder, THEIRS, str(database))
    project.set(
        TASKQ_RESULT_BACKEND="django-db",
        TASKQ_BEAT_SCHEDULER="django",
        TASKQ_BEAT_SCHEDULE={"in code": {"task": "work.tasks.add", "schedule": 60}},
    )
    project.manage("migrate", "--run-syncdb", "-v0")
    return project


def _run(python: str, folder: Path, code: str, *arguments: str) -> None:
    ended = subprocess.run(
        [python, "-W", "ignore", "-c", code, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_all_that_can_be_moved(moved: Project) -> None:
    said = moved.manage("taskq_migrate_celery", "--dry-run", check=False)
    assert "periodic tasks: 5 would be moved, 2 left out, 2 cannot be moved" in said
    assert "results: 3 would be moved, 0 left out, 1 cannot be moved" in said
    assert "groups: 1 would be moved" in said
    assert "too fast: every: run_every=5e-06 must be from a thousandth of a second" in said
    assert "wrong arguments: args: work.tasks.add" in said
    assert "pickled: it is a pickle" in said
    assert json.loads(moved.shell(LOOK)) == {}

    said = moved.manage("taskq_migrate_celery", "-v2", check=False)
    assert "periodic tasks: 5 moved" in said
    assert "3 could not be moved, for the reasons above; all others were" in said
    assert "left out: in code: it is written in code, or built in" in said
    rows = json.loads(moved.shell(LOOK))
    due = {name: row.pop("due") for name, row in rows.items()}
    assert all(due.values())
    usual = {
        "enabled": True,
        "args": [1, 2],
        "kwargs": {},
        "queue": "",
        "priority": None,
        "headers": {},
        "expires": None,
        "options": {},
        "one_off": False,
        "runs": 0,
        "description": "",
        "last": None,
    }
    crontab = {
        "rule": {"crontab": ["30 7,8 * * mon-fri", "Asia/Tokyo"]},
        "start": "2030-01-01T00:00:00+00:00",
        "end": "2032-01-01T00:00:00+00:00",
    }
    assert rows == {
        "interval": {
            **usual,
            "rule": {"every": 300.0},
            "queue": "q",
            "priority": 3,
            "expires": 60,
            "runs": 7,
            "headers": {"tenant": "x"},
            "last": 1767312000.0,
        },
        "crontab": {
            **usual,
            "rule": {"bounded": crontab},
            "args": [],
            "kwargs": {"x": 1, "y": 2},
            "description": "at work",
        },
        "solar": {
            **usual,
            "rule": {"solar": ["sunset", 48.86, 2.35]},
            "enabled": False,
            "options": {"exchange": "ex", "routing_key": "rk"},
        },
        "clocked": {**usual, "rule": {"once": "2031-01-01T00:00:00+00:00"}},
        "one-off": {
            **usual,
            "rule": {"bounded": {"rule": {"every": 300.0}, "once": True}},
            "one_off": True,
        },
    }

    results = moved.shell("""
        from taskq.context import get_current_app
        current_app = get_current_app()
        done, failed, begun = (current_app.AsyncResult(i) for i in ("done", "failed", "begun"))
        print(done.get(timeout=1), done.name, done.args, done.kwargs, done.worker)
        print(repr(failed.get(timeout=1, propagate=False)), failed.traceback, begun.state)
        print([r.id for r in current_app.restore_group("group").results])
    """)
    assert results.splitlines() == [
        "{'sum': [3, None]} work.tasks.add [1, 2] {} w@host",
        "ValueError('no') Traceback: no STARTED",
        "['done', 'failed']",
    ]

    # Once more: nothing is moved twice, and what was edited here stays.
    moved.shell("""
        from taskq.contrib.django.models import PeriodicTask
        PeriodicTask.objects.filter(name="solar").update(enabled=True)
    """)
    said = moved.manage("taskq_migrate_celery", check=False)
    assert "periodic tasks: 0 moved, 7 left out, 2 cannot be moved" in said
    assert "results: 0 moved, 3 left out, 1 cannot be moved" in said
    assert "groups: 0 moved, 1 left out" in said
    assert json.loads(moved.shell(LOOK))["solar"]["enabled"] is True


def test_without_their_tables_there_is_nothing_to_move(project: Project) -> None:
    project.set(TASKQ_RESULT_BACKEND="django-db", TASKQ_BEAT_SCHEDULER="django")
    project.manage("migrate", "--run-syncdb", "-v0")
    said = project.manage("taskq_migrate_celery")
    assert "periodic tasks: 0 moved, 0 left out, 0 cannot be moved" in said
    assert "results" not in project.manage("taskq_migrate_celery", "--only", "schedule")


def test_the_clean_up_command(project: Project) -> None:
    project.set(TASKQ_RESULT_BACKEND="django-db", TASKQ_RESULT_EXPIRES=3600)
    project.manage("migrate", "--run-syncdb", "-v0")
    project.shell("""
        from datetime import timedelta
        from django.utils import timezone
        from taskq.contrib.django.models import TaskResult
        now = timezone.now()
        for hours in (0, 2, 3):
            then = now - timedelta(hours=hours)
            TaskResult.objects.create(task_id=hours, state="SUCCESS", created=then, changed=then)
    """)
    assert project.manage("taskq_cleanup") == "deleted: 2\n"
    assert project.manage("taskq_cleanup") == "deleted: 0\n"
