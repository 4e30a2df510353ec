"""The tables of the result store ``django-db``."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from taskq import states

NAME_SIZE = 255
"""Characters that an id, or a name, may have."""
STATE_SIZE = 50


RECORD = ".django"
"""Ids that end like this belong to records that Django's own tasks keep beside a result."""


class TaskResult(models.Model):
    """How a task has ended, or how far it is.

    The parts of a result document lie in columns of their own, values among them as JSON.  What
    is no JSON document (another serializer's, or a compressed one) lies whole in `payload`.
    """

    task_id: models.CharField[str, str] = models.CharField(_("task id"), max_length=NAME_SIZE)
    state: models.CharField[str, str] = models.CharField(_("state"), max_length=STATE_SIZE)
    name: models.CharField[str, str] = models.CharField(
        _("task"), max_length=NAME_SIZE, blank=True, default=""
    )
    queue: models.CharField[str, str] = models.CharField(
        _("queue"), max_length=NAME_SIZE, blank=True, default=""
    )
    worker: models.CharField[str, str] = models.CharField(
        _("worker"), max_length=NAME_SIZE, blank=True, default=""
    )
    args: models.TextField[str | None, str | None] = models.TextField(
        _("positional arguments"), null=True, blank=True, help_text=_("As JSON.")
    )
    kwargs: models.TextField[str | None, str | None] = models.TextField(
        _("keyword arguments"), null=True, blank=True, help_text=_("As JSON.")
    )
    result: models.TextField[str | None, str | None] = models.TextField(
        _("result"),
        null=True,
        blank=True,
        help_text=_("The value, the exception or the progress, as JSON."),
    )
    traceback: models.TextField[str | None, str | None] = models.TextField(
        _("traceback"), null=True, blank=True
    )
    retries: models.IntegerField[int | None, int | None] = models.IntegerField(
        _("retries"), null=True, blank=True
    )
    more: models.TextField[str | None, str | None] = models.TextField(
        _("more"),
        null=True,
        blank=True,
        help_text=_("Whatever else the document has, as JSON: children, group, parent."),
    )
    payload: models.BinaryField[Any, Any] = models.BinaryField(
        _("payload"),
        null=True,
        blank=True,
        help_text=_("The whole document, where it is no plain JSON."),
    )
    created: models.DateTimeField[datetime, datetime] = models.DateTimeField(
        _("first stored"), help_text=_("When something was first known of the task.")
    )
    changed: models.DateTimeField[datetime, datetime] = models.DateTimeField(
        _("last stored"), help_text=_("When it ended, if it has; it expires by this time.")
    )

    class Meta:
        verbose_name = _("task result")
        verbose_name_plural = _("task results")
        ordering = ("-changed", "-id")
        permissions = (
            ("retry_taskresult", "Can send a task again"),
            ("revoke_taskresult", "Can revoke a task"),
        )
        # Not unique=True: PostgreSQL would get a second index, for LIKE, that nobody asks.
        constraints = (
            models.UniqueConstraint(fields=("task_id",), name="taskq_taskresult_task_id"),
        )
        indexes = (
            # The list in the admin, and expiry.
            models.Index(fields=("changed", "id"), name="taskq_taskresult_changed"),
            models.Index(fields=("state", "changed"), name="taskq_taskresult_state"),
            models.Index(fields=("name", "changed"), name="taskq_taskresult_name"),
        )

    def __str__(self) -> str:
        return f"{self.name} {self.task_id} ({self.state})".strip()

    @property
    def ready(self) -> bool:
        """Has it ended?"""
        return self.state in states.READY_STATES

    @property
    def more_parts(self) -> dict[str, Any]:
        """Whatever else the document has: children, group, parent."""
        parts: dict[str, Any] = json.loads(self.more) if self.more else {}
        return parts

    @property
    def value(self) -> Any:
        """The result as JSON has it; None if there is none, or it is no JSON."""
        return json.loads(self.result) if self.result else None


class GroupResult(models.Model):
    """Which results belong to a group, as ``GroupResult.save()`` keeps them."""

    group_id: models.CharField[str, str] = models.CharField(_("group id"), max_length=NAME_SIZE)
    payload: models.BinaryField[Any, Any] = models.BinaryField(_("payload"))
    stored: models.DateTimeField[datetime, datetime] = models.DateTimeField(
        _("stored"), db_index=True
    )

    class Meta:
        verbose_name = _("group result")
        verbose_name_plural = _("group results")
        constraints = (
            models.UniqueConstraint(fields=("group_id",), name="taskq_groupresult_group_id"),
        )

    def __str__(self) -> str:
        return self.group_id


class ChordPart(models.Model):
    """What a member contributes to a chord, under its place in the header.

    Places below zero are the store's: one for what follows the chord, and one for each member
    that has joined it later.
    """

    group_id: models.CharField[str, str] = models.CharField(_("group id"), max_length=NAME_SIZE)
    place: models.BigIntegerField[int, int] = models.BigIntegerField(_("place"))
    payload: models.BinaryField[Any, Any] = models.BinaryField(_("payload"))
    stored: models.DateTimeField[datetime, datetime] = models.DateTimeField(
        _("stored"), db_index=True
    )

    class Meta:
        verbose_name = _("part of a chord")
        verbose_name_plural = _("parts of chords")
        constraints = (
            models.UniqueConstraint(fields=("group_id", "place"), name="taskq_chordpart_place"),
        )

    def __str__(self) -> str:
        return f"{self.group_id} {self.place}"
