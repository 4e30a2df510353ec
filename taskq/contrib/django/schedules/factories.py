"""The entry point of the schedule store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskq.beat.stores.base import ScheduleStore
from taskq.beat.stores.registry import namespace_of
from taskq.contrib.django.requirements import require_django

if TYPE_CHECKING:
    from taskq.app import TaskQ


def schedule_store(app: TaskQ) -> ScheduleStore:
    """The store of ``beat_scheduler = "django"``, in the database that Django's routers name.

    Raises:
        ImproperlyConfigured: Django is not set up.
    """
    require_django("beat_scheduler", "django")
    from django.db import router

    from taskq.contrib.django.models import PeriodicTask
    from taskq.contrib.django.schedules.store import DjangoScheduleStore

    alias = router.db_for_write(PeriodicTask)
    return DjangoScheduleStore(alias, namespace_of(app), lease=app.conf.beat_lease)
