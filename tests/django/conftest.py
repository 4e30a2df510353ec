"""Django, set up in the process of the tests, with databases for them.

Nothing of it may reach the other tests, which run in the same process: the settings are given
to Django as they are, not through ``DJANGO_SETTINGS_MODULE``, which programs that are started would
inherit; and the project's app is the current one only while tests of this folder run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from django.apps import apps
from django.conf import settings
from django.test.runner import DiscoverRunner
from django.test.utils import setup_test_environment, teardown_test_environment

from taskq import TaskQ, context
from tests.django import settings as of_tests
from tests.django.projects import Project


def _set_up() -> TaskQ:
    """Set Django up; returns the project's app, which its `AppConfig` has made."""
    before, shared = context._current_app, list(context._shared)
    context.set_current_app(None)
    if not settings.configured:
        settings.configure(**of_tests.copied())
    django.setup()
    # The setup may have been done before, for tests of the conformance suites.
    made: TaskQ = apps.get_app_config("taskq").app  # type: ignore[attr-defined]
    context.set_current_app(made)
    made.load_modules()
    context._shared[:] = shared
    context.set_current_app(before)
    return made


PROJECT_APP = _set_up()


@pytest.fixture(autouse=True)
def project_app() -> Iterator[TaskQ]:
    """The project's app, current for as long as the test runs."""
    before = context._current_app
    context.set_current_app(PROJECT_APP)
    yield PROJECT_APP
    context.set_current_app(before)


@pytest.fixture(scope="session", autouse=True)
def databases() -> Iterator[None]:
    """Databases with all tables; a test that writes is a `TestCase`, or takes ``db``."""
    setup_test_environment(debug=False)
    runner = DiscoverRunner(verbosity=0, interactive=False)
    # Not those that tests of the conformance suites have added, whose servers may be gone.
    made: Any = runner.setup_databases(aliases=set(of_tests.DATABASES))
    yield
    runner.teardown_databases(made)
    teardown_test_environment()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A project in a folder of its own; what runs in it ends with the test."""
    project = Project(tmp_path)
    yield project
    project.close()
