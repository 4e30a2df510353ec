"""The table of the outbox."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.db import models
from django.utils.translation import gettext_lazy as _


class OutboxMessage(models.Model):
    """A message that has been written in a transaction, and is to be published.

    Whoever publishes it claims it for a while; when that is over, and the row still there, whoever
    claimed it has died, and the next one comes.  What has been published is deleted.
    """

    # Made of the time first, so that they are in the order in which they were written.
    id: models.UUIDField[uuid.UUID | str, uuid.UUID] = models.UUIDField(primary_key=True)
    task_id: models.CharField[str, str] = models.CharField(_("task id"), max_length=255)
    task: models.CharField[str, str] = models.CharField(_("task"), max_length=255)
    message: models.BinaryField[bytes, bytes] = models.BinaryField(_("message"))
    written: models.DateTimeField[datetime, datetime] = models.DateTimeField(_("written"))
    claimed_by: models.CharField[str, str] = models.CharField(_("claimed by"), max_length=64)
    claimed_until: models.DateTimeField[datetime, datetime] = models.DateTimeField(
        _("claimed until"), db_index=True
    )
    attempts: models.IntegerField[int, int] = models.IntegerField(_("failed attempts"), default=0)
    error: models.TextField[str, str] = models.TextField(_("error"), blank=True, default="")

    class Meta:
        verbose_name = _("message in the outbox")
        verbose_name_plural = _("messages in the outbox")

    def __str__(self) -> str:
        return f"{self.task}[{self.task_id}]"
