"""Calls that wait for a commit, in Django's own test cases."""

from __future__ import annotations

import pytest
from django.db import transaction
from django.test import TestCase, TransactionTestCase, override_settings

from taskq import context
from taskq.brokers.memory import MemoryBroker
from taskq.exceptions import EncodeError, OperationalError
from taskq.message import TaskMessage
from tests.django.shop.models import Order
from tests.django.shop.tasks import aship, count, fail, ship


def waiting() -> list[TaskMessage]:
    """What has been sent."""
    broker = context.get_current_app().broker
    return broker.browse("default", 100)


@pytest.fixture(autouse=True)
def empty_broker() -> None:
    broker = context.get_current_app().broker
    assert isinstance(broker, MemoryBroker)
    broker.purge("default")


class TestInATestCase(TestCase):
    databases = frozenset({"default", "other"})

    def test_that_it_waits(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            task_id = ship.delay_on_commit("a")
            assert waiting() == []
        [message] = waiting()
        assert message.id == task_id
        assert message.task == "tests.django.shop.tasks.ship"

    def test_that_a_rollback_sends_nothing(self) -> None:
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            with transaction.atomic():
                ship.delay_on_commit("a")
                transaction.set_rollback(True)
            ship.delay_on_commit("b")
        assert len(callbacks) == 1
        assert len(waiting()) == 1

    def test_options(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            task_id = ship.apply_async_on_commit(["a"], priority=7, task_id="mine", countdown=60)
        [message] = waiting()
        assert task_id == message.id == "mine"
        assert message.priority == 7
        assert message.due is not None

    def test_another_database(self) -> None:
        with self.captureOnCommitCallbacks(using="other", execute=True) as callbacks:
            ship.apply_async_on_commit(["a"], using="other")
        assert len(callbacks) == 1
        assert len(waiting()) == 1

    def test_that_mistakes_are_told_by_the_call(self) -> None:
        with pytest.raises(TypeError):
            ship.delay_on_commit("a", "b")  # type: ignore[call-arg]
        with pytest.raises(EncodeError):
            ship.delay_on_commit(object())  # type: ignore[arg-type]

    def test_that_arguments_are_those_of_the_call(self) -> None:
        names = ["a"]
        with self.captureOnCommitCallbacks(execute=True):
            ship.apply_async_on_commit([names])
            names.append("b")
        [message] = waiting()
        assert b'"b"' not in message.body

    async def test_on_an_event_loop(self) -> None:
        task_id = await ship.adelay_on_commit("a")
        other_id = await ship.aapply_async_on_commit(["b"], priority=3)
        assert task_id != other_id
        assert waiting() == []

    @override_settings(TASKQ_TASK_ALWAYS_EAGER=True)
    def test_that_eager_calls_wait_as_well(self) -> None:
        Order.objects.create(name="a")
        with self.captureOnCommitCallbacks(execute=True):
            ship.delay_on_commit("a")
            assert not Order.objects.get().done
        assert Order.objects.get().done


class TestWithoutATransaction(TransactionTestCase):
    def test_that_it_is_sent_at_once(self) -> None:
        task_id = ship.delay_on_commit("a")
        assert [message.id for message in waiting()] == [task_id]

    def test_a_real_transaction(self) -> None:
        with transaction.atomic():
            ship.delay_on_commit("a")
            assert waiting() == []
        assert len(waiting()) == 1

    def test_a_broker_that_is_away(self) -> None:
        place = "sqlite:////nowhere/taskq.db"
        policy = {"max_retries": 0}
        with override_settings(TASKQ_BROKER_URL=place), pytest.raises(OperationalError):
            ship.apply_async_on_commit(["a"], retry_policy=policy)


@override_settings(TASKQ_TASK_ALWAYS_EAGER=True)
class TestEagerly(TestCase):
    def setUp(self) -> None:
        Order.objects.create(name="a")

    def test_that_tasks_see_the_transaction(self) -> None:
        assert ship.delay("a").get() == 1
        assert Order.objects.get().done

    def test_that_connections_are_left_alone(self) -> None:
        with self.assertNumQueries(3):
            count.delay()
            count.delay()
            Order.objects.count()

    def test_that_coroutines_see_it_too(self) -> None:
        assert aship.delay("a").get() == 1
        assert Order.objects.get().done

    async def test_calls_from_an_event_loop(self) -> None:
        assert await (await aship.adelay("a")) == 1
        assert await (await ship.adelay("a")) == 1
        assert (await Order.objects.aget()).done

    def test_errors(self) -> None:
        with pytest.raises(ValueError, match="a"):
            fail.delay("a").get()
        with (
            override_settings(TASKQ_TASK_EAGER_PROPAGATES=True),
            pytest.raises(ValueError, match="a"),
        ):
            fail.delay("a")
