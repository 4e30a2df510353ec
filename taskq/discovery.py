"""Finding modules: those that hold tasks, and the app that a command line names."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from taskq.exceptions import ImproperlyConfigured

APP_MODULES = ("taskq", "app", "tasks", "celery")
"""Modules of a package in which an app is looked for."""
APP_NAMES = ("app", "taskq", "celery")
"""Names under which an app is looked for in a module."""
DJANGO_SETTINGS = "DJANGO_SETTINGS_MODULE"
"""The environment variable that says where the settings of a Django project are."""


def import_modules(names: Iterable[str]) -> None:
    """Import modules that hold tasks.

    Raises:
        ImproperlyConfigured: one of them does not exist.  An error in a module that
            does comes through as it is.
    """
    for name in names:
        import_module(name, "the settings imports and include name modules that hold tasks")


def import_module(name: str, advice: str) -> ModuleType:
    """Import a module, and say clearly if it is not there.

    Raises:
        ImproperlyConfigured: there is no such module.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not (name == exc.name or name.startswith(exc.name + ".")):
            raise  # it exists, and imports something that does not
        raise ImproperlyConfigured(
            f"there is no module {exc.name!r} (for {name!r}): {advice}; looked in "
            f"{os.getcwd()} and on sys.path"
        ) from exc


def import_related(packages: Iterable[str], related_name: str | None) -> None:
    """Import one module of each package, where there is one.

    Args:
        packages: package names.
        related_name: the module to look for; None imports the packages alone.

    Raises:
        ImproperlyConfigured: one of the packages does not exist.
    """
    for package in packages:
        parent = import_module(package, "autodiscover_tasks takes names of packages")
        if related_name is not None and hasattr(parent, "__path__"):
            name = f"{package}.{related_name}"
            if importlib.util.find_spec(name) is not None:
                importlib.import_module(name)


def find_app(text: str) -> Any:
    """The app that ``-A`` names: ``proj``, ``proj.app``, ``proj:app`` or ``proj.module``.

    Raises:
        ImproperlyConfigured: there is no such module, or no app in it.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    root = text.partition(":")[0].partition(".")[0]
    if DJANGO_SETTINGS not in os.environ and _has_django_settings(root):
        os.environ[DJANGO_SETTINGS] = f"{root}.settings"
    if DJANGO_SETTINGS in os.environ:
        _django().set_up()
    app = _look_up(text)
    if DJANGO_SETTINGS in os.environ:  # perhaps only since the app's module has been imported
        return _django().settled(app)
    return _found(app, text)


def named_app(text: str) -> Any:
    """The app that a text names, as for `find_app`, and nothing more.

    Raises:
        ImproperlyConfigured: there is no such module, or no app in it.
    """
    return _found(_look_up(text), text)


def _found(app: Any, text: str) -> Any:
    if app is None:
        raise _no_app(text, "no TaskQ object is in it")
    return app


def _django() -> ModuleType:
    """The bridge to Django, which is loaded in Django's projects alone."""
    from taskq.contrib.django import project

    return project


def _has_django_settings(package: str) -> bool:
    """Is it the package of a Django project?  Nothing of it is imported, for Django goes first."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return False
    for folder in (spec and spec.submodule_search_locations) or ():
        path = os.path.join(folder, "settings.py")
        if os.path.isfile(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                return "INSTALLED_APPS" in file.read()
    return False


def _look_up(text: str) -> Any:
    """The app that a text names; None if the module is there, and no app in it."""
    module_name, _, attribute = text.partition(":")
    advice = "-A names a module or package with a TaskQ app in it"
    module, rest = _longest_module(module_name, advice)
    for name in filter(None, [*rest, *attribute.split(".")]):
        try:
            module = getattr(module, name)
        except AttributeError:
            raise _no_app(text, f"{getattr(module, '__name__', module)} has no {name!r}") from None
    if not isinstance(module, ModuleType):
        if _is_app(module):
            return module
        raise _no_app(text, f"it is a {type(module).__name__}")
    found = app_in(module)
    if found is None and hasattr(module, "__path__"):
        for name in APP_MODULES:
            full = f"{module.__name__}.{name}"
            if importlib.util.find_spec(full) is not None:
                found = app_in(importlib.import_module(full))
                if found is not None:
                    break
    return found


def _longest_module(dotted: str, advice: str) -> tuple[Any, list[str]]:
    """Import as much of a dotted name as is a module; what is left are attributes."""
    parts = dotted.split(".")
    if not all(parts):
        raise ImproperlyConfigured(f"-A {dotted!r}: {advice}")
    for count in range(len(parts), 0, -1):
        name = ".".join(parts[:count])
        try:
            return importlib.import_module(name), parts[count:]
        except ModuleNotFoundError as exc:
            if exc.name is None or not (name == exc.name or name.startswith(exc.name + ".")):
                raise  # it exists, and imports something that does not
            if count == 1:
                near = _similar_modules(name)
                hint = f"; did you mean {near}?" if near else ""
                raise ImproperlyConfigured(
                    f"-A {dotted}: there is no module {name!r} in {os.getcwd()} or on "
                    f"sys.path{hint} ({advice})"
                ) from exc
    raise ImproperlyConfigured(f"-A {dotted!r}: {advice}")


def _similar_modules(name: str) -> str:
    # difflib is imported here since only mistakes need it.
    from difflib import get_close_matches

    here = [
        entry.removesuffix(".py")
        for entry in os.listdir()
        if entry.endswith(".py") or os.path.isfile(os.path.join(entry, "__init__.py"))
    ]
    return " or ".join(repr(near) for near in get_close_matches(name, here, n=2))


def app_in(module: ModuleType) -> Any:
    """The app that is in a module, by one of the usual names or any other; or None."""
    for name in APP_NAMES:
        if _is_app(candidate := getattr(module, name, None)):
            return candidate
    return next((value for value in vars(module).values() if _is_app(value)), None)


def _is_app(value: Any) -> bool:
    """By what it can do: this module lies below the app's own."""
    return not isinstance(value, type) and all(
        hasattr(value, name) for name in ("conf", "tasks", "send_task", "load_modules")
    )


def _no_app(text: str, reason: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"-A {text}: found no app: {reason}.  Make one with app = TaskQ('proj'), and name it as "
        "-A module, -A module:app or -A package.module"
    )
