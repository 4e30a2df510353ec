"""The settings of the Django project that the tests run in, within their own process."""

from __future__ import annotations

import copy
from typing import Any

SECRET_KEY = "of the tests"
USE_TZ = True
TIME_ZONE = "UTC"
ROOT_URLCONF = "tests.django.urls"
STATIC_URL = "/static/"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "taskq.contrib.django",
    "tests.django.shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# Both live in memory: tests of other databases start programs that have settings of their own.
DATABASES: dict[str, dict[str, Any]] = {
    alias: {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    for alias in ("default", "other")
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

TASKQ_BROKER_URL = "memory://"
TASKQ_RESULT_BACKEND = "memory://"
TASKQ_IMPORTS = ["tests.django.shop.django_tasks"]
TASKS: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "taskq.contrib.django.tasks.TaskqBackend",
        "QUEUES": ["default", "slow"],
    },
    "later": {
        "BACKEND": "taskq.contrib.django.tasks.TaskqBackend",
        "ENQUEUE_ON_COMMIT": True,
    },
}


def copied() -> dict[str, Any]:
    """These settings; Django and tests may change what they are given."""
    return copy.deepcopy({k: v for k, v in globals().items() if k.isupper()})
