from __future__ import annotations

from django.apps import apps
from django.core.management import call_command
from django.test import TestCase

from tests.django.shop.models import Order


def test_that_no_migration_is_missing():
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_one_line_in_installed_apps_is_enough():
    assert apps.get_app_config("taskq").name == "taskq.contrib.django"


class TestDatabases(TestCase):
    databases = frozenset({"default", "other"})

    def test_that_the_tables_are_there(self) -> None:
        Order.objects.create(name="a")
        assert Order.objects.using("other").count() == 0
