"""Results in the admin: looked at, sent again, revoked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from taskq.context import get_current_app
from taskq.contrib.django.admin import rendering
from taskq.contrib.django.models import TaskResult
from taskq.contrib.django.models.results import RECORD
from taskq.contrib.django.results.factories import keeps_results, results_alias
from taskq.contrib.django.results.rows import COLUMNS, join
from taskq.exceptions import TaskQError

if TYPE_CHECKING:
    _Admin = admin.ModelAdmin[TaskResult]
else:
    _Admin = admin.ModelAdmin

_ACTIONS = ("retry", "revoke", "terminate")
_HEAVY = ("traceback", "payload", "more", "result")
"""Columns that the list has no use for."""


@admin.register(TaskResult)
class TaskResultAdmin(_Admin):
    """Results as they are; calls can be sent again, and what runs can be revoked."""

    list_display = (
        *("state_shown", "name_shown", "arguments_shown", "where_shown", "changed_shown", "took"),
    )
    list_display_links = ("state_shown", "name_shown")
    list_filter = (
        ("state", admin.AllValuesFieldListFilter),
        ("name", admin.AllValuesFieldListFilter),
        ("queue", admin.AllValuesFieldListFilter),
        ("worker", admin.AllValuesFieldListFilter),
        "changed",
    )
    search_fields = ("task_id", "name", "args", "kwargs", "result")
    search_help_text = gettext_lazy("Looks in ids, names of tasks, arguments and results.")
    date_hierarchy = "changed"
    # To count a large table takes longer than to show a page of it.
    show_full_result_count = False
    actions = _ACTIONS
    fieldsets = (
        (None, {"fields": ("task_id", "name", "state_shown", "retries", "queue", "worker")}),
        (gettext_lazy("Call"), {"fields": ("args_shown", "kwargs_shown")}),
        (gettext_lazy("Outcome"), {"fields": ("result_shown", "traceback_shown")}),
        (gettext_lazy("Times"), {"fields": ("created", "changed", "took")}),
        (gettext_lazy("Relations"), {"fields": ("parent_shown", "group_shown", "children_shown")}),
    )

    class Media:
        css = {"all": ("taskq/admin.css",)}  # noqa: RUF012 - Django's way of saying it

    # Who may do what

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Workers store results."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: TaskResult | None = None) -> bool:
        """What has happened is not changed."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: TaskResult | None = None) -> bool:
        """They expire."""
        return False

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """May the user send tasks again?"""
        user: Any = request.user
        return bool(user.has_perm("taskq.retry_taskresult"))

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """May the user revoke tasks?"""
        user: Any = request.user
        return bool(user.has_perm("taskq.revoke_taskresult"))

    # Looking

    def get_queryset(self, request: HttpRequest) -> QuerySet[TaskResult]:
        """Where the result store keeps them."""
        rows = super().get_queryset(request).using(results_alias(get_current_app().conf))
        rows = rows.exclude(task_id__endswith=RECORD)
        match = request.resolver_match
        if match is not None and (match.url_name or "").endswith("_changelist"):
            return rows.defer(*_HEAVY) if request.method == "GET" else rows
        return rows

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list; if results are kept elsewhere, it says why it stays empty."""
        context = dict(extra_context or {})
        if not keeps_results(get_current_app().conf):
            context["subtitle"] = _(
                "Results are kept elsewhere: set TASKQ_RESULT_BACKEND to “django-db” to see them."
            )
        return super().changelist_view(request, context)

    @admin.display(description=gettext_lazy("state"), ordering="state")
    def state_shown(self, row: TaskResult) -> SafeString:
        """The state, in its colour."""
        return rendering.state_badge(row.state)

    @admin.display(description=gettext_lazy("task"), ordering="name")
    def name_shown(self, row: TaskResult) -> SafeString:
        """The task's name, and its id below it."""
        name = row.name or _("unknown task")
        return format_html('{}<span class="taskq-id">{}</span>', name, row.task_id)

    @admin.display(description=gettext_lazy("arguments"))
    def arguments_shown(self, row: TaskResult) -> SafeString:
        """The arguments, as they are written in a call."""
        shown = rendering.arguments(row.args, row.kwargs)
        return format_html('<span class="taskq-arguments">{}</span>', shown)

    @admin.display(description=gettext_lazy("queue and worker"), ordering="queue")
    def where_shown(self, row: TaskResult) -> SafeString:
        """The queue that it came from, and the worker that ran it."""
        return format_html('{}<span class="taskq-quiet">{}</span>', row.queue, row.worker)

    @admin.display(description=gettext_lazy("last stored"), ordering="changed")
    def changed_shown(self, row: TaskResult) -> SafeString:
        """When it ended, or was last heard of."""
        return format_html('<span class="taskq-time">{}</span>', rendering.moment(row.changed))

    @admin.display(description=gettext_lazy("took"))
    def took(self, row: TaskResult) -> SafeString | str:
        """How long it has taken, as far as its beginning was stored."""
        length = row.changed - row.created
        if not length or not row.ready:
            return "-"
        return format_html('<span class="taskq-time">{}</span>', rendering.duration(length))

    @admin.display(description=gettext_lazy("positional arguments"))
    def args_shown(self, row: TaskResult) -> SafeString | str:
        """Positional arguments."""
        return rendering.pretty_json(row.args)

    @admin.display(description=gettext_lazy("keyword arguments"))
    def kwargs_shown(self, row: TaskResult) -> SafeString | str:
        """Keyword arguments."""
        return rendering.pretty_json(row.kwargs)

    @admin.display(description=gettext_lazy("result"))
    def result_shown(self, row: TaskResult) -> SafeString | str:
        """The value, the error, or the progress."""
        if row.payload is None:
            return rendering.pretty_json(row.result)
        try:
            return rendering.code(repr(_document(row).get("result")))
        except TaskQError as exc:
            return rendering.code(str(exc))

    @admin.display(description=gettext_lazy("traceback"))
    def traceback_shown(self, row: TaskResult) -> SafeString | str:
        """The traceback, in which the project's own lines stand out."""
        return rendering.traceback_lines(row.traceback)

    @admin.display(description=gettext_lazy("sent by"))
    def parent_shown(self, row: TaskResult) -> SafeString | str:
        """The task that has sent it."""
        return self._links([row.more_parts.get("parent_id")])

    @admin.display(description=gettext_lazy("group"))
    def group_shown(self, row: TaskResult) -> str:
        """The group that it is of."""
        return str(row.more_parts.get("group_id") or "-")

    @admin.display(description=gettext_lazy("has sent"))
    def children_shown(self, row: TaskResult) -> SafeString | str:
        """The tasks that it has sent."""
        return self._links(_ids_in(row.more_parts.get("children")))

    def _links(self, task_ids: Iterable[str | None]) -> SafeString | str:
        """Links to the results of tasks, which search finds."""
        there = reverse("admin:taskq_taskresult_changelist")
        links = [(f"{there}?q={task_id}", task_id) for task_id in task_ids if task_id]
        return format_html_join(", ", '<a href="{}">{}</a>', links) if links else "-"

    # Doing

    @admin.action(
        description=gettext_lazy("Send the same calls again, under new ids"), permissions=["retry"]
    )
    def retry(self, request: HttpRequest, rows: QuerySet[TaskResult]) -> None:
        """Send the calls of these results again."""
        app = get_current_app()
        app.load_modules()
        sent: list[str] = []
        for row in rows:
            try:
                document = _document(row)
                args, kwargs = document.get("args"), document.get("kwargs") or {}
                # Celery has kept arguments as they are shown, which need not be JSON.
                known = isinstance(args, (list, tuple)) and isinstance(kwargs, dict)
                if not document.get("name") or not known:
                    text = _(
                        "%(task)s: its call was not kept; set result_extended, and later calls are."
                    )
                    self.message_user(request, text % {"task": row.task_id}, messages.WARNING)
                    continue
                options: dict[str, Any] = {"queue": row.queue} if row.queue else {}
                sent.append(app.send_task(document["name"], args, kwargs, **options).id)
            except (TaskQError, TypeError, ValueError) as exc:
                self.message_user(request, f"{row.task_id}: {exc}", messages.ERROR)
        if sent:
            text = ngettext(
                "%(count)d call was sent again: ", "%(count)d calls were sent again: ", len(sent)
            )
            shown = format_html("{}{}", text % {"count": len(sent)}, self._links(sent[:10]))
            self.message_user(request, shown, messages.SUCCESS)

    @admin.action(
        description=gettext_lazy("Revoke: workers leave them out"), permissions=["revoke"]
    )
    def revoke(self, request: HttpRequest, rows: QuerySet[TaskResult]) -> None:
        """Let workers leave out what they have not begun."""
        self._revoke(request, rows, terminate=False)

    @admin.action(
        description=gettext_lazy("Revoke, and terminate what runs"), permissions=["revoke"]
    )
    def terminate(self, request: HttpRequest, rows: QuerySet[TaskResult]) -> None:
        """The same, and end what they run."""
        self._revoke(request, rows, terminate=True)

    def _revoke(self, request: HttpRequest, rows: QuerySet[TaskResult], terminate: bool) -> None:
        chosen = list(rows)
        waiting = [row.task_id for row in chosen if not row.ready]
        if ended := len(chosen) - len(waiting):
            text = ngettext(
                "%(count)d task has ended already, and is left alone.",
                "%(count)d tasks have ended already, and are left alone.",
                ended,
            )
            self.message_user(request, text % {"count": ended}, messages.WARNING)
        if not waiting:
            return
        try:
            get_current_app().control.revoke(waiting, terminate=terminate)
        except TaskQError as exc:
            self.message_user(request, str(exc), messages.ERROR)
            return
        text = ngettext(
            "Workers were told to revoke %(count)d task.",
            "Workers were told to revoke %(count)d tasks.",
            len(waiting),
        )
        self.message_user(request, text % {"count": len(waiting)}, messages.SUCCESS)

    # The same for one result, on its page

    def get_urls(self) -> list[URLPattern]:
        """The admin's, and one for what can be done with a result."""
        view = self.admin_site.admin_view(self.act)
        return [path("<int:pk>/act/", view, name="taskq_taskresult_act"), *super().get_urls()]

    def act(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Do one of the actions with one result."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        name = request.POST.get("action", "")
        # The admin leaves out those that the user may not do.
        if name not in _ACTIONS or name not in self.get_actions(request):
            raise Http404
        if not self.has_view_permission(request):
            raise PermissionDenied
        getattr(self, name)(request, self.get_queryset(request).filter(pk=pk))
        return redirect("admin:taskq_taskresult_change", pk)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """A result, with the actions that its state and the user's permissions allow."""
        row = self.get_object(request, object_id)
        actions = []
        if row is not None:
            if self.has_retry_permission(request):
                actions.append(("retry", _("Send again")))
            if self.has_revoke_permission(request) and not row.ready:
                actions += [("revoke", _("Revoke")), ("terminate", _("Revoke and terminate"))]
        context = {"taskq_actions": actions, **(extra_context or {})}
        return super().change_view(request, object_id, form_url, context)


def _document(row: TaskResult) -> dict[str, Any]:
    """The result's document, its values as the task had them.

    Raises:
        DecodeError: they cannot be read here.
    """
    return get_current_app().result_codec.decode(
        join({name: getattr(row, name) for name in COLUMNS})
    )


def _ids_in(children: Any) -> list[str]:
    """The ids of the tasks in a result's children, which are trees as `AsyncResult.as_tuple`."""
    match children:
        case [[str() as task_id, _], None]:
            return [task_id]
        case [[str(), _], list() as members]:  # a group, and what is in it
            return _ids_in(members)
        case list():
            return [task_id for child in children for task_id in _ids_in(child)]
    return []
