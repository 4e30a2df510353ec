"""What beats look at to see that the schedule was edited, and what they have still to send."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from taskq.beat.stores.base import new_version
from taskq.beat.stores.registry import namespace_of
from taskq.context import get_current_app

NAME_SIZE = 200
"""Characters that the name of an entry, or an app, may have."""


def current_namespace() -> str:
    """The name of the project's app, under which its schedule lies."""
    return namespace_of(get_current_app())


class ScheduleMark(models.Model):
    """What beats look at twice a second: a number that every edit of an app's entries counts up."""

    namespace: models.CharField[str, str] = models.CharField(
        _("app"), max_length=NAME_SIZE, primary_key=True
    )
    version: models.BigIntegerField[int, int] = models.BigIntegerField(_("version"))

    class Meta:
        verbose_name = _("mark of the schedule")
        verbose_name_plural = _("marks of schedules")

    def __str__(self) -> str:
        return self.namespace

    @classmethod
    def touch(cls, using: str, namespace: str | None = None) -> None:
        """Tell beats of an edit; in the transaction of the edit, and before anything else in it.

        Whoever changes rows of `PeriodicTask` by SQL of their own calls this.

        Args:
            using: the database.
            namespace: of the app; the current one's by default.
        """
        namespace = current_namespace() if namespace is None else namespace
        rows = cls._base_manager.using(using)
        mine = rows.filter(namespace=namespace)
        counted = models.F("version") + 1
        if not mine.update(version=counted):
            rows.bulk_create(
                [cls(namespace=namespace, version=new_version())], ignore_conflicts=True
            )
            # Of two who do this at the same time one has waited for the other.
            mine.update(version=counted)


class ScheduleMessage(models.Model):
    """A message of a tick, on its way from the schedule to the broker."""

    namespace: models.CharField[str, str] = models.CharField(_("app"), max_length=NAME_SIZE)
    until: models.FloatField[float, float] = models.FloatField(
        _("held until"), default=0.0, help_text=_("A Unix time.")
    )
    holder: models.CharField[str, str] = models.CharField(_("holder"), max_length=32, default="")
    message: models.BinaryField[bytes, bytes] = models.BinaryField(_("message"))

    class Meta:
        verbose_name = _("message of the schedule")
        verbose_name_plural = _("messages of the schedule")
        indexes = (models.Index(fields=("namespace", "until"), name="taskq_schedulemessage_until"),)

    def __str__(self) -> str:
        return f"{self.namespace} {self.pk}"
