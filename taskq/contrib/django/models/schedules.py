"""The tables of the schedule store ``django``.

People edit the columns of `PeriodicTask`.  Beats read its `definition`, which is written from them
whenever a row is saved or updated, together with the mark that tells beats of an edit.  What beats
write themselves (`due` and what follows it) is never written from an object that was read before:
a tick would run twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import models, router, transaction
from django.utils.translation import gettext_lazy as _

from taskq.beat.definitions import definition_of, revision_of, shape_of
from taskq.beat.stores.base import IN_CODE, IN_STORE
from taskq.beat.ticks import first_time, next_time
from taskq.context import get_current_app
from taskq.contrib.django.models.definitions import (
    entry_of_columns,
    problems,
    rule_of_definition,
)
from taskq.contrib.django.models.marks import NAME_SIZE, ScheduleMark, current_namespace
from taskq.producer import time_zone
from taskq.schedules.solar import EVENTS
from taskq.schedules.zones import machine_zone


def app_zone() -> tzinfo:
    """The zone of rules without one."""
    return time_zone(get_current_app().conf) or machine_zone()


class PeriodicTaskQuerySet(models.QuerySet["PeriodicTask"]):
    """Rows, of whose edits beats are told."""

    def update(self, **kwargs: Any) -> int:
        """Update rows, and write what beats read of them."""
        self._for_write = True
        with transaction.atomic(using=self.db):
            self._mark()
            before = dict(self.order_by().values_list("pk", "enabled"))
            count = super().update(**kwargs)
            rows = self.model._base_manager.using(self.db)
            for task in rows.filter(pk__in=list(before)):
                changed = task.settle(restarts=task.enabled and not before[task.pk])
                if changed:
                    rows.filter(pk=task.pk).update(**changed)
        return count

    update.alters_data = True  # type: ignore[attr-defined]

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete rows."""
        self._for_write = True
        with transaction.atomic(using=self.db):
            self._mark()
            return super().delete()

    delete.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(self, objs: Iterable[PeriodicTask], *args: Any, **kwargs: Any) -> Any:
        """Write new rows."""
        made = list(objs)
        for task in made:
            task.begin()
        with transaction.atomic(using=self.db):
            for namespace in {task.namespace for task in made}:
                ScheduleMark.touch(self.db, namespace)
            return super().bulk_create(made, *args, **kwargs)

    def _mark(self) -> None:
        """Tell beats of an edit; whoever edits waits for others who do."""
        # Of all rows: some may have come to fit since they were asked for.
        rows = self.model._base_manager.using(self.db)
        for namespace in rows.order_by().values_list("namespace", flat=True).distinct():
            ScheduleMark.touch(self.db, namespace)


class PeriodicTask(models.Model):
    """A task that is sent by a rule: one entry of the schedule.

    Entries are written here, by the admin, by code that uses this model, or by ``taskq schedule
    add``; or in the project's code (`beat_schedule`), and then only shown.
    """

    class Kind(models.TextChoices):
        """By what rule it runs."""

        INTERVAL = "every", _("interval")
        CRONTAB = "crontab", _("crontab")
        SOLAR = "solar", _("sun")
        CLOCKED = "once", _("moment")
        OTHER = "other", _("other rule")

    class Period(models.TextChoices):
        """What an interval is counted in."""

        SECONDS = "seconds", _("seconds")
        MINUTES = "minutes", _("minutes")
        HOURS = "hours", _("hours")
        DAYS = "days", _("days")

    class Missed(models.TextChoices):
        """What becomes of ticks that nobody could send in time."""

        ONCE = "once", _("send the last of them")
        ALL = "all", _("send each of them")
        SKIP = "skip", _("send none")

    class Source(models.TextChoices):
        """Where it is written."""

        STORE = IN_STORE, _("here")
        CODE = IN_CODE, _("in code")

    name: models.CharField[str, str] = models.CharField(
        _("name"), max_length=NAME_SIZE, help_text=_("Unique; shown in logs.")
    )
    task: models.CharField[str, str] = models.CharField(
        _("task"), max_length=255, help_text=_("The name of the task, such as shop.tasks.report.")
    )
    description: models.TextField[str, str] = models.TextField(
        _("description"), blank=True, default=""
    )
    enabled: models.BooleanField[bool, bool] = models.BooleanField(_("enabled"), default=True)

    # When

    kind: models.CharField[str, str] = models.CharField(
        _("runs by"), max_length=10, choices=Kind, default=Kind.INTERVAL
    )
    every: models.FloatField[float | None, float | None] = models.FloatField(
        _("every"), null=True, blank=True
    )
    period: models.CharField[str, str] = models.CharField(
        _("unit"), max_length=10, choices=Period, default=Period.MINUTES
    )
    at_round_times: models.BooleanField[bool, bool] = models.BooleanField(
        _("at round times"),
        default=False,
        help_text=_("Hours at the full hour, days at midnight, minutes at the full minute."),
    )
    crontab: models.CharField[str, str] = models.CharField(
        _("crontab"),
        max_length=255,
        blank=True,
        default="",
        help_text=_(
            "Minute, hour, day of month, month, day of week, as in “30 7 * * mon-fri”; or @hourly, "
            "@daily, @weekly, @monthly, @yearly."
        ),
    )
    zone: models.CharField[str, str] = models.CharField(
        _("time zone"),
        max_length=64,
        blank=True,
        default="",
        help_text=_("Such as Europe/Paris; the project's, if this is empty."),
    )
    event: models.CharField[str, str] = models.CharField(
        _("event"),
        max_length=24,
        blank=True,
        default="",
        choices=[(event, event.replace("_", " ")) for event in EVENTS],
    )
    latitude: models.FloatField[float | None, float | None] = models.FloatField(
        _("latitude"), null=True, blank=True, help_text=_("Degrees north, from -90 to 90.")
    )
    longitude: models.FloatField[float | None, float | None] = models.FloatField(
        _("longitude"), null=True, blank=True, help_text=_("Degrees east, from -180 to 180.")
    )
    moment: models.DateTimeField[datetime | None, datetime | None] = models.DateTimeField(
        _("moment"), null=True, blank=True
    )
    rule: models.TextField[str, str] = models.TextField(
        _("rule"),
        blank=True,
        default="",
        help_text=_("A rule of another package, as JSON: its kind and what it keeps."),
    )
    start: models.DateTimeField[datetime | None, datetime | None] = models.DateTimeField(
        _("start"), null=True, blank=True, help_text=_("It does not run before.")
    )
    end: models.DateTimeField[datetime | None, datetime | None] = models.DateTimeField(
        _("end"), null=True, blank=True, help_text=_("It does not run after that.")
    )
    one_off: models.BooleanField[bool, bool] = models.BooleanField(
        _("one-off"), default=False, help_text=_("Run a single time.")
    )

    # What

    args: models.JSONField[Any, Any] = models.JSONField(
        _("positional arguments"), blank=True, default=list, help_text=_("A list, as JSON.")
    )
    kwargs: models.JSONField[Any, Any] = models.JSONField(
        _("keyword arguments"), blank=True, default=dict, help_text=_("An object, as JSON.")
    )
    queue: models.CharField[str, str] = models.CharField(
        _("queue"),
        max_length=255,
        blank=True,
        default="",
        help_text=_("The one that the task goes to otherwise, if this is empty."),
    )
    priority: models.SmallIntegerField[int | None, int | None] = models.SmallIntegerField(
        _("priority"), null=True, blank=True
    )
    headers: models.JSONField[Any, Any] = models.JSONField(
        _("headers"), blank=True, default=dict, help_text=_("An object, as JSON.")
    )
    expires: models.FloatField[float | None, float | None] = models.FloatField(
        _("expires after"),
        null=True,
        blank=True,
        help_text=_("Seconds after which the message is not worth running any more."),
    )
    options: models.JSONField[Any, Any] = models.JSONField(
        _("more options"),
        blank=True,
        default=dict,
        help_text=_("Of the call, as JSON, such as {“time_limit”: 60}."),
    )
    missed: models.CharField[str, str] = models.CharField(
        _("missed runs"),
        max_length=4,
        blank=True,
        default="",
        choices=Missed,
        help_text=_("What becomes of runs that no beat could send in time."),
    )
    max_lateness: models.FloatField[float | None, float | None] = models.FloatField(
        _("at most late by"),
        null=True,
        blank=True,
        help_text=_("Seconds after which a run is not worth sending any more."),
    )

    # What beats read and write

    namespace: models.CharField[str, str] = models.CharField(
        _("app"), max_length=NAME_SIZE, editable=False, default=current_namespace
    )
    source: models.CharField[str, str] = models.CharField(
        _("written"), max_length=10, editable=False, choices=Source, default=Source.STORE
    )
    definition: models.TextField[str, str] = models.TextField(
        _("definition"), editable=False, help_text=_("What beats read, as JSON.")
    )
    revision: models.CharField[str, str] = models.CharField(
        _("revision"), max_length=64, editable=False
    )
    due: models.FloatField[float | None, float | None] = models.FloatField(
        _("next run"), null=True, editable=False, help_text=_("A Unix time, as those below.")
    )
    last_due: models.FloatField[float | None, float | None] = models.FloatField(
        _("last tick"), null=True, editable=False
    )
    last_run: models.FloatField[float | None, float | None] = models.FloatField(
        _("last run"), null=True, editable=False
    )
    runs: models.BigIntegerField[int, int] = models.BigIntegerField(
        _("runs"), default=0, editable=False
    )
    missed_runs: models.BigIntegerField[int, int] = models.BigIntegerField(
        _("runs missed"), default=0, editable=False
    )
    failures: models.BigIntegerField[int, int] = models.BigIntegerField(
        _("failures"),
        default=0,
        editable=False,
        help_text=_("Runs that could not be made into a message."),
    )
    lateness: models.FloatField[float, float] = models.FloatField(
        _("lateness"), default=0.0, editable=False, help_text=_("Seconds, of the last run.")
    )
    error: models.TextField[str, str] = models.TextField(
        _("last error"), default="", editable=False
    )

    objects: ClassVar[Any] = PeriodicTaskQuerySet.as_manager()

    class Meta:
        verbose_name = _("periodic task")
        verbose_name_plural = _("periodic tasks")
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(fields=("namespace", "name"), name="taskq_periodictask_name"),
        )

    def __str__(self) -> str:
        return self.name

    # Checking

    def clean(self) -> None:
        """See that beats can run it.

        Raises:
            ValidationError: they cannot; messages stand at their fields.
        """
        super().clean()
        if self.source == IN_CODE:
            return
        app = get_current_app()
        app.load_modules()
        found = {field or NON_FIELD_ERRORS: texts for field, texts in problems(self, app).items()}
        others = PeriodicTask._base_manager.filter(namespace=self.namespace, name=self.name)
        if others.exclude(pk=self.pk).exists():
            found.setdefault("name", []).append(str(_("There is a periodic task of this name.")))
        if found:
            raise ValidationError(found)

    # Saving

    def begin(self) -> None:
        """Write the columns that beats read of a new row.

        Raises:
            ValidationError: the columns describe no entry.
        """
        self.settle(restarts=True)

    def settle(self, restarts: bool = False) -> dict[str, Any]:
        """Write the columns that beats read as the others say.

        Args:
            restarts: it was not enabled, or not there, and begins now.

        Returns:
            Those that are different now.

        Raises:
            ValidationError: the columns describe no entry.
        """
        changed: dict[str, Any] = {}
        rule = None
        if self.source == IN_STORE:
            entry = entry_of_columns(self)
            rule, definition = entry.schedule, definition_of(entry).decode()
            if definition != self.definition:
                changed = {"definition": definition, "revision": revision_of(definition.encode())}
                old = self.definition.encode()
                restarts = restarts or shape_of(old) != shape_of(definition.encode())
        elif restarts:
            rule = rule_of_definition(self.definition)
        if restarts and rule is not None:
            now = time.time()
            changed["due"] = first_time(rule, max(now, self.last_due or now), app_zone())
        for name, value in changed.items():
            setattr(self, name, value)
        return changed

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save what people edit; beats follow within a second.

        Raises:
            ValidationError: the columns describe no entry.
        """
        using = kwargs.get("using") or router.db_for_write(type(self), instance=self)
        wanted = kwargs.pop("update_fields", None)
        with transaction.atomic(using=using):
            ScheduleMark.touch(using, self.namespace)
            rows = type(self)._base_manager.using(using).select_for_update()
            stored = rows.filter(pk=self.pk).first() if self.pk and not self._state.adding else None
            if stored is None:
                self.begin()
                super().save(*args, **kwargs)
                return
            for name in OF_BEATS:
                setattr(self, name, getattr(stored, name))
            names = set(EDITED if wanted is None else wanted) - set(OF_BEATS)
            changed = self.settle(restarts=self.enabled and not stored.enabled)
            super().save(*args, update_fields=[*sorted(names), *changed], **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete it; beats follow within a second."""
        using = kwargs.get("using") or router.db_for_write(type(self), instance=self)
        with transaction.atomic(using=using):
            ScheduleMark.touch(using, self.namespace)
            return super().delete(*args, **kwargs)

    # Looking

    def rule_zone(self) -> tzinfo:
        """The zone of its clock: its own, or the project's."""
        return ZoneInfo(self.zone) if self.zone and self.kind == self.Kind.CRONTAB else app_zone()

    def upcoming(self, count: int) -> list[datetime]:
        """The next times at which it runs, with the zone of its clock.

        Args:
            count: how many at most.
        """
        rule = rule_of_definition(self.definition)
        due, zone = self.due if self.enabled else None, self.rule_zone()
        found: list[datetime] = []
        while due is not None and len(found) < count:
            found.append(datetime.fromtimestamp(due, zone))
            due = next_time(rule, due, app_zone()) if rule is not None else None
        return found

    @property
    def last_run_at(self) -> datetime | None:
        """When it was last sent."""
        return datetime.fromtimestamp(self.last_run, UTC) if self.last_run is not None else None


OF_BEATS = (
    *("source", "definition", "revision", "due", "last_due", "last_run", "runs", "missed_runs"),
    *("failures", "lateness", "error", "namespace"),
)
"""Columns that no edit writes from an object that was read before."""
EDITED = tuple(
    field.name
    for field in PeriodicTask._meta.concrete_fields
    if field.name not in OF_BEATS and not field.primary_key
)
