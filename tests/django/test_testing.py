"""taskq's help for tests, within Django's test cases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import TestCase, TransactionTestCase, override_settings

from taskq import TaskQ, context
from taskq.testing import assert_enqueued, drain, in_memory
from tests.django.shop.models import Order
from tests.django.shop.tasks import aship, ship


@pytest.fixture(autouse=True)
def kept_in_memory(project_app: TaskQ) -> Iterator[None]:
    with in_memory(project_app):
        yield


def app() -> TaskQ:
    return context.get_current_app()


class TestInATransaction(TestCase):
    def setUp(self) -> None:
        Order.objects.create(name="a")

    def test_that_what_is_drained_sees_it(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            ship.delay_on_commit("a")
        assert_enqueued(ship, args=("a",))
        with self.assertNumQueries(1):
            assert [run.state for run in drain(app())] == ["SUCCESS"]
        assert Order.objects.get().done

    @override_settings(TASKQ_OUTBOX=True)
    def test_that_what_was_in_the_outbox_is_drained(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            ship.delay("a")
        assert [run.result for run in drain(app(), throw=True)] == [1]
        assert Order.objects.get().done

    @override_settings(TASKQ_TASK_ALWAYS_EAGER=True)
    def test_eager_mode(self) -> None:
        aship.delay("a")
        assert Order.objects.get().done


class TestWithoutOne(TransactionTestCase):
    def test_that_what_is_drained_writes(self) -> None:
        Order.objects.create(name="a")
        ship.delay("a")
        assert [run.state for run in drain(app())] == ["SUCCESS"]
        assert Order.objects.get().done
