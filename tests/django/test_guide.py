"""The page of the guide: its blocks make up a project, whose own tests pass."""

from __future__ import annotations

import re
from pathlib import Path

from tests.django.projects import Project

PAGE = Path(__file__).parents[2] / "docs/guide/django.md"
URLS = """\
from django.urls import path
from orders.views import buy
urlpatterns = [path("buy/", buy)]
"""


def test_the_project_on_the_page(project: Project):
    project.set(DEBUG=True, ALLOWED_HOSTS=["*"])
    project.add("proj/settings.py", "INSTALLED_APPS = ['django.contrib.contenttypes', 'orders']\n")
    project.write("orders/__init__.py", "")
    project.write("proj/urls.py", URLS)
    for path, code in re.findall(r"^```py\n# (\S+)\n(.*?)^```$", PAGE.read_text(), re.M | re.S):
        project.add(path, code)
    project.manage("migrate", "--run-syncdb", "-v0")
    assert "no issues" in project.manage("check")
    assert "Ran 3 tests" in project.manage("test", "-v0", "orders")
    worker = project.worker("-c", "1")
    out = project.shell("""
        import time
        from django.db import transaction
        from orders.models import Order
        from orders.reports import count_orders
        from orders.tasks import ship
        with transaction.atomic():
            order = Order.objects.create(name="tea")
            result = ship.delay(order.pk)
        print(result.get(timeout=20))
        counted = count_orders.enqueue()
        while not counted.is_finished:
            time.sleep(0.05)
            counted.refresh()
        print(counted.return_value)
    """)
    assert out == "shipped tea\n1\n"
    assert worker.stop() == 0
    assert project.manage("taskq", "outbox", "--once") == "published 0 messages\n"
