"""The schedule in the admin: edited, enabled, disabled, and run now."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import available_timezones

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from taskq.beat.editor import ScheduleEditor
from taskq.context import get_current_app
from taskq.contrib.django.admin import rendering
from taskq.contrib.django.models import PeriodicTask
from taskq.contrib.django.models.marks import current_namespace
from taskq.contrib.django.models.schedules import EDITED
from taskq.contrib.django.schedules.store import DjangoScheduleStore
from taskq.exceptions import TaskQError

if TYPE_CHECKING:
    _Admin = admin.ModelAdmin[PeriodicTask]
    _Form = forms.ModelForm[PeriodicTask]
else:
    _Admin = admin.ModelAdmin
    _Form = forms.ModelForm

_EVERY_ONE = {
    "seconds": gettext_lazy("every second"),
    "minutes": gettext_lazy("every minute"),
    "hours": gettext_lazy("every hour"),
    "days": gettext_lazy("every day"),
}
_OF_ALL = ("enabled", "description")
"""What can be edited of an entry that is written in code."""


_OF_BEATS: tuple[Any, Any] = (
    gettext_lazy("What beats say"),
    {"fields": ("upcoming_shown", "last_shown", "runs_shown", "written_shown")},
)


class _Suggesting(forms.TextInput):
    """Text that may be chosen from a list, and may be anything else."""

    template_name = "taskq/suggesting.html"

    def __init__(self, suggestions: list[str], attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"class": "vTextField", "autocomplete": "off", **(attrs or {})})
        self.suggestions = suggestions

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        """What the template is given."""
        context = super().get_context(name, value, {**(attrs or {}), "list": f"taskq-{name}"})
        context["suggestions"] = self.suggestions
        return context


class PeriodicTaskForm(_Form):
    """The form, which suggests tasks and time zones."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "task" in self.fields:
            app = get_current_app()
            app.load_modules()
            own = sorted(name for name in app.tasks if not name.startswith(("celery.", "taskq.")))
            self.fields["task"].widget = _Suggesting(own)
        if "zone" in self.fields:
            self.fields["zone"].widget = _Suggesting(sorted(available_timezones()))
        for name in ("description", "args", "kwargs", "headers", "options", "rule"):
            if name in self.fields:
                self.fields[name].widget.attrs.update(rows=2, cols=60)

    def clean_args(self) -> Any:
        """An empty field is an empty list."""
        return self.cleaned_data["args"] if self.cleaned_data["args"] is not None else []

    def clean_kwargs(self) -> Any:
        """An empty field is an empty object."""
        return self._object("kwargs")

    def clean_headers(self) -> Any:
        """An empty field is an empty object."""
        return self._object("headers")

    def clean_options(self) -> Any:
        """An empty field is an empty object."""
        return self._object("options")

    def _object(self, name: str) -> Any:
        return self.cleaned_data[name] if self.cleaned_data[name] is not None else {}


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(_Admin):
    """What runs when; edits reach all beats within a second."""

    form = PeriodicTaskForm
    list_display = ("name_shown", "enabled", "rule_shown", "next_shown", "last_shown", "runs_shown")
    list_display_links = ("name_shown",)
    list_filter = (
        *("enabled", "kind", "source"),
        ("task", admin.AllValuesFieldListFilter),
        ("queue", admin.AllValuesFieldListFilter),
    )
    search_fields = ("name", "task", "description", "args", "kwargs")
    actions = ("run_now", "enable", "disable")
    readonly_fields = (
        *("upcoming_shown", "last_shown", "runs_shown", "written_shown", "definition_shown"),
    )
    _for_store: tuple[Any, ...] = (
        (None, {"fields": ("name", "task", "description", "enabled")}),
        (
            gettext_lazy("When"),
            {
                "fields": (
                    "kind",
                    ("every", "period", "at_round_times"),
                    ("crontab", "zone"),
                    ("event", "latitude", "longitude"),
                    "moment",
                    "rule",
                    "start",
                    "end",
                    "one_off",
                )
            },
        ),
        _OF_BEATS,
        (gettext_lazy("Arguments"), {"fields": ("args", "kwargs")}),
        (
            gettext_lazy("Message"),
            {"fields": ("queue", "priority", "expires", "headers", "options")},
        ),
        (gettext_lazy("Missed runs"), {"fields": ("missed", "max_lateness")}),
    )
    _for_code = (
        (None, {"fields": ("name", "task", "description", "enabled")}),
        (gettext_lazy("Written in code"), {"fields": ("rule_shown", "definition_shown")}),
        _OF_BEATS,
    )

    class Media:
        css = {"all": ("taskq/admin.css",)}  # noqa: RUF012 - Django's way of saying it
        js = ("taskq/periodic_task.js",)

    # Looking

    def get_queryset(self, request: HttpRequest) -> QuerySet[PeriodicTask]:
        """The entries of this project's app."""
        return super().get_queryset(request).filter(namespace=current_namespace())

    def get_fieldsets(self, request: HttpRequest, obj: PeriodicTask | None = None) -> Any:
        """Of what is written in code that which can be shown."""
        in_code = obj is not None and obj.source == PeriodicTask.Source.CODE
        if in_code:
            return self._for_code
        # A new one has nothing to say yet.
        return [each for each in self._for_store if obj is not None or each is not _OF_BEATS]

    def get_readonly_fields(self, request: HttpRequest, obj: PeriodicTask | None = None) -> Any:
        """What is written in code is edited there."""
        if obj is not None and obj.source == PeriodicTask.Source.CODE:
            fixed = [name for name in EDITED if name not in _OF_ALL]
            return (*fixed, *self.readonly_fields, "rule_shown")
        return self.readonly_fields

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list; if beat looks elsewhere, it says why nothing runs."""
        context = dict(extra_context or {})
        # Those who move may still name django-celery-beat's.
        if "django" not in (get_current_app().conf.beat_scheduler or ""):
            context["subtitle"] = _(
                "TASKQ_BEAT_SCHEDULER is not “django”: unless beat is told to look here, it sends "
                "none of these."
            )
        return super().changelist_view(request, context)

    @admin.display(description=gettext_lazy("periodic task"), ordering="name")
    def name_shown(self, row: PeriodicTask) -> SafeString:
        """The name, and the task below it."""
        called = f"{row.task}({rendering.arguments(*_as_json(row), length=50)})"
        return format_html('{}<span class="taskq-id">{}</span>', row.name, called)

    @admin.display(description=gettext_lazy("runs"), ordering="kind")
    def rule_shown(self, row: PeriodicTask) -> SafeString:
        """The rule, in words."""
        notes = []
        if row.start and row.start > timezone.now():
            notes.append(_("from %(time)s") % {"time": rendering.moment(row.start)})
        if row.end:
            notes.append(_("until %(time)s") % {"time": rendering.moment(row.end)})
        if row.one_off:
            notes.append(_("a single time"))
        quiet = format_html('<span class="taskq-quiet">{}</span>', ", ".join(notes))
        return format_html("{}{}", _rule_words(row), quiet if notes else "")

    @admin.display(description=gettext_lazy("next run"), ordering="due")
    def next_shown(self, row: PeriodicTask) -> SafeString | str:
        """The next run, by the reader's clock and by the entry's."""
        upcoming = row.upcoming(1)
        if not upcoming:
            return _("never again") if row.enabled else "-"
        return _by_both_clocks(upcoming[0])

    @admin.display(description=gettext_lazy("next runs"))
    def upcoming_shown(self, row: PeriodicTask) -> SafeString | str:
        """The next five runs, by the reader's clock and by the entry's."""
        upcoming = row.upcoming(5)
        if not upcoming:
            return _("none")
        lines = format_html_join("", "<li>{}</li>", [(_by_both_clocks(each),) for each in upcoming])
        return format_html('<ol class="taskq-times">{}</ol>', lines)

    @admin.display(description=gettext_lazy("last run"), ordering="last_run")
    def last_shown(self, row: PeriodicTask) -> SafeString | str:
        """The last run, and how late it was."""
        last = row.last_run_at
        if last is None:
            return "-"
        late = _("%(seconds).1f s late") % {"seconds": row.lateness} if row.lateness > 1 else ""
        quiet = format_html('<span class="taskq-quiet">{}</span>', late)
        return format_html("{}{}", rendering.moment(last), quiet if late else "")

    @admin.display(description=gettext_lazy("count"), ordering="runs")
    def runs_shown(self, row: PeriodicTask) -> SafeString:
        """How often it ran, and what went wrong."""
        wrong = []
        if row.missed_runs:
            wrong.append(_("%(count)d missed") % {"count": row.missed_runs})
        if row.failures:
            wrong.append(_("%(count)d failed") % {"count": row.failures})
        if row.error:
            wrong.append(rendering.shortened(row.error, 120))
        shown = format_html('<span class="taskq-quiet taskq-late">{}</span>', "; ".join(wrong))
        return format_html("{}{}", row.runs, shown if wrong else "")

    @admin.display(description=gettext_lazy("written"))
    def written_shown(self, row: PeriodicTask) -> str:
        """Here, or in code."""
        return str(PeriodicTask.Source(row.source).label)

    @admin.display(description=gettext_lazy("definition"))
    def definition_shown(self, row: PeriodicTask) -> SafeString | str:
        """What beats read."""
        return rendering.pretty_json(row.definition)

    # Editing

    def save_model(self, request: HttpRequest, obj: PeriodicTask, form: Any, change: bool) -> None:
        """Save it, and say so if nobody here has that task."""
        super().save_model(request, obj, form, change)
        if obj.task not in get_current_app().tasks:
            text = _(
                "There is no task %(task)s here. It is sent all the same; if no worker has it "
                "either, it becomes a dead letter."
            )
            self.message_user(request, text % {"task": obj.task}, messages.WARNING)

    def has_delete_permission(self, request: HttpRequest, obj: PeriodicTask | None = None) -> bool:
        """What is written in code is removed there."""
        if obj is not None and obj.source == PeriodicTask.Source.CODE:
            return False
        return super().has_delete_permission(request, obj)

    # Actions

    @admin.action(description=gettext_lazy("Enable"), permissions=["change"])
    def enable(self, request: HttpRequest, rows: QuerySet[PeriodicTask]) -> None:
        """Let them run again, from now on."""
        count = rows.update(enabled=True)
        text = ngettext("%(count)d is enabled.", "%(count)d are enabled.", count)
        self.message_user(request, text % {"count": count}, messages.SUCCESS)

    @admin.action(description=gettext_lazy("Disable"), permissions=["change"])
    def disable(self, request: HttpRequest, rows: QuerySet[PeriodicTask]) -> None:
        """Let them rest."""
        count = rows.update(enabled=False)
        text = ngettext("%(count)d is disabled.", "%(count)d are disabled.", count)
        self.message_user(request, text % {"count": count}, messages.SUCCESS)

    @admin.action(description=gettext_lazy("Run now"), permissions=["change"])
    def run_now(self, request: HttpRequest, rows: QuerySet[PeriodicTask]) -> None:
        """Send their tasks once, besides their regular runs."""
        sent: list[str] = []
        with DjangoScheduleStore(rows.db, current_namespace()) as store:
            editor = ScheduleEditor(get_current_app(), store)
            for row in rows:
                try:
                    sent += editor.run(row.name)
                except (TaskQError, KeyError, TypeError, ValueError) as exc:
                    self.message_user(request, f"{row.name}: {exc}", messages.ERROR)
        if sent:
            text = ngettext("Sent now: %(ids)s", "Sent now: %(ids)s", len(sent))
            self.message_user(request, text % {"ids": ", ".join(sent[:10])}, messages.SUCCESS)

    def get_urls(self) -> list[URLPattern]:
        """The admin's, and one to run an entry."""
        view = self.admin_site.admin_view(self.run)
        return [path("<int:pk>/run/", view, name="taskq_periodictask_run"), *super().get_urls()]

    def run(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Send one entry's task now."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        rows = self.get_queryset(request).filter(pk=pk)
        row = get_object_or_404(rows)
        if not self.has_change_permission(request, row):
            return HttpResponse(status=403)
        self.run_now(request, rows)
        return redirect("admin:taskq_periodictask_change", pk)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """An entry, with a button that runs it."""
        context = {"taskq_may_run": self.has_change_permission(request), **(extra_context or {})}
        return super().change_view(request, object_id, form_url, context)


def _as_json(row: PeriodicTask) -> tuple[str, str]:
    return json.dumps(row.args), json.dumps(row.kwargs)


def _rule_words(row: PeriodicTask) -> SafeString | str:
    kinds = PeriodicTask.Kind
    match row.kind:
        case kinds.INTERVAL if row.every is not None:
            if row.every == 1:
                return str(_EVERY_ONE[row.period])
            unit = PeriodicTask.Period(row.period).label
            return _("every %(count)g %(unit)s") % {"count": row.every, "unit": unit}
        case kinds.CRONTAB:
            zone = format_html('<span class="taskq-quiet">{}</span>', row.zone) if row.zone else ""
            return format_html('<span class="taskq-arguments">{}</span>{}', row.crontab, zone)
        case kinds.SOLAR:
            place = f"{row.latitude:g}, {row.longitude:g}"
            return f"{row.event.replace('_', ' ')} ({place})"
        case kinds.CLOCKED if row.moment is not None:
            return _("once, %(time)s") % {"time": rendering.moment(row.moment)}
    return rendering.shortened(row.rule, 60) or "-"


def _by_both_clocks(when: datetime) -> SafeString:
    """A moment by the reader's clock, and by the entry's where that shows another time."""
    shown = f"{rendering.weekday(when)} {rendering.moment(when)}"
    if timezone.localtime(when).utcoffset() == when.utcoffset():
        return format_html('<span class="taskq-time">{}</span>', shown)
    return format_html(
        '<span class="taskq-time">{}</span><span class="taskq-quiet">{}</span>',
        shown,
        rendering.moment_there(when),
    )
