"""The admin's answers, without a browser."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import TestCase, override_settings
from django.urls import reverse
from django.utils import timezone

from taskq import TaskQ, states
from taskq.backends.base import Outcome
from taskq.context import get_current_app
from taskq.contrib.django.admin import rendering
from taskq.contrib.django.models import PeriodicTask, TaskResult
from taskq.contrib.django.results.backend import DjangoBackend
from taskq.exceptions import OperationalError

LIST = reverse("admin:taskq_taskresult_changelist")
SCHEDULE = reverse("admin:taskq_periodictask_changelist")


def store(task_id: str, state: str = states.SUCCESS, result: Any = 1, **more: Any) -> None:
    app = get_current_app()
    named: dict[str, Any] = {"name": "work.add", "args": [1, 2], "kwargs": {}, "queue": "default"}
    outcome = app.result_codec.encode(task_id, state, result, **{**named, **more})
    DjangoBackend("default").store([outcome])


def act(test: TestCase, action: str, **where: Any) -> list[str]:
    """Do an action; what the page says then."""
    model = PeriodicTask if "name" in where else TaskResult
    rows = model._base_manager.filter(**where).values_list("pk", flat=True)
    place = SCHEDULE if model is PeriodicTask else LIST
    test.client.get(place)  # which says what was to be said before
    answer = test.client.post(
        place, {"action": action, "_selected_action": list(rows)}, follow=True
    )
    assert answer.status_code == 200
    return [str(message) for message in answer.context["messages"]]


def queued() -> list[Any]:
    return get_current_app().broker.browse("default", 100)


class AdminTest(TestCase):
    def setUp(self) -> None:
        self.user = User.objects.create_superuser("ada", password="x")
        self.client.force_login(self.user)
        self.app: TaskQ = get_current_app()
        self.app.broker.purge("default")
        if "work.add" not in self.app.tasks:
            self.app.task(lambda x, y=0: x + y, name="work.add")

    def limited(self, *permissions: str) -> None:
        user = User.objects.create_user("eve", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        self.client.force_login(user)


class TestResults(AdminTest):
    def test_the_list_asks_a_few_questions_however_long_it_is(self) -> None:
        for number in range(60):
            store(f"t{number}", args=[number, "x" * 50])
        with self.assertNumQueries(10):
            page = self.client.get(LIST)
        assert page.content.decode().count("taskq-state-success") == 60

    def test_a_result_of_each_kind_is_shown(self) -> None:
        store("a", result={"<b>": "&"}, children=[[["child-1", None], None]])
        store("b", states.FAILURE, ValueError("<no>"), traceback="Traceback\n  x\nValueError: <no>")
        store("c", "PROGRESS", {"done": 1}, name=None)
        DjangoBackend("default").store([Outcome("d", states.SUCCESS, b"\x80 no json")])
        assert self.client.get(LIST).status_code == 200
        for row in TaskResult.objects.all():
            page = self.client.get(reverse("admin:taskq_taskresult_change", args=[row.pk]))
            assert page.status_code == 200
            text = page.content.decode()
            assert "<no>" not in text
            assert '"<b>"' not in text
            assert "_save" not in text
            if row.task_id == "a":
                assert "?q=child-1" in text

    def test_what_is_kept_beside_a_result_is_not_listed(self) -> None:
        store("a")
        store("a.django", states.QUEUED)
        assert self.client.get(LIST).content.decode().count("taskq-state-") == 1

    def test_a_call_is_sent_again(self) -> None:
        store("a", args=[1], kwargs={"y": 5})
        store("b", name=None, args=None)
        said = act(self, "retry")
        (message,) = queued()
        assert message.id not in {"a", "b"}
        assert message.headers["task"] == "work.add"
        args, kwargs, *_ = json.loads(message.body)
        assert (args, kwargs) == ([1], {"y": 5})
        assert any("1 call was sent again" in text and message.id in text for text in said)
        assert any(text.startswith("b: its call was not kept") for text in said)

    def test_what_cannot_be_sent_is_said(self) -> None:
        store("a", args=[1, 2, 3])
        (said,) = act(self, "retry")
        assert said.startswith("a: ")
        assert "too many positional arguments" in said

    def test_what_has_not_ended_is_revoked(self) -> None:
        told: list[Any] = []
        store("a", states.STARTED)
        store("b")
        control = self.app.control
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(control, "revoke", lambda ids, **options: told.append((ids, options)))
            said = act(self, "terminate")
        assert told == [(["a"], {"terminate": True})]
        assert said == [
            "1 task has ended already, and is left alone.",
            "Workers were told to revoke 1 task.",
        ]

    def test_a_broker_that_is_away(self) -> None:
        def away(*args: Any, **options: Any) -> None:
            raise OperationalError("the broker is away")

        store("a", states.STARTED)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.app.control, "revoke", away)
            patch.setattr(self.app, "send_task", away)
            assert act(self, "revoke") == ["the broker is away"]
            assert act(self, "retry") == ["a: the broker is away"]

    def test_only_those_who_may_act(self) -> None:
        store("a", states.STARTED)
        self.limited("view_taskresult")
        page = self.client.get(LIST).content.decode()
        assert "taskq-state-started" in page
        assert 'value="retry"' not in page
        act(self, "retry")
        assert queued() == []
        (row,) = TaskResult.objects.all()
        change = reverse("admin:taskq_taskresult_change", args=[row.pk])
        do = reverse("admin:taskq_taskresult_act", args=[row.pk])
        assert "taskq-act" not in self.client.get(change).content.decode()
        assert self.client.post(do, {"action": "retry"}).status_code == 404
        self.limited_too()
        assert 'value="retry"' in self.client.get(change).content.decode()
        assert self.client.post(do, {"action": "retry"}).status_code == 302
        assert self.client.get(do).status_code == 405
        assert len(queued()) == 1

    def limited_too(self) -> None:
        User.objects.filter(username="eve").delete()
        self.limited("view_taskresult", "retry_taskresult")

    def test_nobody_writes_results_here(self) -> None:
        store("a")
        (row,) = TaskResult.objects.all()
        assert self.client.get(reverse("admin:taskq_taskresult_add")).status_code == 403
        delete = reverse("admin:taskq_taskresult_delete", args=[row.pk])
        assert self.client.post(delete, {"post": "yes"}).status_code == 403
        assert "delete_selected" not in self.client.get(LIST).content.decode()


class TestSchedule(AdminTest):
    def add(self, **columns: Any) -> Any:
        fields = {
            "name": "a",
            "task": "work.add",
            "enabled": "on",
            "kind": "every",
            "every": 5,
            "period": "minutes",
            "args": "[1]",
            "kwargs": "",
            "headers": "",
            "options": "",
            **columns,
        }
        return self.client.post(reverse("admin:taskq_periodictask_add"), fields)

    def test_a_task_is_added_with_empty_fields(self) -> None:
        assert self.add().status_code == 302
        row = PeriodicTask.objects.get()
        assert (row.args, row.kwargs, row.headers, row.options) == ([1], {}, {}, {})
        assert row.due is not None

    def test_a_name_that_is_taken(self) -> None:
        self.add()
        errors = self.add().context["adminform"].form.errors
        assert errors == {"name": ["There is a periodic task of this name."]}

    def test_a_task_that_nobody_has_is_mentioned(self) -> None:
        answer = self.client.get(SCHEDULE) and self.add(task="elsewhere")
        page = self.client.get(answer["Location"])
        assert any("no task elsewhere here" in str(m) for m in page.context["messages"])

    def test_run_now(self) -> None:
        self.add()
        (said,) = act(self, "run_now", name="a")
        assert [message.id for message in queued()] == [said.removeprefix("Sent now: ")]
        (row,) = PeriodicTask.objects.all()
        run = reverse("admin:taskq_periodictask_run", args=[row.pk])
        assert self.client.post(run).status_code == 302
        assert len(queued()) == 2
        assert self.client.get(run).status_code == 405
        self.limited("view_periodictask")
        assert self.client.post(run).status_code == 403
        assert len(queued()) == 2

    def test_enabling_and_disabling(self) -> None:
        self.add()
        assert act(self, "disable", name="a") == ["1 is disabled."]
        assert "1" in act(self, "enable", name="a")[0]
        assert PeriodicTask.objects.get().due > timezone.now().timestamp()

    def test_what_is_written_in_code_stays(self) -> None:
        PeriodicTask._base_manager.create(
            name="c",
            namespace=self.app.main or "taskq",
            task="work.add",
            source="code",
            definition='{"task":"work.add","schedule":{"every":60.0}}',
            kind="every",
            every=60,
        )
        (row,) = PeriodicTask.objects.all()
        page = self.client.get(reverse("admin:taskq_periodictask_change", args=[row.pk]))
        assert "Written in code" in page.content.decode()
        change = reverse("admin:taskq_periodictask_change", args=[row.pk])
        self.client.post(change, {"name": "other", "description": "mine"})
        row.refresh_from_db()
        assert (row.name, row.description, row.enabled) == ("c", "mine", False)
        chosen = {"action": "delete_selected", "_selected_action": [row.pk]}
        asked = self.client.post(SCHEDULE, chosen).content.decode()
        assert "Cannot delete periodic task" in asked
        assert self.client.post(SCHEDULE, {**chosen, "post": "yes"}).status_code == 403
        assert PeriodicTask.objects.count() == 1

    @override_settings(USE_TZ=False, TIME_ZONE="Europe/Paris")
    def test_without_time_zones(self) -> None:
        self.add(moment_0="2030-01-01", moment_1="12:00", kind="once")
        self.add(name="b")
        assert PeriodicTask.objects.get(name="a").due is not None
        for row in PeriodicTask.objects.all():
            page = self.client.get(reverse("admin:taskq_periodictask_change", args=[row.pk]))
            assert page.status_code == 200
        assert self.client.get(SCHEDULE).status_code == 200


def test_durations_are_short() -> None:
    shown = [rendering.duration(timedelta(seconds=s)) for s in (0.021, 42, 61, 7260)]
    assert shown == ["0.02 s", "42 s", "1 min 01 s", "2 h 01 min"]


def test_arguments_look_like_a_call() -> None:
    assert rendering.arguments('[1, "ü"]', '{"x": null}') == '1, "ü", x=null'
    assert rendering.arguments("no json", None) == "no json"
    assert rendering.arguments(None, None) == ""
    assert len(rendering.arguments(json.dumps(["x" * 100]), None)) == 60


class TestWhatIsElsewhere(AdminTest):
    def test_results(self) -> None:
        assert "TASKQ_RESULT_BACKEND" in self.client.get(LIST).content.decode()
        with override_settings(TASKQ_RESULT_BACKEND="django-db"):
            assert "TASKQ_RESULT_BACKEND" not in self.client.get(LIST).content.decode()

    def test_the_schedule(self) -> None:
        assert "TASKQ_BEAT_SCHEDULER" in self.client.get(SCHEDULE).content.decode()
        for name in ("django", "django_celery_beat.schedulers:DatabaseScheduler"):
            with override_settings(TASKQ_BEAT_SCHEDULER=name):
                assert "TASKQ_BEAT_SCHEDULER" not in self.client.get(SCHEDULE).content.decode()
