"""The transactional outbox, in Django's test cases."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.db import transaction
from django.test import TestCase, TransactionTestCase, override_settings
from django.utils import timezone

from taskq import TaskQ, chain, context, group
from taskq.brokers.memory import MemoryBroker
from taskq.contrib.django.models import OutboxMessage
from taskq.contrib.django.outbox import Relay
from taskq.exceptions import ImproperlyConfigured, OperationalError
from taskq.message import TaskMessage, unpack
from tests.django.shop.tasks import count, ship

pytestmark = pytest.mark.usefixtures("empty_broker")


@pytest.fixture
def empty_broker(project_app: TaskQ) -> None:
    project_app.broker.purge("default")


def app() -> TaskQ:
    return context.get_current_app()


def waiting() -> list[TaskMessage]:
    return app().broker.browse("default", 100)


def forget_claims() -> None:
    OutboxMessage.objects.update(claimed_until=timezone.now())


@override_settings(TASKQ_OUTBOX=True)
class TestWriting(TestCase):
    def test_that_it_is_written_and_not_sent(self) -> None:
        result = ship.delay("a")
        row = OutboxMessage.objects.get()
        assert (row.task_id, row.task) == (result.id, "tests.django.shop.tasks.ship")
        assert unpack(row.message).once == f"outbox-{row.id}"
        assert waiting() == []

    def test_that_the_commit_publishes_it(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            result = ship.delay("a")
        assert [message.id for message in waiting()] == [result.id]
        assert not OutboxMessage.objects.exists()

    def test_that_a_rollback_takes_it_back(self) -> None:
        with self.captureOnCommitCallbacks(execute=True), transaction.atomic():
            ship.delay("a")
            transaction.set_rollback(True)
        assert not OutboxMessage.objects.exists()
        assert waiting() == []

    def test_that_on_commit_is_the_same(self) -> None:
        task_id = ship.delay_on_commit("a")
        assert OutboxMessage.objects.get().task_id == task_id

    def test_workflows(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            chain(ship.si("a"), count.si()).delay()
            group(ship.si("b"), ship.si("c")).delay()
            app().send_many([ship.s("d"), ship.s("e")])
            assert OutboxMessage.objects.count() == 5
        assert len(waiting()) == 5

    async def test_calls_from_an_event_loop(self) -> None:
        await ship.adelay("a")
        assert await OutboxMessage.objects.acount() == 1
        assert waiting() == []

    def test_another_database(self) -> None:
        ship.apply_async_on_commit(["a"], using="other")
        assert not OutboxMessage.objects.exists()

    databases = frozenset({"default", "other"})


@override_settings(TASKQ_OUTBOX=True)
class TestPublishing(TransactionTestCase):
    def test_without_a_transaction(self) -> None:
        ship.delay("a")
        assert len(waiting()) == 1
        assert not OutboxMessage.objects.exists()

    def test_that_what_a_broker_does_not_take_is_kept(self) -> None:
        with BrokerAway() as told:
            ship.delay("a")
            with transaction.atomic():
                ship.delay("b")
        assert len(told) == 2
        assert OutboxMessage.objects.count() == 2
        assert Relay(app()).deliver() == 2
        assert len(waiting()) == 2
        assert not OutboxMessage.objects.exists()

    async def test_the_same_on_an_event_loop(self) -> None:
        with BrokerAway() as told:
            await ship.adelay("a")
        assert len(told) == 1
        assert await OutboxMessage.objects.acount() == 1

    def test_that_what_others_have_claimed_is_left_alone(self) -> None:
        write("a")
        assert Relay(app()).deliver() == 0
        forget_claims()
        relay, other = Relay(app()), Relay(app())
        held = relay._table.claim(10)
        assert len(held) == 1
        assert other._table.claim(10) == []
        assert other.deliver() == 0

    def test_what_is_published_twice(self) -> None:
        write("a")
        forget_claims()
        relay = Relay(app())
        with mock.patch.object(relay._table, "delete"):
            held = relay._table.claim(10)
            relay._publish(held)
        forget_claims()
        assert relay.deliver() == 1
        assert len(waiting()) == 1

    def test_that_one_message_does_not_hold_up_the_others(self) -> None:
        write("a")
        OutboxMessage.objects.update(message=b"no message")
        write("b")
        write("c")
        forget_claims()
        with Logged() as told:
            assert Relay(app()).deliver() == 2
        [bad] = OutboxMessage.objects.all()
        assert bad.attempts == 1
        assert "cannot read a message" in bad.error
        assert bad.claimed_until > timezone.now() + timedelta(seconds=0.5)
        assert len(told) == 1

    def test_a_broker_that_is_away_for_the_relay(self) -> None:
        for name in "abcdef":
            write(name)
        forget_claims()
        with BrokerAway(), pytest.raises(OperationalError, match="takes none"):
            Relay(app()).deliver()
        assert OutboxMessage.objects.count() == 6
        assert OutboxMessage.objects.filter(attempts=0).count() == 3

    def test_a_database_without_the_table(self) -> None:
        with (
            mock.patch.object(OutboxMessage._meta, "db_table", "elsewhere"),
            pytest.raises(ImproperlyConfigured, match=r"manage\.py migrate"),
        ):
            Relay(app()).check()


class TestWithoutTheSetting(TestCase):
    def test_that_nothing_is_written(self) -> None:
        ship.delay("a")
        assert not OutboxMessage.objects.exists()
        assert len(waiting()) == 1


def write(name: str) -> None:
    """Commit a message, and die before it is published."""
    with (
        mock.patch.object(app().producer, "deliver", side_effect=SystemExit),
        pytest.raises(SystemExit),
        transaction.atomic(),
    ):
        ship.delay(name)


class Logged(logging.Handler):
    """What is logged meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())

    def __enter__(self) -> list[str]:
        logging.getLogger("taskq.django").addHandler(self)
        return self.told

    def __exit__(self, *exc_info: object) -> None:
        logging.getLogger("taskq.django").removeHandler(self)


class BrokerAway(Logged):
    """Has the broker refuse everything meanwhile."""

    def __enter__(self) -> list[str]:
        away: Any = OperationalError("it is away")
        self._patch = mock.patch.object(MemoryBroker, "publish", side_effect=away)
        self._apatch = mock.patch.object(MemoryBroker, "apublish", side_effect=away)
        self._patch.start()
        self._apatch.start()
        self._override = override_settings(TASKQ_TASK_PUBLISH_RETRY=False)
        self._override.enable()
        return super().__enter__()

    def __exit__(self, *exc_info: object) -> None:
        super().__exit__(*exc_info)
        self._override.disable()
        self._patch.stop()
        self._apatch.stop()
