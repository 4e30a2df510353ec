"""Lets ``INSTALLED_APPS`` say ``"taskq"``: where Django looks for the app of that name."""

from taskq.contrib.django.apps import TaskqConfig

__all__ = ["TaskqConfig"]
