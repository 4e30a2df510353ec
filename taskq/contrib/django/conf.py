"""Django's settings: ``TASKQ_…`` are taskq's, and ``CELERY_…`` of those who move are understood."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.conf import settings

from taskq.exceptions import ImproperlyConfigured
from taskq.settings import SETTINGS, Layer
from taskq.settings.conversion import convert
from taskq.settings.names import suggestion

if TYPE_CHECKING:
    from taskq.app import TaskQ

NAMESPACES = ("CELERY_", "TASKQ_")
"""How the settings begin, the weaker first."""
APP = "TASKQ_APP"
"""The setting that names the project's app, as ``-A`` does, where nobody would find it."""


class Problem(NamedTuple):
    """Something wrong with a setting.

    Attributes:
        kind: ``unknown``, ``conflict`` or ``value``.
        name: Django's setting.
        text: what is wrong.
        hint: what to do.
    """

    kind: str
    name: str
    text: str
    hint: str

    @property
    def is_harmless(self) -> bool:
        """Other packages have settings that begin like Celery's."""
        return self.kind == "unknown" and self.name.startswith("CELERY_")


class Found(NamedTuple):
    """What Django's settings say.

    Attributes:
        values: taskq's settings: Django's name and the value, by taskq's name.
        problems: what is wrong.
    """

    values: dict[str, tuple[str, Any]]
    problems: list[Problem]


def read() -> Found:
    """Read Django's settings."""
    values: dict[str, tuple[str, Any]] = {}
    problems = []
    names = [name for name in dir(settings) if name.isupper() and name != APP]
    for prefix in NAMESPACES:
        for full in names:
            if not full.startswith(prefix):
                continue
            value, name = getattr(settings, full), full.removeprefix(prefix).lower()
            problem = _problem(full, name, value)
            if problem is None and name in values and values[name][1] != value:
                problem = _conflict(full, values[name][0])
            if problem is None:
                values[name] = full, value
            else:
                problems.append(problem)
    return Found(values, problems)


def load(app: TaskQ) -> None:
    """Give an app Django's settings, beneath what it has been told itself."""
    for name, (full, value) in read().values.items():
        if Layer.LOADED not in app.conf.layers(name):
            app.conf.load({name: value}, f"Django's {full}")
    app.conf.add_defaults({"timezone": settings.TIME_ZONE}, "Django's TIME_ZONE")
    if (app.conf.result_backend or "").partition("://")[0] == "django-db":
        # The admin shows whose results they are, and sends a call again.
        app.conf.add_defaults({"result_extended": True}, "the result store django-db")
    if folder := getattr(settings, "BASE_DIR", None):
        # The same file for every process of the project, wherever it is started.
        place = {"broker_url": f"sqlite:///{folder}/taskq.db"}
        app.conf.add_defaults(place, "Django's BASE_DIR")


def errors() -> list[Problem]:
    """What is wrong and must be mended before anything is sent or run."""
    return [problem for problem in read().problems if not problem.is_harmless]


def refuse_errors() -> None:
    """Raise what is wrong with Django's settings.

    Raises:
        ImproperlyConfigured: something is.
    """
    if found := errors():
        raise ImproperlyConfigured(" ".join(f"{each.text} {each.hint}" for each in found))


class Overrides:
    """Follows ``override_settings`` in tests.

    Args:
        app: whose settings follow.
    """

    def __init__(self, app: TaskQ) -> None:
        self._app = app
        self._depth: dict[str, int] = {}

    def follow(self, *, setting: str, value: Any, enter: bool, **kwargs: Any) -> None:
        """A receiver of Django's signal ``setting_changed``."""
        name = next((setting[len(p) :].lower() for p in NAMESPACES if setting.startswith(p)), "")
        if name not in SETTINGS:
            return
        depth = self._depth[name] = self._depth.get(name, 0) + (1 if enter else -1)
        if depth > 0:
            self._app.override({name: value}, f"Django's {setting}, overridden")
        else:
            self._app.restore([name])


def _problem(full: str, name: str, value: Any) -> Problem | None:
    if name not in SETTINGS:
        near = suggestion(name, cutoff=0.7)
        prefix = full[: -len(name)]
        hint = f"Did you mean {prefix}{near.upper()}?" if near else "See `taskq settings --all`."
        return Problem("unknown", full, f"{full} is no setting of taskq.", hint)
    try:
        convert(SETTINGS[name], value, f"Django's {full}")
    except ImproperlyConfigured as exc:
        return Problem("value", full, f"{full}: {exc}.", "Give a value of that kind.")
    return None


def _conflict(full: str, other: str) -> Problem:
    text = f"{other} and {full} are both set, and differ."
    return Problem("conflict", full, text, f"Remove {other}.")
