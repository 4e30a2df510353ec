"""The backend for Django's tasks: what Django's documentation says of backends, and more."""

from __future__ import annotations

import importlib
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core import checks
from django.db import transaction
from django.test import SimpleTestCase, TestCase, override_settings
from django.utils import timezone

from taskq import TaskQ, context
from taskq.contrib.django.checks import TAG
from taskq.contrib.django.task_backend.backend import TaskqBackend, own_priority
from taskq.contrib.django.task_backend.framework import (
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_enqueued,
    task_finished,
    task_started,
)
from taskq.exceptions import OperationalError
from taskq.message import TaskMessage
from taskq.testing import start_worker
from tests.django.shop import django_tasks as tasks
from tests.django.test_outbox import BrokerAway

framework = importlib.import_module(type(tasks.add).__module__.rpartition(".")[0])
InvalidTask: Any = getattr(framework.exceptions, "InvalidTask", None) or (
    framework.exceptions.InvalidTaskError
)


@pytest.fixture(autouse=True)
def empty_broker(project_app: TaskQ) -> None:
    for queue in ("default", "slow"):
        project_app.broker.purge(queue)


def app() -> TaskQ:
    return context.get_current_app()


def waiting(queue: str = "default") -> list[TaskMessage]:
    return app().broker.browse(queue, 100)


@contextmanager
def worker(*queues: str) -> Iterator[None]:
    """A worker in this process."""
    with start_worker(app(), queues=queues or ("default", "slow")):
        yield


def ended(result: Any) -> Any:
    """The result, once the task has ended."""
    with worker():
        app().AsyncResult(result.id).get(timeout=20, propagate=False)
    result.refresh()
    return result


class TestEnqueueing(SimpleTestCase):
    def test_a_result_before_the_task_runs(self) -> None:
        result = tasks.add.enqueue(1, y=2)
        assert result.status == TaskResultStatus.READY
        assert not result.is_finished
        assert (result.args, result.kwargs) == ([1], {"y": 2})
        assert result.attempts == 0
        assert result.enqueued_at is not None
        assert (result.started_at, result.finished_at, result.last_attempted_at) == (None,) * 3
        with pytest.raises(ValueError, match="not finished"):
            _ = result.return_value
        again = tasks.add.get_result(result.id)
        assert again == result
        assert again.task == tasks.add

    def test_what_is_sent(self) -> None:
        later = timezone.now() + timedelta(hours=1)
        result = tasks.add.using(run_after=later, priority=100).enqueue(1)
        [message] = waiting()
        assert (message.id, message.priority) == (result.id, 9)
        assert message.task == "tests.django.shop.django_tasks.add"
        assert message.due == later.timestamp()
        assert tasks.add.get_result(result.id).task.run_after == later

    def test_queues(self) -> None:
        tasks.shout.enqueue("a")
        assert [message.priority for message in waiting("slow")] == [own_priority(50)]
        with pytest.raises(InvalidTask, match="Queue 'nowhere'"):
            tasks.add.using(queue_name="nowhere")

    def test_arguments_are_json(self) -> None:
        result = tasks.add.enqueue((1, 2), y=b"text")
        assert (result.args, result.kwargs) == ([[1, 2]], {"y": "text"})
        with pytest.raises(TypeError):
            tasks.add.enqueue(object())
        assert len(waiting()) == 1

    async def test_on_an_event_loop(self) -> None:
        result = await tasks.shout.aenqueue("a")
        assert (await tasks.shout.aget_result(result.id)).status == TaskResultStatus.READY
        await result.arefresh()

    def test_what_is_not_there(self) -> None:
        with pytest.raises(TaskResultDoesNotExist):
            tasks.add.get_result("nothing")
        plain = app().send_task("tests.django.shop.tasks.count")
        with pytest.raises(TaskResultDoesNotExist):
            tasks.add.get_result(plain.id)

    def test_the_result_of_another_task(self) -> None:
        result = tasks.add.enqueue(1)
        with pytest.raises(framework.exceptions.TaskResultMismatch):
            tasks.shout.get_result(result.id)

    def test_a_broker_that_is_away(self) -> None:
        known = len(stored())
        with BrokerAway(), pytest.raises(OperationalError):
            tasks.add.enqueue(1)
        assert len(stored()) == known

    def test_functions_that_a_worker_cannot_find(self) -> None:
        def inner() -> None: ...

        with pytest.raises(InvalidTask, match="module level"):
            framework.task(inner)

    def test_priorities(self) -> None:
        mapped = [own_priority(number) for number in (-100, -1, 0, 11, 12, 99, 100)]
        assert mapped == [0, 4, 4, 4, 5, 8, 9]
        for wrong in (101, -101, 0.5):
            with pytest.raises(InvalidTask, match="priority"):
                tasks.add.using(priority=wrong)  # type: ignore[arg-type]

    @override_settings(USE_TZ=True)
    def test_a_moment_without_a_zone(self) -> None:
        with pytest.raises(InvalidTask, match="aware"):
            tasks.add.using(run_after=datetime(2030, 1, 1))  # noqa: DTZ001

    @override_settings(USE_TZ=False, TIME_ZONE="UTC")
    def test_a_moment_without_a_zone_where_there_are_none(self) -> None:
        tasks.add.using(run_after=datetime(2030, 1, 1)).enqueue(1)  # noqa: DTZ001
        assert waiting()[0].due == datetime(2030, 1, 1, tzinfo=UTC).timestamp()

    def test_what_the_backend_says_of_itself(self) -> None:
        backend = framework.default_task_backend
        assert backend.supports_defer
        assert backend.supports_async_task
        assert backend.supports_get_result
        assert backend.supports_priority
        assert list(backend.check()) == []
        with override_settings(TASKQ_RESULT_BACKEND="disabled"):
            assert not backend.supports_get_result
            assert [each.id for each in backend.check()] == ["taskq.W006"]
            result = tasks.add.enqueue(1)
            with pytest.raises(NotImplementedError):
                result.refresh()
        assert isinstance(framework.task_backends["default"], TaskqBackend)
        assert not [each for each in checks.run_checks(tags=[TAG]) if each.level >= checks.ERROR]

    def test_that_its_module_can_be_autodiscovered(self) -> None:
        app().autodiscover_tasks(["taskq.contrib.django"], force=True)


class TestRunning(SimpleTestCase):
    def test_success(self) -> None:
        result = ended(tasks.add.enqueue(1, y=2))
        assert result.status == TaskResultStatus.SUCCESSFUL
        assert result.is_finished
        assert result.return_value == 3
        assert result.errors == []
        assert result.attempts == len(result.worker_ids) == 1
        assert result.enqueued_at <= result.started_at <= result.finished_at
        assert result.started_at == result.last_attempted_at

    def test_failure(self) -> None:
        result = ended(tasks.fail.enqueue("nothing"))
        assert result.status == TaskResultStatus.FAILED
        [error] = result.errors
        assert error.exception_class is KeyError
        assert "in fail" in error.traceback
        with pytest.raises(ValueError, match="failed"):
            _ = result.return_value

    def test_coroutines(self) -> None:
        assert ended(tasks.shout.enqueue("a")).return_value == "A"

    def test_contexts(self) -> None:
        result = ended(tasks.who.enqueue("more"))
        assert result.return_value == [result.id, 1, "RUNNING", "more"]
        result = ended(tasks.awho.enqueue())
        assert result.return_value == [result.id, 1]

    def test_values_are_json(self) -> None:
        assert ended(tasks.flip_twice.enqueue([1, 2])).return_value == [2, 1]
        result = ended(tasks.returns_an_object.enqueue())
        assert result.status == TaskResultStatus.FAILED
        assert result.errors[0].exception_class is TypeError

    def test_that_it_is_revoked(self) -> None:
        result = tasks.add.enqueue(1)
        app().control.revoke(result.id)
        result = ended(result)
        assert result.status == TaskResultStatus.FAILED
        assert result.errors[0].exception_class_path == "taskq.exceptions.TaskRevokedError"

    def test_signals(self) -> None:
        told: list[tuple[str, str, type]] = []
        over = threading.Event()

        def tell(name: str) -> Any:
            def receiver(sender: type, task_result: Any, **kwargs: Any) -> None:
                told.append((name, task_result.status, sender))
                if name == "finished":
                    over.set()

            return receiver

        receivers = {
            task_enqueued: tell("enqueued"),
            task_started: tell("started"),
            task_finished: tell("finished"),
        }
        for signal, receiver in receivers.items():
            signal.connect(receiver)
        try:
            with worker("default"):
                tasks.add.enqueue(1)
                assert over.wait(20)
        finally:
            for signal, receiver in receivers.items():
                signal.disconnect(receiver)
        kinds = [("enqueued", "READY"), ("started", "RUNNING"), ("finished", "SUCCESSFUL")]
        assert told == [(*each, TaskqBackend) for each in kinds]

    def test_that_somebody_calls_it_by_its_name(self) -> None:
        with worker("default"):
            sent = app().send_task("tests.django.shop.django_tasks.add", [1, 2])
            assert sent.get(timeout=20) == 3
        assert tasks.add.get_result(sent.id).return_value == 3


class TestCommits(TestCase):
    def setUp(self) -> None:
        self.later = tasks.add.using(backend="later")

    def test_that_it_is_enqueued_at_once(self) -> None:
        with self.captureOnCommitCallbacks() as callbacks:
            tasks.add.enqueue(1)
        assert callbacks == []
        assert len(waiting()) == 1

    def test_that_it_waits_for_the_commit_where_that_is_said(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            result = self.later.enqueue(1)
            assert waiting() == []
            assert result.enqueued_at is None
            with pytest.raises(TaskResultDoesNotExist):
                self.later.get_result(result.id)
        assert len(waiting()) == 1
        assert self.later.get_result(result.id).enqueued_at == result.enqueued_at

    @override_settings(TASKQ_OUTBOX=True)
    def test_the_outbox(self) -> None:
        with self.captureOnCommitCallbacks(execute=True), transaction.atomic():
            tasks.add.enqueue(1)
            transaction.set_rollback(True)
        with self.captureOnCommitCallbacks(execute=True):
            result = tasks.add.enqueue(1)
            assert waiting() == []
        assert [message.id for message in waiting()] == [result.id]
        assert tasks.add.get_result(result.id).status == TaskResultStatus.READY


@override_settings(TASKQ_TASK_ALWAYS_EAGER=True, TASKQ_TASK_EAGER_PROPAGATES=True)
class TestEagerly(TestCase):
    def test_success(self) -> None:
        result = tasks.add.enqueue(1, 2)
        assert result.status == TaskResultStatus.SUCCESSFUL
        assert result.return_value == 3
        assert result.attempts == 1
        assert tasks.who.enqueue("x").return_value[1:] == [1, "RUNNING", "x"]

    def test_failure(self) -> None:
        result = tasks.fail.enqueue("x")
        assert result.status == TaskResultStatus.FAILED
        assert result.errors[0].exception_class is KeyError

    async def test_on_an_event_loop(self) -> None:
        assert (await tasks.shout.aenqueue("a")).return_value == "A"


def test_that_tasks_can_be_pickled():
    if hasattr(type(tasks.add), "_reconstruct"):  # Django 6.0 and later
        assert pickle.loads(pickle.dumps(tasks.add)) == tasks.add


def stored() -> Any:
    return app().backend.fetch([f"{message.id}.django" for message in waiting()])
