"""Connections around tasks, with PostgreSQL, which tells who is connected."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.django.projects import Project
from tests.waiting import wait_until

TASKS = """\
import os
from asgiref.sync import sync_to_async
from django.db import connection, connections
from taskq import shared_task
import work

def ask():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]

@shared_task
def who():
    return os.getpid(), ask(), work.PARENTS

@shared_task
async def awho():
    return os.getpid(), await sync_to_async(ask)(), work.PARENTS

@shared_task
def queries():
    ask()
    return len(connection.queries)
"""
# The worker's parent is connected before it has children: to this.
WORK = "PARENTS = None\n"
APPS = """\
from django.apps import AppConfig

class WorkConfig(AppConfig):
    name = "work"

    def ready(self):
        import work
        from work.tasks import ask
        work.PARENTS = ask()
"""

MakeProject = Callable[..., Project]


@pytest.fixture
def make_project(tmp_path: Path, postgresql_url: str) -> Iterator[MakeProject]:
    projects = []

    def make(options: dict[str, Any] | None = None, **database: Any) -> Project:
        project = Project(tmp_path)
        projects.append(project)
        where = urlsplit(postgresql_url)
        default = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": where.path.strip("/"),
            "USER": where.username,
            "HOST": where.hostname,
            "PORT": where.port,
            "OPTIONS": {"application_name": "proj", **(options or {})},
            **database,
        }
        project.set(DATABASES={"default": default})
        project.write("work/__init__.py", WORK)
        project.write("work/apps.py", APPS)
        project.write("work/tasks.py", TASKS)
        return project

    yield make
    for project in projects:
        project.close()


class Server:
    """The server, as its own tables show it."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)

    def pids(self) -> set[int]:
        """Who is connected: the project's, by the pids of the server's processes."""
        query = (
            "SELECT pid FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'proj'"
        )
        return {row[0] for row in self._connection.execute(query).fetchall()}

    def cut_off(self) -> None:
        """End all connections of the project."""
        for pid in self.pids():
            self._connection.execute("SELECT pg_terminate_backend(%s)", [pid])
        wait_until(lambda: not self.pids(), 10, "the end of the connections")

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def server(postgresql_url: str) -> Iterator[Server]:
    server = Server(postgresql_url)
    yield server
    server.close()


def call(project: Project, task: str, times: int) -> list[Any]:
    """Call a task so many times at once; the project's own connections end with the call."""
    out = project.shell(f"""
        import json
        from taskq import group
        from work import tasks
        print(json.dumps(group(tasks.{task}.s() for _ in range({times})).apply_async().get(20)))
    """)
    found: list[Any] = json.loads(out.splitlines()[-1])
    return found


@pytest.mark.parametrize("pool", ["prefork", "threads", "asyncio", "gevent", "solo"])
def test_nothing_stays_open_and_nothing_is_shared(
    make_project: MakeProject, server: Server, pool: str
):
    project = make_project()
    worker = project.worker("-P", pool, "-c", "2")
    if pool != "solo":
        assert "children start afresh" not in worker.output
    # Green threads are one thread to Django, which refuses queries where an event loop runs.
    for task in ("who",) if pool == "gevent" else ("who", "awho"):
        for process, connection, parents in call(project, task, 4):
            assert connection != parents, f"{process} has its parent's connection"
    wait_until(lambda: not server.pids(), 10, "the end of all connections")
    assert worker.stop() == 0


def test_persistent_connections_are_kept_and_mended(make_project: MakeProject, server: Server):
    project = make_project(CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True)
    worker = project.worker("-c", "1")
    [(process, first, parents)] = call(project, "who", 1)
    assert {connection for _, connection, _ in call(project, "who", 3)} == {first}
    assert first != parents
    server.cut_off()
    [(again, second, _)] = call(project, "who", 1)
    assert second != first
    assert again == process
    assert worker.stop() == 0


def test_old_connections_are_closed(make_project: MakeProject, server: Server):
    project = make_project(CONN_MAX_AGE=0)
    worker = project.worker("-c", "1")
    assert len({connection for _, connection, _ in call(project, "who", 3)}) == 3
    assert worker.stop() == 0


@pytest.mark.parametrize("pool", ["prefork", "threads", "asyncio"])
def test_pools_of_connections(make_project: MakeProject, server: Server, pool: str):
    project = make_project({"pool": {"min_size": 1, "max_size": 2, "timeout": 10}})
    worker = project.worker("-P", pool, "-c", "4", "--processes", "1")
    # Its threads were there in the parent, and ended before it had children.
    assert "children start afresh" not in worker.output
    for task in ("who", "awho"):
        for _, connection, parents in call(project, task, 8):
            assert connection != parents
    # All were given back: otherwise the next ones would wait in vain.
    assert len(call(project, "who", 4)) == 4
    assert worker.stop() == 0


def test_the_log_of_queries_begins_anew(make_project: MakeProject):
    project = make_project(CONN_MAX_AGE=None)
    project.set(DEBUG=True)
    worker = project.worker("-c", "1")
    assert call(project, "queries", 3) == [1, 1, 1]
    assert worker.stop() == 0
