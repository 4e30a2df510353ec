"""A project with the admin, results and a schedule in its database, as a browser sees it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests.django.projects import Project
from tests.servers import HOST, free_ports
from tests.waiting import wait_until

USER, PASSWORD = "ada", "of a test"
PATIENCE = 60.0

SETTINGS = """\
DEBUG = True
ALLOWED_HOSTS = ["*"]
STATIC_URL = "/static/"
INSTALLED_APPS += [
    "django.contrib.admin", "django.contrib.sessions", "django.contrib.messages",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {"context_processors": [
        "django.template.context_processors.request",
        "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]},
}]
TASKQ_RESULT_BACKEND = "django-db"
TASKQ_BEAT_SCHEDULER = "django"
TASKQ_TASK_TRACK_STARTED = True
TASKQ_BEAT_SCHEDULE = {
    "clear-sessions": {"task": "shop.tasks.clear_sessions", "schedule": "@daily"},
}
"""

TASKS = """\
import time
from taskq import shared_task

class PaymentRefused(Exception):
    pass

@shared_task
def thumbnail(image, width=200):
    time.sleep(0.02)
    return {"image": image, "size": [width, width * 3 // 4]}

@shared_task
def charge(order, amount):
    card = find_card(order)
    return card

def find_card(order):
    raise PaymentRefused(f"order {order}: the card has expired")

@shared_task
def report(day="today", recipients=()):
    return f"{day}: {len(recipients)} sent"

@shared_task
def long(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.05)

@shared_task
def clear_sessions():
    return 0
"""

SCHEDULE = """\
from datetime import UTC, datetime
from taskq.contrib.django.models import PeriodicTask
def add(**columns):
    row = PeriodicTask(**columns)
    row.full_clean()
    row.save()
add(name="morning report", task="shop.tasks.report", kind="crontab", crontab="30 7 * * mon-fri",
    zone="America/New_York", kwargs={"recipients": ["ops@example.com"]}, queue="reports",
    priority=5)
add(name="thumbnails", task="shop.tasks.thumbnail", args=["banner.png"], every=5, period="minutes")
add(name="close the day", task="shop.tasks.report", args=["yesterday"], kind="solar",
    event="sunset", latitude=48.86, longitude=2.35)
add(name="year's end", task="shop.tasks.report", args=["the year"], kind="once",
    moment=datetime(2030, 12, 31, 23, tzinfo=UTC))
add(name="campaign", task="shop.tasks.charge", args=[7, 20], every=1, period="hours",
    start=datetime(2030, 6, 1, tzinfo=UTC), end=datetime(2030, 7, 1, tzinfo=UTC), enabled=False)
"""

CALLS = """\
from shop.tasks import charge, report, thumbnail
sent = [thumbnail.delay(f"photo-{n}.jpg", width=100 * n) for n in range(1, 9)]
sent += [report.delay("2026-11-23", recipients=["ops@example.com", "ada@example.com"])]
sent += [charge.delay(4711, amount=59)]
for each in sent:
    each.get(timeout=30, propagate=False)
print(sent[-1].id)
"""


class AdminProject(Project):
    """The project, with a user who may do everything, and a web server.

    Attributes:
        url: of the admin.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.write("shop/__init__.py", "")
        self.write("shop/tasks.py", TASKS)
        self.add("proj/settings.py", SETTINGS)
        self.add("proj/settings.py", 'INSTALLED_APPS += ["shop"]\n')
        self.write(
            "proj/urls.py",
            "from django.contrib import admin\nfrom django.urls import path\n"
            'urlpatterns = [path("admin/", admin.site.urls)]\n',
        )
        self.manage("migrate", "--run-syncdb", "-v0")
        self.shell(
            "from django.contrib.auth.models import User\n"
            f"User.objects.create_superuser({USER!r}, password={PASSWORD!r})\n{SCHEDULE}"
        )
        self.url = ""

    def serve(self) -> None:
        """Start the web server."""
        (port,) = free_ports(1)
        where = f"{HOST}:{port}"
        # Threads of their own for each request, as behind a real server.
        running = self.start(
            sys.executable, "-W", "ignore", "manage.py", "runserver", "--noreload", where
        )
        running.wait_for("Quit the server")
        self.url = f"http://{where}/admin/"

    def run_calls(self) -> str:
        """Have some tasks run by a worker that is running; the id of one that has failed."""
        return self.shell(CALLS).strip()


class Page:
    """What a person does in the browser.

    Args:
        driver: selenium's.
        url: of the admin.
    """

    def __init__(self, driver: Any, url: str) -> None:
        self.driver = driver
        self.url = url

    def log_in(self) -> None:
        """Log in as the user who may do everything."""
        self.driver.get(self.url)
        self.fill("username", USER)
        self.fill("password", PASSWORD)
        self.click('input[type="submit"]')
        self.wait_for_text("Site administration")

    def go(self, path: str) -> None:
        """Open a page of taskq's."""
        self.driver.get(f"{self.url}taskq/{path}")

    def all(self, selector: str) -> list[Any]:
        """All elements of a selector."""
        found: list[Any] = self.driver.find_elements("css selector", selector)
        return found

    def one(self, selector: str) -> Any:
        """The first element of a selector."""
        return self.driver.find_element("css selector", selector)

    def click(self, selector: str) -> None:
        """Click an element."""
        self.one(selector).click()

    def fill(self, name: str, text: str) -> None:
        """Write into a field."""
        field = self.one(f'[name="{name}"]')
        field.clear()
        field.send_keys(text)

    def choose(self, name: str, value: str) -> None:
        """Choose of a list."""
        self.click(f'select[name="{name}"] option[value="{value}"]')

    @property
    def text(self) -> str:
        """What the page says."""
        # In one step: an element may go with its page before it is asked for its text.
        return str(self.driver.execute_script("return document.body?.innerText ?? ''"))

    def wait_for_text(self, text: str) -> None:
        """Wait until the page says something."""
        wait_until(lambda: text in self.text, PATIENCE, f"the page to say {text!r}")

    def wait_for_rows(self, count: int) -> None:
        """Wait until a list has so many rows."""
        wait_until(
            lambda: len(self.all("#result_list tbody tr")) == count, PATIENCE, f"{count} rows"
        )

    def open_first(self) -> None:
        """Open the page of the first row of a list."""
        self.click("#result_list tbody th a")
        wait_until(
            lambda: not self.all("#result_list") and self.all("#content"), PATIENCE, "a page"
        )

    def act(self, action: str, *names: str) -> None:
        """Do an action with the rows that have these texts in them."""
        for row in self.all("#result_list tbody tr"):
            if any(name in row.text for name in names):
                row.find_element("css selector", "input.action-select").click()
        self.choose("action", action)
        self.click('button[name="index"], .actions button[type="submit"]')
