"""Projects as users have them, and the commands that find their app."""

from __future__ import annotations

import sys

import pytest

from tests.cli.processes import TASKQ
from tests.django.projects import Project

CELERYS_LAYOUT = """\
import os
from taskq import TaskQ
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")
app = TaskQ("made-here")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""


def test_one_line_in_installed_apps_is_enough(project: Project):
    project.manage("migrate", "--run-syncdb", "-v0")
    worker = project.worker("-c", "1")
    out = project.shell("""
        from work.tasks import note
        from work.models import Note
        key = note.delay("hello").get(timeout=20)
        print(Note.objects.get(pk=key).text)
    """)
    assert out.strip() == "hello"
    assert (project.folder / "taskq.db").exists()
    assert worker.stop() == 0


def test_a_worker_that_taskq_starts_sets_django_up(project: Project):
    project.manage("migrate", "--run-syncdb", "-v0")
    worker = project.start(TASKQ, "-A", "proj", "worker", "-c", "1", "-l", "INFO")
    worker.wait_for("ready.")
    assert project.taskq("-A", "proj", "call", "work.tasks.note", "--args", '["hi"]')
    worker.wait_for("succeeded in")
    assert project.shell("from work.models import Note; print(Note.objects.get().text)") == "hi\n"


def test_the_app_in_the_projects_package_is_the_projects(project: Project):
    project.write("proj/taskq.py", CELERYS_LAYOUT)
    project.set(CELERY_BROKER_URL="memory://", CELERY_TASK_TRACK_STARTED=True)
    report = project.taskq("-A", "proj", "settings")
    assert "memory://" in report
    assert "Europe/Paris" in report
    assert "work.tasks.note" in project.taskq("-A", "proj", "list", "tasks")
    code = "from work.tasks import add; print(add.app.main, add.app.conf.task_track_started)"
    assert project.shell(code) == "made-here True\n"


def test_a_setting_names_the_app_where_nobody_would_find_it(project: Project):
    project.write("config/queue.py", CELERYS_LAYOUT)
    project.set(TASKQ_APP="config.queue:app")
    out = project.shell("from work.tasks import add; print(add.app.main)")
    assert out == "made-here\n"
    assert "work.tasks.add" in project.manage("taskq", "list", "tasks")


def test_tasks_in_processes_that_load_the_app_for_themselves(project: Project):
    # A thread that an app starts keeps children from being copies.
    project.add("work/models.py", "import threading\nE = threading.Event()\n")
    project.add("work/models.py", "threading.Thread(target=E.wait, daemon=True).start()\n")
    worker = project.start(sys.executable, "manage.py", "taskq", "worker", "-c1", "-lINFO")
    worker.wait_for("ready.")
    code = "from work.tasks import add; print(add.delay(1, 2).get(timeout=20))"
    assert project.shell(code) == "3\n"
    assert "children start afresh" in worker.output


def test_an_app_that_does_not_say_where_the_settings_are(project: Project):
    project.write("proj/taskq.py", "from taskq import TaskQ\napp = TaskQ('made-here')\n")
    assert "work.tasks.note" in project.taskq("-A", "proj.taskq:app", "list", "tasks")


def test_the_short_name_in_installed_apps(project: Project):
    settings = project.folder / "proj/settings.py"
    settings.write_text(settings.read_text().replace('"taskq.contrib.django"', '"taskq"'))
    assert "No changes detected" in project.manage("makemigrations", "taskq", "--check")
    assert "work.tasks.note" in project.manage("taskq", "list", "tasks")
    project.set(TASKQ_RESULT_BACKEND="django-db")
    code = "from work.tasks import add; print(add.app.backend.database.alias)"
    assert project.shell(code) == "default\n"


class TestMistakes:
    def test_results_without_their_table(self, project: Project):
        project.set(TASKQ_RESULT_BACKEND="django-db")
        assert "taskq.W007" in project.manage("taskq", "list", "tasks")
        assert "taskq.W007" not in project.manage("migrate", "-v", "0")
        assert "taskq.W007" not in project.manage("taskq", "list", "tasks")
        engine = "django.db.backends.sqlite3"
        project.set(DATABASES={"default": {"ENGINE": engine, "NAME": "no/such/folder.db"}})
        assert "work.tasks.add" in project.manage("taskq", "list", "tasks")

    def test_an_outbox_without_its_table(self, project: Project):
        project.set(TASKQ_OUTBOX=True)
        assert "taskq.W005" in project.manage("taskq", "list", "tasks")
        told = project.manage("taskq", "worker", "-c", "1", check=False)
        assert "`manage.py migrate`" in told
        assert "Traceback" not in told
        engine = "django.db.backends.sqlite3"
        project.set(DATABASES={"default": {"ENGINE": engine, "NAME": "no/such/folder.db"}})
        told = project.manage("taskq", "worker", "-c", "1", check=False)
        assert "folder.db): unable to open database file" in told
        assert "Traceback" not in told
        project.set(INSTALLED_APPS=["work"])
        told = project.taskq("-A", "proj", "list", "tasks", check=False)
        assert "add 'taskq.contrib.django' to INSTALLED_APPS" in told

    def test_a_misspelt_setting(self, project: Project):
        project.set(TASKQ_BROKR_URL="redis://queue")
        told = project.manage("check", check=False)
        assert "(taskq.E001) TASKQ_BROKR_URL is no setting of taskq." in told
        assert "Did you mean TASKQ_BROKER_URL?" in told
        refused = project.manage("taskq", "list", "tasks", check=False)
        assert "taskq.E001" in refused
        assert "Traceback" not in refused
        told = project.taskq("-A", "proj", "worker", check=False)
        assert "TASKQ_BROKER_URL" in told
        assert "Traceback" not in told
        told = project.shell("from work.tasks import add; add.delay(1, 2)", check=False)
        assert "ImproperlyConfigured: TASKQ_BROKR_URL is no setting" in told

    def test_settings_that_cannot_be_imported(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "nowhere.settings")
        told = project.taskq("-A", "proj", "list", "tasks", check=False)
        assert "DJANGO_SETTINGS_MODULE='nowhere.settings'" in told
        assert "Traceback" not in told

    def test_an_app_that_is_not_there(self, project: Project):
        project.set(TASKQ_APP="proj.nothing")
        told = project.manage("check", check=False)
        assert "proj has no 'nothing'" in told
        project.set(TASKQ_APP="proj.urls")
        assert "no TaskQ object is in it" in project.manage("check", check=False)


DJANGOS_TASKS = """\
import os, signal
from pathlib import Path
try:
    from django.tasks import task
except ImportError:
    from django_tasks import task

@task(takes_context=True)
def die_once(context, mark):
    if not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return context.attempt
"""


@pytest.mark.parametrize("pool", ["prefork", "asyncio"])
def test_djangos_own_tasks(project: Project, pool: str):
    project.set(
        TASKS={"default": {"BACKEND": "taskq.contrib.django.tasks.TaskqBackend"}},
        TASKQ_BROKER_LEASE=2,
    )
    project.write("work/tasks.py", DJANGOS_TASKS)
    project.write("work/models.py", "from work import tasks\n")  # before there is an app
    worker = project.worker("-P", pool, "-c", "1")
    out = project.shell("""
        import time
        from work.tasks import die_once
        result = die_once.enqueue("mark")
        while not result.is_finished:
            time.sleep(0.05)
            result.refresh()
        print(result.status, result.return_value, result.attempts, len(set(result.worker_ids)))
    """)
    assert out == "SUCCESSFUL 2 2 1\n"
    assert worker.stop() == 0
