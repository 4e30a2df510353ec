"""Writing messages to the outbox, in place of sending them."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async
from django.db import DEFAULT_DB_ALIAS, Error, transaction

from taskq.contrib.django.outbox.table import Table
from taskq.exceptions import OperationalError
from taskq.middleware import Messages, Middleware

if TYPE_CHECKING:
    from taskq.app import TaskQ

logger = logging.getLogger("taskq.django")


class Outbox(Middleware):
    """With the setting ``outbox``: what is sent in a transaction is written in it.

    When that is committed this process publishes it at once, and whatever keeps it from doing so,
    a relay publishes it later.  What is sent without a transaction is published as ever, and
    written if the broker is away.

    Args:
        app: whose messages.
    """

    def __init__(self, app: TaskQ) -> None:
        self._app = app
        self._table = Table(claim_time(app))

    def commits_with(self, using: str | None) -> bool:
        """Is what is sent now written in the transaction that this database is in?"""
        alias = self._table.alias
        return self._app.conf.outbox and alias == (using or DEFAULT_DB_ALIAS) and _in_atomic(alias)

    def publish(self, messages: Messages, send: Callable[[Messages], None]) -> None:
        """Send, or write; see the class."""
        if not self._app.conf.outbox:
            send(messages)
        elif not self._written(messages):
            try:
                send(messages)
            except OperationalError as exc:
                self._keep(messages, exc)

    async def apublish(
        self, messages: Messages, send: Callable[[Messages], Awaitable[None]]
    ) -> None:
        """`publish` for code on an event loop: its queries have a thread of their own."""
        if not self._app.conf.outbox:
            await send(messages)
        elif not await sync_to_async(self._written)(messages):
            try:
                await send(messages)
            except OperationalError as exc:
                await sync_to_async(self._keep)(messages, exc)

    def _written(self, messages: Messages) -> bool:
        """Write messages, if there is a transaction for it."""
        table = self._table
        if not _in_atomic(table.alias):
            return False
        self._app.producer.announce(messages)
        until = time.monotonic() + table.lease / 2
        ids = table.write(messages)
        transaction.on_commit(partial(self._committed, messages, ids, until), table.alias)
        return True

    def _keep(self, messages: Messages, error: OperationalError) -> None:
        """Write what the broker has not taken; it was announced before it was sent."""
        self._table.release(self._table.write(messages))
        logger.warning("kept in the outbox until the broker is back: %s", error)

    def _committed(self, messages: Messages, ids: list[str], until: float) -> None:
        """Publish what has been committed, unless a relay may be doing so by now."""
        if time.monotonic() > until:
            return
        try:
            self._app.producer.deliver(messages)
        except Exception as exc:  # whatever a broker may have against a message
            logger.warning("left in the outbox, to be published later: %s", exc)
            done = partial(self._table.release, ids)
        else:
            done = partial(self._table.delete, ids)
        try:
            done()
        except Error as exc:
            # It will be published again then, and the broker will recognise it.
            logger.warning("cannot tell the outbox what was published: %s", exc)


def claim_time(app: TaskQ) -> float:
    """Seconds for which messages are claimed: what has been held by the dead is free after it."""
    return app.conf.broker_lease / 2


def _in_atomic(alias: str) -> bool:
    return bool(transaction.get_connection(alias).in_atomic_block)
