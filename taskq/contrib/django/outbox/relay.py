"""The relay: publishes what was committed, and not published by whoever committed it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from django.db import Error, connections

from taskq.contrib.django.database import explain
from taskq.contrib.django.models import OutboxMessage
from taskq.contrib.django.outbox.table import Table
from taskq.contrib.django.outbox.writing import claim_time
from taskq.exceptions import ImproperlyConfigured, OperationalError
from taskq.message import unpack

if TYPE_CHECKING:
    from taskq.app import TaskQ

logger = logging.getLogger("taskq.django")

POLL = 1.0
"""Seconds between two looks into the outbox."""
_BATCH = 100
"""Messages that are published in one round trip at most."""
_COMPLAIN = 30
"""Looks after which it is told again that broker or database are away."""
_LONGEST = 3600.0
"""Seconds after which a message is tried again at the latest."""


class Relay:
    """Publishes what lies in the outbox.  Any number of them may run.

    A message is published at least once.  Should a relay die between publishing and deleting, it
    is published again under the same key, by which Redis, SQLite and, where the task runs,
    RabbitMQ recognise it.

    Args:
        app: whose messages.
    """

    def __init__(self, app: TaskQ) -> None:
        self._app = app
        self._table = Table(claim_time(app))
        self._stop = threading.Event()

    @property
    def alias(self) -> str:
        """The database that the outbox is in."""
        return self._table.alias

    def check(self) -> None:
        """See that there is an outbox.

        Raises:
            ImproperlyConfigured: the database has no table for it.
            OperationalError: the database cannot be reached.
        """
        alias = self.alias
        try:
            tables = connections[alias].introspection.table_names()
        except Error as exc:
            raise explain(exc, connections[alias]) from exc
        if OutboxMessage._meta.db_table not in tables:
            raise ImproperlyConfigured(
                f"TASKQ_OUTBOX is on, and the database {alias!r} has no table for it: run "
                "`manage.py migrate`"
            )

    def deliver(self) -> int:
        """Publish what is there and nobody has claimed.

        Returns:
            How many messages that were.

        Raises:
            OperationalError: the broker cannot be reached; what is left is tried again.
            Error: the database cannot.
        """
        published = 0
        while rows := self._table.claim(_BATCH):
            published += self._publish(rows)
        return published

    def _publish(self, rows: Sequence[OutboxMessage]) -> int:
        try:
            self._app.producer.deliver([unpack(bytes(row.message)) for row in rows], retry=False)
        except Exception as exc:  # whatever a broker may have against a message
            if len(rows) > 1:
                return self._publish_singly(rows)
            seconds = min(_LONGEST, 2.0 ** min(rows[0].attempts, 12))
            self._table.postpone(rows[0], exc, seconds)
            logger.error("%s cannot be published, again in %g s: %s", rows[0], seconds, exc)
            return 0
        self._table.delete([row.id for row in rows])
        return len(rows)

    def _publish_singly(self, rows: Sequence[OutboxMessage]) -> int:
        """One of them cannot be published, and the others must not wait for it; or none can."""
        published = failed = 0
        for number, row in enumerate(rows, 1):
            count = self._publish([row])
            published += count
            failed += 1 - count
            if failed == number == 3:
                self._table.release([row.id for row in rows[number:]])
                raise OperationalError("the broker takes none of the messages in the outbox")
        return published

    def run(self, on_ready: Callable[[], None] | None = None) -> None:
        """Publish until stopped; blocks.

        Args:
            on_ready: called, in this thread, once it looks into the outbox.

        Raises:
            ImproperlyConfigured: the database has no table for it.
        """
        try:
            self.check()
            if on_ready is not None:
                on_ready()
            away = 0
            while not self._stop.is_set():
                try:
                    self.deliver()
                except (Error, OperationalError) as exc:
                    # The connection is kept from look to look, and may have ended meanwhile.
                    connections.close_all()
                    if away % _COMPLAIN == 1:
                        logger.error("the outbox cannot be emptied, trying again: %s", exc)
                    away += 1
                else:
                    away = 0
                self._stop.wait(POLL)
        finally:
            connections.close_all()

    def stop(self) -> None:
        """Ask it to stop; can be called from any thread."""
        self._stop.set()
