"""Django projects in a folder, such as users have them, and the commands that are run in them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.cli.processes import TASKQ, Running

MANAGE = """\
import os, sys
from django.core.management import execute_from_command_line
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")
execute_from_command_line(sys.argv)
"""

SETTINGS = """\
from pathlib import Path
BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = "of a test"
DEBUG = False
USE_TZ = True
TIME_ZONE = "Europe/Paris"
ROOT_URLCONF = "proj.urls"
INSTALLED_APPS = [
    "django.contrib.auth", "django.contrib.contenttypes", "taskq.contrib.django", "work",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""

MODELS = """\
from django.db import models

class Note(models.Model):
    text = models.CharField(max_length=100)
"""

TASKS = """\
from taskq import shared_task
from work.models import Note

@shared_task
def note(text):
    return Note.objects.create(text=text).pk

@shared_task
def add(x, y):
    return x + y
"""


class Commands:
    """The commands that are run in a project's folder.

    Args:
        folder: where it is.
        package: that of its settings.
    """

    def __init__(self, folder: Path, package: str = "proj") -> None:
        self.folder = folder
        self.package = package
        self._running: list[Running] = []

    def write(self, path: str, code: str) -> None:
        """Write a file."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(code))

    def set(self, **settings: Any) -> None:
        """Add settings."""
        with (self.folder / self.package / "settings.py").open("a") as file:
            file.writelines(f"{name} = {value!r}\n" for name, value in settings.items())

    def add(self, path: str, code: str) -> None:
        """Add to a file."""
        with (self.folder / path).open("a") as file:
            file.write(textwrap.dedent(code))

    def manage(self, *arguments: str, check: bool = True) -> str:
        """Run ``manage.py``; returns what it writes."""
        return self._run([sys.executable, "manage.py", *arguments], check)

    def taskq(self, *arguments: str, check: bool = True) -> str:
        """Run ``taskq``; returns what it writes."""
        return self._run([TASKQ, *arguments], check)

    def shell(self, code: str, check: bool = True) -> str:
        """Run a program in the project; returns what it writes."""
        head = (
            "import os, django; "
            f"os.environ.setdefault('DJANGO_SETTINGS_MODULE', '{self.package}.settings'); "
            "django.setup()\n"
        )
        return self._run([sys.executable, "-c", head + textwrap.dedent(code)], check)

    def start(self, *command: str | Path) -> Running:
        """Start a command that goes on."""
        log = self.folder / f"output-{len(self._running)}.log"
        self._running.append(Running(command, self.folder, log))
        return self._running[-1]

    def worker(self, *arguments: str) -> Running:
        """Start a worker by ``manage.py``, and wait until it works."""
        command = ("taskq", "worker", "-l", "INFO", *arguments)
        running = self.start(sys.executable, "manage.py", *command)
        running.wait_for("ready.")
        return running

    def close(self) -> None:
        """Kill what is left of what was started."""
        for running in self._running:
            if running.process.poll() is None:
                running.process.kill()
                running.process.wait()

    def _run(self, command: Sequence[str | Path], check: bool) -> str:
        ended = subprocess.run(
            command,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            env={**os.environ, "COLUMNS": "200"},
        )
        assert not check or ended.returncode == 0, ended.stdout
        return ended.stdout


class Project(Commands):
    """A Django project: the package ``proj``, and the app ``work`` with a model and tasks.

    Args:
        folder: where it is made.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.write("manage.py", MANAGE)
        self.write("proj/__init__.py", "")
        self.write("proj/urls.py", "urlpatterns = []")
        self.write("proj/settings.py", SETTINGS)
        self.write("work/__init__.py", "")
        self.write("work/models.py", MODELS)
        self.write("work/tasks.py", TASKS)
