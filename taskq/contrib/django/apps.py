"""What ``INSTALLED_APPS`` names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.apps import AppConfig

if TYPE_CHECKING:
    from taskq.app import TaskQ


class TaskqConfig(AppConfig):
    """The Django app, which sees to it that the project has a `TaskQ`.

    Attributes:
        app: it.
    """

    name = "taskq.contrib.django"
    label = "taskq"
    verbose_name = "taskq"
    default_auto_field = "django.db.models.BigAutoField"
    app: TaskQ

    def ready(self) -> None:
        """Find the project's app, or make one, and make it at home."""
        # Models must be there before what uses them is imported.
        from taskq.contrib.django import checks, project

        self.app = project.find() or project.make()
        project.attach(self.app)
        checks.register()
