"""The scheduler: keeps entries and their store in step, and sends what is due."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import tzinfo
from typing import TYPE_CHECKING

from taskq.beat.claims import ClaimMaker, fail
from taskq.beat.entries import Entries
from taskq.beat.outbox import Outbox
from taskq.beat.stores.base import Claim, Record, ScheduleStore
from taskq.beat.ticks import first_time, next_time
from taskq.beat.timetable import Slot, Timetable
from taskq.exceptions import OperationalError
from taskq.producer import time_zone
from taskq.schedules import ScheduleEntry, schedule
from taskq.schedules.zones import machine_zone

if TYPE_CHECKING:
    from taskq.app import TaskQ

logger = logging.getLogger("taskq.beat")

BATCH = 500
"""Entries that are claimed in one step at most."""
_MESSAGES = 2000
"""Messages that are claimed in one step, about."""
_NOT_BORN = "0"
"""The birth of a store that nobody has written to."""
_SET_BACK = 1.0
"""Seconds by which the clock must go back before it counts as set back."""


class Scheduler:
    """Sends what is due.  `start` it, and call `tick` again and again; `Beat` does.

    Args:
        app: the app.
        store: what all beats of this app share.
        entries: what the app's code has.
        poll: seconds between two looks at the store.
        clock: this machine's clock, a Unix time.
        monotonic: a clock that nobody sets.
    """

    def __init__(
        self,
        app: TaskQ,
        store: ScheduleStore,
        entries: Mapping[str, ScheduleEntry],
        poll: float = 0.5,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.app = app
        self.store = store
        self.timetable = Timetable()
        self.zone: tzinfo = time_zone(app.conf) or machine_zone()
        self.sent = 0
        self.lateness = 0.0
        self.monotonic = monotonic
        self._entries = Entries(app, entries, self.zone)
        self._claims = ClaimMaker(app, self.zone, once=not store.sends)
        self._outbox = (
            None if store.sends else Outbox(store, app.broker, app.conf.beat_lease, monotonic)
        )
        self._poll = poll
        self._clock = clock
        self._offset = 0.0
        self._polled = float("-inf")
        self._version: str | None = None
        self._stale = False
        self._now = float("-inf")

    # Entries

    def start(self) -> None:
        """Bring store and code into step, and see what is due when.

        Raises:
            OperationalError: the store cannot be reached, read or written.
            ImproperlyConfigured: it cannot be used.
        """
        self._look()
        now = self.now()
        rows = self.store.load()
        changes = self._entries.changes(rows, now)
        if changes.fresh or changes.gone:
            self.store.put(changes.fresh)
            self.store.remove(changes.gone)
            self._look()
            rows = self.store.load()
        self._now = now
        self._fill(rows)
        self._entries.warn_of_unknown_tasks(self.timetable.slots.values())
        self._restart_intervals(now)

    def _fill(self, rows: Sequence[Record]) -> None:
        self.timetable.fill(self._entries.slots(rows, self.timetable.slots))

    def _follow(self) -> None:
        """Look at the store, and do as it says if somebody has edited it."""
        before = self._version
        self._stale = self._look() or self._stale
        if not self._stale:
            return
        try:
            if before is None or _birth(before) == _birth(self._version):
                self._fill(self.store.load())
            else:
                if _birth(before) != _NOT_BORN:
                    logger.error("the schedule store has lost its entries: the app's start afresh")
                self.start()
            self._stale = False
        except OperationalError:
            self._version = before  # it is followed at the next look
            raise

    # Time

    def now(self) -> float:
        """The time by the clock that all beats of the store share, as a Unix time."""
        return self._clock() + self._offset

    def _look(self) -> bool:
        """Look at the store: the time, and whether somebody has edited it."""
        before = self._clock()
        now, version = self.store.poll()
        after = self._clock()
        # The clock was read somewhere between the question and the answer.  If ours says the
        # same, it may be the same clock, and half of the way would make it wrong.
        self._offset = 0.0 if before <= now <= after else now - (before + after) / 2
        self._polled = self.monotonic()
        changed, self._version = version != self._version, version
        return changed

    def _restart_intervals(self, now: float) -> None:
        """Let intervals start afresh whose next run is further away than they are long."""
        for name, slot in self.timetable.slots.items():
            rule, due = slot.entry.schedule, slot.due
            if due is None or not isinstance(rule, schedule):
                continue
            if due > now + rule.seconds + _SET_BACK:
                following = first_time(rule, now, self.zone)
                if self.store.reset(name, due, following):
                    self.timetable.move(name, following)

    def _clock_was_set_back(self, seconds: float, now: float) -> None:
        """The ticks up to the time that it was have been sent, and are not sent again."""
        self._restart_intervals(now)
        waiting = sorted(
            name
            for name, slot in self.timetable.slots.items()
            if slot.due is not None
            and not isinstance(slot.entry.schedule, schedule)
            and (regular := next_time(slot.entry.schedule, now, self.zone)) is not None
            and regular < slot.due
        )
        logger.warning(
            "the clock was set back by %.0f seconds; %d entries have run up to a later time and "
            "wait for it%s",
            seconds,
            len(waiting),
            f", such as {waiting[0]}; `taskq schedule reset` lets them run sooner" * bool(waiting),
        )

    # Ticks

    def tick(self) -> float:
        """Send what is due.

        Returns:
            Seconds after which there is something to do again.

        Raises:
            OperationalError: the store, or the broker, cannot be reached: call again later.
        """
        if self.monotonic() - self._polled >= self._poll:
            self._follow()
            if self._outbox is not None:
                self._outbox.deliver()
        now = self.now()
        if now < self._now - _SET_BACK:
            self._clock_was_set_back(self._now - now, now)
        self._now = now
        before = self.sent
        self._send_due(now)
        if self._outbox is not None and self.sent != before:
            self._outbox.deliver()
        first = self.timetable.first()
        rest = self._polled + self._poll - self.monotonic()
        if first is not None:
            rest = min(rest, first - self.now())
        return max(0.0, rest)

    def _send_due(self, now: float) -> None:
        lost = False
        while not lost and (slots := self.timetable.due(now, BATCH)):
            # They are out of the heap, and what is not carried out must get back there.
            waiting = {slot.entry.name: slot for slot in slots}
            try:
                for claims in self._parts(slots, now):
                    lost = not self._carry_out(claims) or lost
                    for claim in claims:
                        del waiting[claim.name]
            finally:
                for name, slot in waiting.items():
                    if name in self.timetable.slots:
                        self.timetable.move(name, slot.due)

    def _parts(self, slots: Sequence[Slot], now: float) -> Iterator[list[Claim]]:
        """What is to be claimed, in steps of a bounded number of messages."""
        part: list[Claim] = []
        messages = 0
        for slot in slots:
            claim = self._claims.claim(slot, now)
            if claim is None:
                self.timetable.discard(slot.entry.name)
                continue
            part.append(claim)
            messages += len(claim.messages)
            if messages >= _MESSAGES:
                yield part
                part, messages = [], 0
        if part:
            yield part

    def _carry_out(self, claims: Sequence[Claim]) -> bool:
        """Claim ticks and send them; False if some were another beat's, or not due yet."""
        try:
            won = self.store.claim(claims)
        except OperationalError:
            raise
        except Exception as exc:
            if len(claims) > 1:
                # One of them cannot be sent, and must not keep the others from it.
                return min([self._carry_out([claim]) for claim in claims])
            fail(claims[0], exc, claims[0].runs)
            claims[0].runs, claims[0].messages = 0, ()
            won = self.store.claim(claims)
        for claim in claims:
            if claim.name in won:
                self._won(claim)
        return self._read_again([claim.name for claim in claims if claim.name not in won])

    def _won(self, claim: Claim) -> None:
        slot = self.timetable.slots[claim.name]
        self.timetable.move(claim.name, claim.next_due)
        self.sent += claim.runs
        if claim.runs:
            self.lateness = claim.lateness
            logger.info("Scheduler: Sending due task %s (%s)", claim.name, slot.entry.task)
            self.app.producer.published(claim.messages)
        if claim.missed:
            logger.warning(
                "schedule entry %s: %d ticks were too late to be sent", claim.name, claim.missed
            )

    def _read_again(self, names: Sequence[str]) -> bool:
        """See where entries stand that another beat has moved, or somebody has edited.

        Returns:
            Whether there were none.
        """
        if not names:
            return True
        # Perhaps the store's clock says that it is too early: look at it before the next try.
        self._polled = float("-inf")
        stored = {record.name: record for record in self.store.read(names)}
        for name in names:
            record, slot = stored.get(name), self.timetable.slots[name]
            if record is None or not record.enabled or record.revision != slot.revision:
                self.timetable.discard(name)
                self._stale = True  # the next look loads everything
            elif _has_run(record):
                following = next_time(slot.entry.schedule, record.last_due or 0.0, self.zone)
                self.store.reset(name, record.due, following)
                self.timetable.discard(name)
                self._stale = True
            else:
                self.timetable.move(name, record.due)
        return False


def _birth(version: str | None) -> str:
    """The part of a store's version that changes when it was made anew."""
    return (version or "").partition(".")[0]


def _has_run(record: Record) -> bool:
    """Is its next tick one that was claimed already, by another rule or another clock?"""
    return record.due is not None and record.last_due is not None and record.due <= record.last_due
