"""The entry points of the result stores: what a URL names, made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskq.backends.base import Backend
from taskq.contrib.django.requirements import require_django
from taskq.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from taskq.settings import Settings


def database_backend(url: str, conf: Settings) -> Backend:
    """The store of ``django-db`` and ``django-db://alias``.

    Without an alias it is the database that Django's routers name for `TaskResult`.

    Raises:
        ImproperlyConfigured: Django is not set up, or has no database of that name.
    """
    require_django("result_backend", url)
    from django.db import connections

    from taskq.contrib.django.results.backend import DjangoBackend

    alias = _database(url)
    if alias not in connections.databases:
        raise ImproperlyConfigured(
            f"result_backend={url!r}: DATABASES has no {alias!r}, there are "
            f"{', '.join(connections.databases)}"
        )
    return DjangoBackend(alias, conf.result_expires or 0.0)


def cache_backend(url: str, conf: Settings) -> Backend:
    """The store of ``django-cache`` and ``django-cache://alias``.

    Without an alias the setting ``cache_backend`` may name it, as for Celery's users.

    Raises:
        ImproperlyConfigured: Django is not set up, or has no cache of that name that keeps things.
    """
    require_django("result_backend", url)
    from django.core.cache import caches

    from taskq.backends.keyvalue import key_prefix
    from taskq.contrib.django.results.cache import DjangoCacheBackend

    alias = _alias(url) or conf.cache_backend or "default"
    if alias not in caches.settings:
        raise ImproperlyConfigured(
            f"result_backend={url!r}: CACHES has no {alias!r}, there are "
            f"{', '.join(caches.settings)}"
        )
    if caches.settings[alias]["BACKEND"].endswith(".DummyCache"):
        raise ImproperlyConfigured(f"result_backend={url!r}: the cache {alias!r} keeps nothing")
    prefix = key_prefix(conf.result_backend_transport_options)
    return DjangoCacheBackend(alias, conf.result_expires or 0.0, prefix)


def keeps_results(conf: Settings) -> bool:
    """Are results kept in a database of Django's?"""
    return (conf.result_backend or "").partition("://")[0] == "django-db"


def results_alias(conf: Settings) -> str:
    """The database of the results, for those who look at it by its models."""
    return _database((conf.result_backend or "") if keeps_results(conf) else "")


def _database(url: str) -> str:
    from django.db import router

    from taskq.contrib.django.models import TaskResult

    return _alias(url) or router.db_for_write(TaskResult)


def _alias(url: str) -> str:
    return url.partition("://")[2].rstrip("/")
