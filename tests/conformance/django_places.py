"""Databases and caches of Django's, as the conformance suites use them: by URL.

A URL ``django-db+postgresql://…`` stands for a database with taskq's tables in it, which gets
an alias of its own in whichever process opens it.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django
from django.conf import settings

from taskq import context
from tests.django import settings as of_tests
from tests.servers import PostgreSQLServer

DATABASE = "django-db+"
CACHE = "django-cache+"


def set_up() -> None:
    """Set Django up in this process, and leave the current app as it is."""
    before = context._current_app
    if not settings.configured:
        settings.configure(**of_tests.copied())
    django.setup()
    context.set_current_app(before)


def database_settings(url: str) -> dict[str, Any]:
    """What Django's ``DATABASES`` has for a URL."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": parts.path}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": parts.username,
        "HOST": parts.hostname,
        "PORT": str(parts.port),
    }


def database_alias(url: str) -> str:
    """The alias of a database, under which Django knows it from now on."""
    set_up()
    from django.db import connections

    alias = _name(url)
    if alias not in connections.databases:
        wanted = {"default": {}, alias: database_settings(url.removeprefix(DATABASE))}
        connections.databases[alias] = connections.configure_settings(wanted)[alias]
    return alias


def cache_alias(url: str) -> str:
    """The alias of a cache, under which Django knows it from now on."""
    set_up()
    from django.core.cache import caches

    alias, place = _name(url), url.removeprefix(CACHE)
    if alias not in caches.settings:
        kind, _, location = place.partition("://")
        name = {"redis": "redis.RedisCache", "memcached": "memcached.PyMemcacheCache"}.get(
            kind, f"{kind}.LocMemCache"
        )
        caches.settings[alias] = {
            "BACKEND": f"django.core.cache.backends.{name}",
            "LOCATION": f"redis://{location}" if kind == "redis" else location,
            "OPTIONS": {"MAX_ENTRIES": 100_000} if kind == "locmem" else {},
        }
    return alias


def _name(url: str) -> str:
    return f"t{hashlib.sha256(url.encode()).hexdigest()[:12]}"


def migrate(url: str) -> None:
    """Make taskq's tables in a database."""
    alias = database_alias(url)
    from django.core.management import call_command
    from django.db import connections

    call_command("migrate", "taskq", database=alias, verbosity=0)
    connections[alias].close()


def sqlite_template(folder: Path) -> Path:
    """A file with the tables, to be copied."""
    file = folder / "django.db"
    migrate(f"{DATABASE}sqlite://{file}")
    return file


def sqlite_database(template: Path, folder: Path) -> str:
    """A database of one's own in a file."""
    file = folder / "django.db"
    if not file.exists():
        shutil.copy(template, file)
    return f"{DATABASE}sqlite://{file}"


@contextmanager
def postgresql_template(server: PostgreSQLServer) -> Iterator[str]:
    """The name of a database with the tables, to be copied."""
    with server.new_database() as name:
        migrate(f"{DATABASE}{server.url_of(name)}")
        yield name
