"""What to tell in a bug report: software, platform and settings, without secrets."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from taskq.settings import Settings
from taskq.stores.urls import hide_password

PACKAGES = (
    "blinker",
    "brotli",
    "click",
    "django",
    "hiredis",
    "kombu",
    "msgspec",
    "pika",
    "pydantic",
    "redis",
    "rich",
    "uvloop",
)
"""What taskq uses if it is there."""


def bugreport(conf: Settings) -> str:
    """Describe software, platform and settings."""
    return "\n".join([*_software(), "", *_places(conf), "", *_settings(conf)])


def _software() -> Iterator[str]:
    # sqlite3 is imported here since only this command asks for its version.
    import sqlite3

    python = f"{platform.python_implementation()} {platform.python_version()}"
    yield f"taskq     {version('taskq')} in {os.path.dirname(__file__)}"
    yield f"Python    {python} ({sys.executable})"
    yield f"platform  {platform.platform()}, {os.cpu_count()} processors"
    yield f"packages  {', '.join(_versions())}, SQLite {sqlite3.sqlite_version}"


def _versions() -> Iterator[str]:
    for name in PACKAGES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            pass


def _places(conf: Settings) -> Iterator[str]:
    results = conf.result_backend
    yield f"broker    {hide_password(conf.broker_url)}"
    yield f"results   {hide_password(results) if results else 'in the broker'}"


def _settings(conf: Settings) -> Iterator[str]:
    changed = conf.changed()
    yield "settings that differ from their defaults:" if changed else "settings: all defaults"
    for name, value in changed.items():
        yield f"  {name} = {value!r}  ({conf.source(name)})"
