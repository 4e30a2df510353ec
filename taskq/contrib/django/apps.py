"""What ``INSTALLED_APPS`` names."""

from __future__ import annotations

from django.apps import AppConfig


class TaskqConfig(AppConfig):
    """The Django app, which sees to it that the project has a `TaskQ`."""

    name = "taskq.contrib.django"
    label = "taskq"
    verbose_name = "taskq"
    default_auto_field = "django.db.models.BigAutoField"
