"""The scheduler: keeps entries and their store in step, and sends what is due."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import tzinfo
from typing import TYPE_CHECKING

from taskq.beat.definitions import description_of, entry_of, revision_of, shape_of
from taskq.beat.stores.base import IN_CODE, IN_STORE, Claim, Held, Record, ScheduleStore
from taskq.beat.stores.registry import namespace_of
from taskq.beat.ticks import Due, first_time, messages_of, next_time, tick_key, ticks_due
from taskq.beat.timetable import Slot, Timetable
from taskq.exceptions import ImproperlyConfigured, OperationalError
from taskq.message import unpack
from taskq.producer import time_zone
from taskq.schedules import ScheduleEntry, crontab, schedule
from taskq.schedules.zones import machine_zone

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.message import TaskMessage

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
        self._namespace = namespace_of(app)
        self._code = dict(entries)
        self._poll = poll
        self._clock = clock
        self.monotonic = monotonic
        self._offset = 0.0
        self._polled = float("-inf")
        self._version: str | None = None
        self._stale = False
        self._now = float("-inf")
        self._told: set[str] = set()
        self._described: dict[str, bytes] = {}
        self._revisions: dict[str, str] = {}
        self._held: list[Held] = []
        self._held_until = 0.0

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
        stored = {record.name: record for record in rows}
        for name, entry in self._code.items():
            self._described[name] = definition = description_of(entry)
            self._revisions[name] = revision_of(definition)
        fresh = [
            self._to_write(entry, stored.get(name), now)
            for name, entry in self._code.items()
            if name not in stored or stored[name].revision != self._revisions[name]
        ]
        gone = [n for n, row in stored.items() if row.source == IN_CODE and n not in self._code]
        if fresh or gone:
            self.store.put(fresh)
            self.store.remove(gone)
            self._look()
            rows = self.store.load()
        self._described.clear()
        self._now = now
        self._fill(rows)
        self._warn_of_unknown_tasks()
        self._restart_intervals(now)

    def _to_write(self, entry: ScheduleEntry, stored: Record | None, now: float) -> Record:
        """The row of an entry in code, of which the store has none or another one."""
        definition = self._described[entry.name]
        due: float | None
        if stored is not None and stored.source == IN_STORE:
            logger.warning("schedule entry %s of the store is replaced by the app's", entry.name)
        if stored is not None and shape_of(stored.definition) == shape_of(definition):
            due = stored.due  # what has been missed is not forgotten because an argument changed
        else:
            last = stored.last_due if stored is not None else None
            due = first_time(entry.schedule, max(now, last or now), self.zone)
        return Record(entry.name, definition, IN_CODE, self._revisions[entry.name], due=due)

    def _fill(self, rows: Sequence[Record]) -> None:
        """Run all rows that this beat can run."""
        slots = {}
        for record in rows:
            if record.enabled and (slot := self._slot(record)) is not None:
                slots[record.name] = slot
        self.timetable.fill(slots)

    def _slot(self, record: Record) -> Slot | None:
        known = self.timetable.slots.get(record.name)
        if known is not None and known.revision == record.revision:
            return Slot(known.entry, known.revision, record.due, known.source)
        if record.source == IN_CODE:
            entry = self._code.get(record.name)
            if entry is None or not entry.enabled:
                return None
            if self._revisions[record.name] != record.revision:
                self._tell_once(
                    f"{record.name} {record.revision}",
                    "schedule entry %s was changed by a beat that started later: this one leaves "
                    "it alone; restart it with the same code",
                    record.name,
                )
                return None
            return Slot(entry, record.revision, record.due, IN_CODE)
        try:
            entry = entry_of(record.name, record.definition)
        except ImproperlyConfigured as exc:
            self._tell_once(f"{record.name} {record.revision}", "%s; the others go on", exc)
            return None
        return Slot(entry, record.revision, record.due, IN_STORE)

    def _tell_once(self, key: str, text: str, *values: object) -> None:
        if key not in self._told:
            self._told.add(key)
            logger.error(text, *values)

    def _warn_of_unknown_tasks(self) -> None:
        for name, slot in self.timetable.slots.items():
            entry = slot.entry
            if entry.signature is None and entry.task not in self.app.tasks:
                logger.warning(
                    "schedule entry %s: there is no task %r here. It is sent all the same; if no "
                    "worker has it either, it becomes a dead letter",
                    name,
                    entry.task,
                )

    # Time

    def now(self) -> float:
        """The time by the clock that all beats of the store share, as a Unix time."""
        return self._clock() + self._offset

    def _look(self) -> bool:
        """Look at the store: the time, and whether somebody has edited it."""
        before = self._clock()
        now, version = self.store.poll()
        # The clock was read somewhere between the question and the answer.
        self._offset = now - (before + self._clock()) / 2
        if abs(self._offset) < 0.001:
            self._offset = 0.0  # one clock, read twice
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

    def tick(self) -> float:
        """Send what is due.

        Returns:
            Seconds after which there is something to do again.

        Raises:
            OperationalError: the store, or the broker, cannot be reached: call again later.
        """
        if self.monotonic() - self._polled >= self._poll:
            self._follow()
            if not self.store.sends:
                self._deliver()
        now = self.now()
        if now < self._now - _SET_BACK:
            self._clock_was_set_back(self._now - now, now)
        self._now = now
        before = self.sent
        self._send_due(now)
        if not self.store.sends and (self._held or self.sent != before):
            self._deliver()
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
        for slot in slots:
            if (claim := self._claim(slot, now)) is not None:
                part.append(claim)
            if sum(len(claim.messages) for claim in part) >= _MESSAGES:
                yield part
                part = []
        if part:
            yield part

    def _claim(self, slot: Slot, now: float) -> Claim | None:
        entry, due = slot.entry, slot.due
        assert due is not None
        try:
            found = ticks_due(
                entry.schedule, due, now, self.zone, self._missed(entry), self._max_lateness(entry)
            )
        except Exception:
            # A rule of the user's own: nothing says when it would run again.
            logger.exception("schedule entry %s cannot say when it runs next: it rests", entry.name)
            self.timetable.discard(entry.name)
            return None
        return self._claim_of(slot, due, found, now)

    def _claim_of(self, slot: Slot, due: float, found: Due, now: float) -> Claim:
        entry = slot.entry
        claim = Claim(
            *(entry.name, slot.revision, due, found.last, found.next_due),
            missed=found.missed,
            now=now,
            lateness=max(0.0, now - found.last),
        )
        messages: list[TaskMessage] = []
        for tick in found.ticks:
            key = tick_key(self._namespace, entry.name, tick)
            try:
                made = messages_of(self.app, entry, key, tick, once=not self.store.sends)
                self.app.producer.prepare(made)
            except OperationalError:
                raise
            except Exception as exc:
                claim.failures += 1
                claim.error = f"{type(exc).__name__}: {exc}"
                logger.error("schedule entry %s cannot be sent: %s", entry.name, claim.error)
            else:
                claim.runs += 1
                messages += made
        claim.messages = messages
        return claim

    def _missed(self, entry: ScheduleEntry) -> str:
        return entry.missed or self.app.conf.beat_missed

    def _max_lateness(self, entry: ScheduleEntry) -> float | None:
        if entry.max_lateness is None and isinstance(entry.schedule, crontab):
            return self.app.conf.beat_cron_starting_deadline
        return entry.max_lateness

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
            self._fail(claims[0], exc)
            won = self.store.claim(claims)
        for claim in claims:
            if claim.name in won:
                self._won(claim)
        return self._read_again([claim.name for claim in claims if claim.name not in won])

    def _fail(self, claim: Claim, exc: Exception) -> None:
        claim.error = f"{type(exc).__name__}: {exc}"
        logger.error("schedule entry %s cannot be sent: %s", claim.name, claim.error)
        claim.failures, claim.runs, claim.messages = claim.failures + claim.runs, 0, ()

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

    def _deliver(self) -> None:
        """Publish what waits in the outbox, ours or a dead beat's."""
        while True:
            if not self._held or self.monotonic() > self._held_until:
                # Well before the lease ends and another beat takes it.
                self._held_until = self.monotonic() + self.app.conf.beat_lease / 2
                self._held = self.store.take(BATCH)
            if not self._held:
                return
            self._publish(self._held)
            self.store.sent(self._held)
            self._held = []

    def _publish(self, held: Sequence[Held]) -> None:
        try:
            self.app.broker.publish([unpack(one.packed) for one in held])
        except OperationalError:
            raise
        except Exception as exc:
            if len(held) > 1:
                for one in held:
                    self._publish([one])
            else:
                logger.error("a message of the schedule cannot be sent, and is dropped: %s", exc)


def _birth(version: str | None) -> str:
    """The part of a store's version that changes when it was made anew."""
    return (version or "").partition(".")[0]


def _has_run(record: Record) -> bool:
    """Is its next tick one that was claimed already, by another rule or another clock?"""
    return record.due is not None and record.last_due is not None and record.due <= record.last_due
