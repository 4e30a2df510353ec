"""The outbox of a Django project, whose processes are killed at the worst moments."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.django.projects import Project
from tests.servers import RedisServer, VirtualHost
from tests.waiting import wait_until

# A process that is told so by the environment kills itself at a given moment.
APPS = """\
import os, signal
from django.apps import AppConfig

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

class WorkConfig(AppConfig):
    name = "work"

    def ready(self):
        from taskq.contrib.django.outbox.table import Table
        from taskq.contrib.django.outbox.writing import Outbox
        if os.environ.get("DIE") == "committed":
            Outbox._committed = die
        if os.environ.get("DIE") == "published":
            Table.delete = die
"""
LEASE = 2

on = partial(pytest.mark.parametrize, "project", indirect=True)
"""Run a test with these: a database, and a broker."""
everywhere = on(["sqlite-sqlite", "postgresql-redis", "postgresql-rabbitmq"])


@pytest.fixture
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Project]:
    """A project with an outbox, on each kind of database and broker."""
    database, broker = request.param.split("-")
    project = Project(tmp_path)
    project.write("work/apps.py", APPS)
    project.set(TASKQ_OUTBOX=True, TASKQ_BROKER_LEASE=LEASE)
    if database == "postgresql":
        where = urlsplit(request.getfixturevalue("postgresql_url"))
        postgresql = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": where.path.strip("/"),
            "USER": where.username,
            "HOST": where.hostname,
            "PORT": where.port,
        }
        project.set(DATABASES={"default": postgresql})
    if broker == "redis":
        redis: RedisServer = request.getfixturevalue("redis")
        project.set(TASKQ_BROKER_URL=redis.url)
    if broker == "rabbitmq":
        host: VirtualHost = request.getfixturevalue("rabbitmq")
        store = f"sqlite:///{tmp_path}/results.db"
        project.set(TASKQ_BROKER_URL=host.url, TASKQ_RESULT_BACKEND=store)
    project.manage("migrate", "--run-syncdb", "-v0")
    yield project
    project.close()


def send(*texts: str, fate: str = "") -> str:
    """A program that has tasks sent in a transaction."""
    return f"""
        from django.db import transaction
        from work.tasks import note
        with transaction.atomic():
            for text in {texts!r}:
                note.delay(text)
            {fate or "pass"}
    """


def state(project: Project) -> tuple[list[str], int]:
    """What tasks have noted, and how many messages are in the outbox."""
    out = project.shell("""
        from work.models import Note
        from taskq.contrib.django.models import OutboxMessage
        print(*Note.objects.order_by("text").values_list("text", flat=True))
        print(OutboxMessage.objects.count())
    """)
    noted, left = out.split("\n")[:2]
    return noted.split(), int(left)


def wait_for(project: Project, noted: list[str]) -> None:
    wait_until(lambda: state(project) == (noted, 0), 30, f"{noted}, and an empty outbox")


@on(["sqlite-sqlite"])
def test_a_rollback_and_a_commit(project: Project):
    worker = project.worker("-c", "1")
    project.shell(send("never", fate="transaction.set_rollback(True)"))
    project.shell(send("a", "b"))
    wait_for(project, ["a", "b"])
    assert worker.stop() == 0


@on(["sqlite-sqlite", "postgresql-redis"])
def test_a_death_between_commit_and_publishing(project: Project, monkeypatch: pytest.MonkeyPatch):
    worker = project.worker("-c", "1")
    monkeypatch.setenv("DIE", "committed")
    project.shell(send("a", "b"), check=False)
    monkeypatch.delenv("DIE")
    wait_for(project, ["a", "b"])
    assert worker.stop() == 0


@everywhere
def test_a_death_between_publishing_and_deleting(project: Project, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DIE", "published")
    project.shell(send("a", "b"), check=False)
    assert state_of_dead(project, monkeypatch) == ([], 2)
    # The next one publishes it again, and dies as well.
    monkeypatch.setenv("DIE", "published")
    relay = project.start(sys.executable, "manage.py", "taskq", "outbox")
    assert relay.process.wait(20) == -signal.SIGKILL
    assert state_of_dead(project, monkeypatch) == ([], 2)
    worker = project.worker("-c", "1")
    wait_for(project, ["a", "b"])
    assert worker.stop() == 0
    assert state(project) == (["a", "b"], 0)


def state_of_dead(project: Project, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], int]:
    monkeypatch.delenv("DIE")
    return state(project)


@on(["postgresql-redis"])
def test_a_database_that_cuts_everybody_off(project: Project, monkeypatch: pytest.MonkeyPatch):
    worker = project.worker("-c", "1")
    project.shell("""
        from django.db import connection
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
    """)
    monkeypatch.setenv("DIE", "committed")
    project.shell(send("a"), check=False)
    monkeypatch.delenv("DIE")
    wait_for(project, ["a"])
    assert "cannot be emptied" not in worker.output
    assert worker.stop() == 0


@on(["sqlite-sqlite", "postgresql-redis"])
def test_several_relays(project: Project):
    count = 300
    project.shell(f"""
        from django.db import transaction
        from django.utils import timezone
        from work.tasks import note
        from taskq.contrib.django.models import OutboxMessage
        from taskq.contrib.django.outbox.writing import Outbox
        Outbox._committed = lambda *args: None
        with transaction.atomic():
            for number in range({count}):
                note.delay(f"{{number:03}}")
        OutboxMessage.objects.update(claimed_until=timezone.now())
    """)
    command = [sys.executable, "manage.py", "taskq", "outbox", "--once"]
    relays = [
        subprocess.Popen(command, cwd=project.folder, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    told = [relay.communicate(timeout=60)[0] for relay in relays]
    assert sum(int(text.split()[1]) for text in told) == count
    worker = project.worker("-c", "2")
    wait_for(project, [f"{number:03}" for number in range(count)])
    assert worker.stop() == 0
