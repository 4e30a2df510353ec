"""The rows of the outbox: written, claimed, deleted."""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection, Iterable, Sequence
from contextlib import nullcontext
from datetime import timedelta
from uuid import UUID

from django.db import connections, router, transaction
from django.utils import timezone

from taskq.contrib.django.models import OutboxMessage
from taskq.message import TaskMessage, new_id, pack


class Table:
    """The table, as one publisher of messages sees it.

    Args:
        lease: seconds for which it claims messages.
    """

    def __init__(self, lease: float) -> None:
        self.lease = lease
        self._token = (0, "")

    @property
    def alias(self) -> str:
        """The database that it is in."""
        return router.db_for_write(OutboxMessage)

    def write(self, messages: Sequence[TaskMessage]) -> list[str]:
        """Write messages, claimed by this process.

        Each gets a key by which a broker recognises it if it comes twice.

        Returns:
            The ids of the rows.
        """
        now = timezone.now()
        rows = []
        for message in messages:
            row_id = new_id()
            message.once = message.once or f"outbox-{row_id}"
            rows.append(
                OutboxMessage(
                    id=row_id,
                    task_id=message.id[:255],
                    task=message.task[:255],
                    message=pack(message),
                    written=now,
                    claimed_by=self.token,
                    claimed_until=now + timedelta(seconds=self.lease),
                )
            )
        OutboxMessage.objects.using(self.alias).bulk_create(rows)
        return [str(row.id) for row in rows]

    def claim(self, limit: int) -> list[OutboxMessage]:
        """Claim messages that nobody holds, the oldest first.

        Two who do that at the same time get different ones: rows are locked where the database
        can pass by those that others have locked, and a claim of what is claimed fails anyway.
        """
        alias, now, token = self.alias, timezone.now(), f"{self.token}.{secrets.token_hex(4)}"
        table = OutboxMessage.objects.using(alias)
        free = table.filter(claimed_until__lte=now)
        # SQLite has no locks of rows, and a transaction that begins by reading cannot always
        # go on to write.
        locks = connections[alias].features.has_select_for_update_skip_locked
        with transaction.atomic(alias) if locks else nullcontext():
            found = free.order_by("id").values_list("id", flat=True)
            if locks:
                found = found.select_for_update(skip_locked=True)
            ids = list(found[:limit])
            if not ids:
                return []
            until = now + timedelta(seconds=self.lease)
            free.filter(id__in=ids).update(claimed_by=token, claimed_until=until)
        return list(table.filter(claimed_by=token).order_by("id"))

    def release(self, ids: Collection[UUID | str]) -> None:
        """Let others have messages at once."""
        rows = OutboxMessage.objects.using(self.alias).filter(id__in=list(ids))
        rows.update(claimed_until=timezone.now())

    def delete(self, ids: Iterable[UUID | str]) -> None:
        """Forget messages that have been published."""
        rows = OutboxMessage.objects.using(self.alias).filter(id__in=list(ids))
        # One statement: nothing refers to these rows, and nobody listens.
        rows._raw_delete(self.alias)

    def postpone(self, row: OutboxMessage, error: Exception, seconds: float) -> None:
        """Note that a message could not be published, and when to try again."""
        rows = OutboxMessage.objects.using(self.alias).filter(id=row.id)
        until = timezone.now() + timedelta(seconds=seconds)
        rows.update(attempts=row.attempts + 1, error=str(error), claimed_until=until)

    @property
    def token(self) -> str:
        """Names this process."""
        pid, token = self._token
        if pid != os.getpid():
            token = f"{os.getpid()}.{secrets.token_hex(8)}"
            self._token = os.getpid(), token
        return token
