"""The example of a Django project, as somebody runs it who follows its README."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

from tests.cli.processes import Running
from tests.django.projects import Commands
from tests.examples.pages import PATIENCE
from tests.servers import HOST, free_ports

EXAMPLE = Path(__file__).parents[2] / "examples" / "django"
MADE = ("__pycache__", "db.sqlite3*", "taskq.db*", "media", "mail")


class Gallery(Commands):
    """A copy of the example, with its commands.

    Attributes:
        url: of the web server, once it is started.
    """

    url = ""

    def __init__(self, folder: Path) -> None:
        shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(*MADE))
        super().__init__(folder, "gallery")

    def run(self, start: str, *more: str) -> str:
        """Run a command of the README to its end; returns what it writes.

        Args:
            start: how it begins, after ``python manage.py``.
            more: of its command line.
        """
        return self.manage(*_command(start), *more)

    def begin(self, start: str, *more: str, ready: str) -> Running:
        """Start a command of the README that goes on.

        Args:
            start: how it begins, after ``python manage.py``.
            more: of its command line.
            ready: what it writes when it is.
        """
        running = self.start(sys.executable, "manage.py", *_command(start), *more)
        running.wait_for(ready, PATIENCE)
        return running

    def serve(self) -> None:
        """Start the web server, on a port of its own."""
        (port,) = free_ports(1)
        self.begin("runserver", "--noreload", f"{HOST}:{port}", ready="Quit the server")
        self.url = f"http://{HOST}:{port}/"


def _command(start: str) -> list[str]:
    readme = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(rf"^python manage\.py ({re.escape(start)}\b.*)$", readme, re.MULTILINE)
    return shlex.split(command)
