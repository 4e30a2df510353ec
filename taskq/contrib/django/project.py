"""The app of a Django project: finding it, making it, and making it at home there."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterator

import django
from django.apps import apps
from django.conf import settings
from django.core.signals import setting_changed

from taskq import context, discovery, signals
from taskq.app import TaskQ
from taskq.contrib.django import conf
from taskq.contrib.django.connections import Connections, close_all
from taskq.contrib.django.eager import DjangoEager
from taskq.discovery import DJANGO_SETTINGS
from taskq.exceptions import ImproperlyConfigured
from taskq.message import TaskMessage
from taskq.middleware import Middleware

NAME = "taskq.contrib.django"
"""As it stands in ``INSTALLED_APPS``."""


def set_up() -> None:
    """Set Django up, once, with the settings that the environment names.

    Raises:
        ImproperlyConfigured: there are no such settings.
    """
    if apps.ready:
        return
    name = os.environ[DJANGO_SETTINGS]
    try:
        django.setup()
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{name}.".startswith(f"{exc.name}."):
            raise  # they are there, and import something that is not
        raise ImproperlyConfigured(
            f"{DJANGO_SETTINGS}={name!r}: there is no module {exc.name!r} in {os.getcwd()} or on "
            "sys.path; work in the folder of manage.py, or unset it if this is no Django project"
        ) from exc


def settled(app: TaskQ | None) -> TaskQ:
    """An app of the project that is at home there, for those who have a user before them.

    Args:
        app: it; None means the project's own.

    Raises:
        ImproperlyConfigured: the project's settings are wrong.
    """
    set_up()
    app = app or find() or make()
    attach(app)
    conf.refuse_errors()
    if app.conf.outbox and not apps.is_installed(NAME):
        raise ImproperlyConfigured(
            f"TASKQ_OUTBOX needs the tables of taskq: add {NAME!r} to INSTALLED_APPS"
        )
    return app


def find() -> TaskQ | None:
    """The app that the project has made itself: where TASKQ_APP says, in its package, or anywhere.

    Raises:
        ImproperlyConfigured: there is none where TASKQ_APP says.
    """
    if spec := getattr(settings, conf.APP, None):
        found: TaskQ = discovery.named_app(spec)
        return found
    for package in _packages():
        module = importlib.import_module(package)
        if (app := discovery.app_in(module)) is not None:
            return app  # type: ignore[no-any-return]  # it is found by what it can do
        if hasattr(module, "__path__") and importlib.util.find_spec(f"{package}.taskq") is not None:
            app = discovery.app_in(importlib.import_module(f"{package}.taskq"))
            if app is not None:
                return app  # type: ignore[no-any-return]
    return context.get_current_app() if context.has_current_app() else None


def make() -> TaskQ:
    """The app of a project that has made none."""
    return TaskQ(next(_packages(), None))


def app_spec() -> str | None:
    """The project's app as ``-A`` names it; None if the settings came from no module."""
    spec = getattr(settings, conf.APP, None)
    return spec or next(_packages(), None)


def attach(app: TaskQ) -> None:
    """Make an app at home in the project; a second time changes nothing."""
    if any(isinstance(each, Connections) for each in app.middleware.executing):
        return
    app.add_middleware(Connections())
    app.eager = DjangoEager()
    conf.load(app)
    if found := conf.errors():
        # Checks tell them better than a traceback of every command would; but nothing is sent
        # to a place that a misspelt setting was to name.
        app.add_middleware(_Refusing(found))
    overrides = conf.Overrides(app)
    setting_changed.connect(overrides.follow, weak=False)
    if apps.is_installed(NAME):
        _add_outbox(app)
    app.packages = _installed
    app.autodiscover_tasks()
    # Children that are programs of their own may connect as well, while they load the app.
    for signal in (signals.worker_before_create_process, signals.worker_process_init):
        signal.connect(close_all, weak=False, dispatch_uid=NAME)


def _add_outbox(app: TaskQ) -> None:
    # Its models are there only where the Django app is installed.
    from taskq.contrib.django.outbox import Outbox, RelayService

    outbox = Outbox(app)
    app.add_middleware(outbox)
    app.commits_with = outbox.commits_with  # type: ignore[method-assign]
    app.services.add(RelayService)


class _Refusing(Middleware):
    """Sends nothing while settings are wrong."""

    def __init__(self, problems: list[conf.Problem]) -> None:
        self._problems = problems

    def on_message(self, message: TaskMessage) -> None:
        conf.refuse_errors()


def _packages() -> Iterator[str]:
    """The packages around the module of settings, the innermost first."""
    parts = str(getattr(settings, "SETTINGS_MODULE", None) or "").split(".")
    if len(parts) == 1 and parts[0]:
        yield parts[0]
    for count in range(len(parts) - 1, 0, -1):
        yield ".".join(parts[:count])


def _installed() -> list[str]:
    """The packages of installed apps, in which tasks are looked for."""
    return [config.name for config in apps.get_app_configs() if config.name != NAME]
