"""The tables in Django's admin."""

from taskq.contrib.django.admin.results import TaskResultAdmin
from taskq.contrib.django.admin.schedules import PeriodicTaskAdmin

__all__ = ["PeriodicTaskAdmin", "TaskResultAdmin"]
