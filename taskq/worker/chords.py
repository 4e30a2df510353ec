"""Chords whose members have all ended, but whose body was not sent: somebody has to see it.

The message that sends the body is a message like any other: it can be purged, or end as a dead
letter. Then the store still has all that is needed, and any worker may send it once more.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING

from taskq.backends.base import ChordRecord
from taskq.exceptions import TaskQError
from taskq.follow_ups import FollowUps
from taskq.message import TaskMessage, unpack

if TYPE_CHECKING:
    from taskq.app import TaskQ

logger = logging.getLogger("taskq.worker")

EVERY = 60.0
"""Seconds between two looks, more or less, so that the workers of a fleet do not look at once."""
AT_ONCE = 500
"""Chords that one look goes through; the next one goes on from there."""


class ChordKeeper:
    """Looks for such chords, a few at a time.

    A chord that is complete at two looks is late; one that is nearly as old as the store keeps
    it fails.

    Args:
        app: whose store and broker.
        queue: a queue that this worker consumes, where the message goes.
    """

    def __init__(self, app: TaskQ, queue: str) -> None:
        self._app = app
        self._queue = queue
        self._after = ""
        self._complete: set[str] = set()
        self._seen: set[str] = set()

    async def run(self, every: float = EVERY) -> None:
        """Look now and then, until cancelled."""
        while True:
            await asyncio.sleep(every * random.uniform(0.75, 1.25))
            try:
                await asyncio.to_thread(self.look)
            except TaskQError as exc:
                logger.warning("chords could not be looked at: %s", exc)

    def look(self) -> int:
        """Go through a few chords, and send what is late; returns how many that were."""
        records = self._app.backend.open_chords(self._after, AT_ONCE)
        late = [message for record in records if (message := self._late(record)) is not None]
        if late:
            self._app.producer.publish(late)
        if len(records) == AT_ONCE:
            self._after = records[-1].group
        else:
            # Once through all of them: what is complete now is late at the next turn.
            self._after, self._complete, self._seen = "", self._seen, set()
        return len(late)

    def _late(self, record: ChordRecord) -> TaskMessage | None:
        try:
            kept = unpack(record.payload)
            size = int(kept.headers["chord_size"])
        except (TaskQError, KeyError, TypeError, ValueError):
            logger.warning("what is kept of chord %s cannot be read", record.group, exc_info=True)
            return None
        age = time.time() - kept.headers.get("opened", 0)
        if record.count >= size:
            self._seen.add(record.group)
            if record.group not in self._complete:
                return None
            logger.warning("chord %s: all members have ended, its body is sent", record.group)
            overdue = False
        elif (kept_for := self._app.backend.chord_expires) and age > 0.9 * kept_for:
            logger.error("chord %s: %d of %d members have ended", record.group, record.count, size)
            overdue = True
        else:
            return None
        # Another key each time: the message of the first time is known as sent.
        key = f"{record.group}:chord:{int(time.time() // EVERY)}"
        return FollowUps(self._app).done(
            [record.group, 0, size], self._queue, once=key, overdue=overdue
        )
