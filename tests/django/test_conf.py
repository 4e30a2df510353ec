"""What Django's settings say, and what the checks say of them."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.core import checks
from django.core.signals import setting_changed
from django.test import SimpleTestCase, override_settings

from taskq import TaskQ, context
from taskq.contrib.django import conf
from taskq.contrib.django.checks import TAG
from taskq.exceptions import ImproperlyConfigured


def ids() -> set[str]:
    return {str(each.id) for each in checks.run_checks(tags=[TAG])}


def test_that_the_project_has_djangos_settings(project_app: TaskQ):
    assert project_app.conf.broker_url == "memory://"
    assert project_app.conf.source("broker_url") == "Django's TASKQ_BROKER_URL"
    assert project_app.conf.timezone == "UTC"


def test_what_an_app_says_itself_is_stronger():
    app = TaskQ(set_as_current=False, config_source={"result_expires": 5})
    with override_settings(TASKQ_RESULT_EXPIRES=7, TASKQ_TASK_TRACK_STARTED=True):
        conf.load(app)
    assert app.conf.result_expires == 5
    assert app.conf.task_track_started


@override_settings(CELERY_TASK_TRACK_STARTED=True, CELERY_RESULT_EXPIRES=60)
def test_celerys_namespace_is_understood():
    app = TaskQ(set_as_current=False)
    conf.load(app)
    assert app.conf.task_track_started
    assert app.conf.result_expires == 60
    assert not ids() & {"taskq.E001", "taskq.E002", "taskq.W001"}


@override_settings(CELERY_RESULT_EXPIRES=60, TASKQ_RESULT_EXPIRES=60)
def test_both_namespaces_may_say_the_same():
    assert conf.read().problems == []


@override_settings(CELERY_RESULT_EXPIRES=60, TASKQ_RESULT_EXPIRES=90)
def test_both_namespaces_must_not_differ():
    [problem] = conf.read().problems
    assert problem.text.startswith("CELERY_RESULT_EXPIRES and TASKQ_RESULT_EXPIRES are both set")
    assert "taskq.E002" in ids()


def test_a_value_of_a_wrong_kind(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(settings, "TASKQ_TASK_ALWAYS_EAGER", "perhaps", raising=False)
    [problem] = conf.errors()
    assert "must be true or false, not 'perhaps'" in problem.text
    assert "taskq.E003" in ids()
    with pytest.raises(ImproperlyConfigured, match="TASKQ_TASK_ALWAYS_EAGER"):
        conf.refuse_errors()


@override_settings(CELERY_EMAIL_CHUNK_SIZE=10)
def test_what_belongs_to_others_is_only_pointed_out():
    assert conf.errors() == []
    assert "taskq.W001" in ids()


def test_what_lives_in_memory_is_told_unless_it_is_for_debugging():
    assert {"taskq.W002", "taskq.W003"} <= ids()
    with override_settings(DEBUG=True):
        assert not ids() & {"taskq.W002", "taskq.W003"}


def test_a_result_store_that_is_missing():
    with override_settings(TASKQ_RESULT_BACKEND="nosuch://"):
        assert "taskq.E004" in ids()


class TestOverriding(SimpleTestCase):
    def test_that_settings_follow(self) -> None:
        app = TaskQ(set_as_current=False, result_expires=1)
        follower = conf.Overrides(app)
        setting_changed.connect(follower.follow)
        with override_settings(TASKQ_RESULT_EXPIRES=2):
            assert app.conf.result_expires == 2
            with override_settings(CELERY_RESULT_EXPIRES=3):
                assert app.conf.result_expires == 3
            assert app.conf.source("result_expires") == "Django's CELERY_RESULT_EXPIRES, overridden"
        assert app.conf.result_expires == 1

    @override_settings(TASKQ_TASK_DEFAULT_QUEUE="elsewhere")
    def test_that_routes_follow(self) -> None:
        app = context.get_current_app()
        assert app.router.route({}, "any", (), {}, None).routing_key == "elsewhere"
