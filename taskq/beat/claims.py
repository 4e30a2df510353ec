"""From an entry that is due to the step that a store is asked for."""

from __future__ import annotations

import logging
from datetime import tzinfo
from typing import TYPE_CHECKING

from taskq.beat.stores.base import Claim
from taskq.beat.stores.registry import namespace_of
from taskq.beat.ticks import Due, messages_of, tick_key, ticks_due
from taskq.exceptions import OperationalError
from taskq.schedules import ScheduleEntry, crontab

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.beat.timetable import Slot
    from taskq.message import TaskMessage

logger = logging.getLogger("taskq.beat")


class ClaimMaker:
    """Makes claims.

    Args:
        app: the app.
        zone: of rules without one.
        once: give messages a key, for a store that does not send them in the same step.
    """

    def __init__(self, app: TaskQ, zone: tzinfo, once: bool) -> None:
        self._app = app
        self._zone = zone
        self._once = once
        self._namespace = namespace_of(app)

    def claim(self, slot: Slot, now: float) -> Claim | None:
        """The step of an entry that is due; None if its rule cannot say what comes next.

        Args:
            slot: the entry.
            now: the time.

        Raises:
            OperationalError: the broker, which must know an exchange, cannot be reached.
        """
        entry, due = slot.entry, slot.due
        assert due is not None
        missed = entry.missed or self._app.conf.beat_missed
        lateness = self._max_lateness(entry)
        try:
            found = ticks_due(entry.schedule, due, now, self._zone, missed, lateness)
        except Exception:
            # A rule of the user's own: nothing says when it would run again.
            logger.exception("schedule entry %s cannot say when it runs next: it rests", entry.name)
            return None
        claim = Claim(
            *(entry.name, slot.revision, due, found.last, found.next_due),
            missed=found.missed,
            now=now,
            lateness=max(0.0, now - found.last),
        )
        claim.messages = self._messages(entry, found, claim)
        return claim

    def _messages(self, entry: ScheduleEntry, found: Due, claim: Claim) -> list[TaskMessage]:
        """The messages of all ticks; those that cannot be made are counted."""
        messages: list[TaskMessage] = []
        for tick in found.ticks:
            key = tick_key(self._namespace, entry.name, tick)
            try:
                made = messages_of(self._app, entry, key, tick, self._once)
                self._app.producer.prepare(made)
            except OperationalError:
                raise
            except Exception as exc:
                fail(claim, exc, 1)
            else:
                claim.runs += 1
                messages += made
        return messages

    def _max_lateness(self, entry: ScheduleEntry) -> float | None:
        if entry.max_lateness is None and isinstance(entry.schedule, crontab):
            return self._app.conf.beat_cron_starting_deadline
        return entry.max_lateness


def fail(claim: Claim, exc: Exception, ticks: int) -> None:
    """Count ticks that cannot be sent, and say why."""
    claim.failures += ticks
    claim.error = f"{type(exc).__name__}: {exc}"
    logger.error("schedule entry %s cannot be sent: %s", claim.name, claim.error)
