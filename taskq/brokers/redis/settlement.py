"""From settlements to the arguments of the script that writes them."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from taskq.backends.documents import pack_outcome
from taskq.brokers.base import Delivery, Fate, Settlement
from taskq.brokers.redis.enqueue import ONCE_WINDOW, Envelopes, Routed, member_head
from taskq.brokers.redis.scripts import SETTLE
from taskq.stores.redis.calls import Call, Word
from taskq.stores.redis.keys import FREE, GROUP, Layout

if TYPE_CHECKING:
    from taskq.backends.base import ChordPart, Outcome
    from taskq.backends.redis import RedisBackend

Follow = Sequence[Routed]
"""The messages that follow one settlement, with their queues."""


class SettleCall:
    """One call of the script; `add` settlements of one slot to it, then `call`.

    Args:
        layout: names the keys.
        me: the consumer.
        backend: the store whose outcomes are written in the same step, if it is the same.
    """

    def __init__(self, layout: Layout, me: str, backend: RedisBackend | None) -> None:
        self._layout = layout
        self._me = me
        self._backend = backend
        self._sources: dict[tuple[str, int], int] = {}
        self._source_keys: list[str] = []
        self._envelopes = Envelopes()
        self._results: list[str] = []
        self._words: list[Word] = []
        # Chords by the ids of their headers: their places among their own words.
        self._chords: dict[str, int] = {}
        self._chord_words: list[Word] = []
        self._room = False
        self.settlements: list[Settlement] = []

    def add(self, s: Settlement, follow_ups: Follow) -> None:
        """Add one settlement."""
        self.settlements.append(s)
        if s.fate is Fate.DONE and not (s.acknowledged or follow_ups or s.further or s.part):
            self._finish(s)
        elif s.fate is not Fate.REQUEUE:
            # Most members of chords have a result, and nothing else follows them.
            alone = s.fate is Fate.DONE and not (s.acknowledged or follow_ups or s.further)
            if alone and s.part is not None and s.outcome is not None and self._backend is not None:
                self._finish_member(s, s.part, s.outcome)
            else:
                self._end(s, follow_ups)
        elif s.acknowledged:
            self._words += "a", 0, 0, 0  # nothing is left to give back
        else:
            self._give_back(s)

    def _source(self, delivery: Delivery) -> int:
        """The place of a delivery's stream."""
        priority = delivery.tag[0]
        place = self._sources.get((delivery.queue, priority))
        if place is None:
            place = self._sources[delivery.queue, priority] = len(self._sources) + 1
            keys = self._layout.queue(delivery.queue)
            self._source_keys += keys.streams[priority], keys.born
        return place

    def _finish(self, s: Settlement) -> None:
        """One that is done, with a result or nothing: nearly all of them."""
        delivery, outcome = s.delivery, s.outcome
        source, entry = self._source(delivery), delivery.tag[1]
        if delivery.crashes:
            self._forget_crashes(delivery)
        if outcome is None or self._backend is None:
            self._words += "n", source, entry
            return
        self._results.append(self._layout.result(outcome.task_id))
        self._words += "s", source, entry, outcome.state, pack_outcome(outcome)
        self._room = True

    def _finish_member(self, s: Settlement, part: ChordPart, outcome: Outcome) -> None:
        """A member of a chord that is done, with a result."""
        delivery = s.delivery
        if delivery.crashes:
            self._forget_crashes(delivery)
        self._results.append(self._layout.result(outcome.task_id))
        value = pack_outcome(outcome)
        payload = b"" if part.payload == value else part.payload
        self._words += "m", self._source(delivery), delivery.tag[1], outcome.state, value
        self._words += self._chord(part), part.index, payload
        self._room = True

    def _forget_crashes(self, delivery: Delivery) -> None:
        priority, entry = delivery.tag
        crashes = self._envelopes.others.of(self._layout.queue(delivery.queue).crashes)
        self._words += "h", crashes, f"{priority}:{entry}"

    def _end(self, s: Settlement, follow_ups: Follow) -> None:
        """One that something follows, that is dead, or that was acknowledged before."""
        d = s.delivery
        if s.acknowledged:
            self._words.append("a")
        elif s.fate is Fate.DONE:
            if d.crashes:
                self._forget_crashes(d)
            self._words += "d", self._source(d), d.tag[1]
        else:
            keys, envelopes = self._layout.queue(d.queue), self._envelopes
            priority, entry = d.tag
            self._words += "x", self._source(d), entry, envelopes.others.of(keys.crashes)
            self._words += envelopes.streams.of(keys.dead), priority, s.reason
            self._words += repr(time.time()), d.deliveries, d.crashes + s.crashed, d.packed
        outcomes: Sequence[Outcome] = s.outcomes() if self._backend is not None else ()
        self._words.append(len(outcomes))
        for outcome in outcomes:
            self._results.append(self._layout.result(outcome.task_id))
            self._words += outcome.state, pack_outcome(outcome)
        self._words.append(len(follow_ups))
        for message, keys, temporary in follow_ups:
            self._words += self._envelopes.words(message, keys, temporary)
        self._contribute(s.part)
        self._room = True

    def _contribute(self, part: ChordPart | None) -> None:
        """What it contributes to a chord, if this store counts it."""
        if part is None or self._backend is None:
            self._words.append(0)
            return
        self._words += 1, self._chord(part), part.index, part.payload

    def _chord(self, part: ChordPart) -> int:
        """The number of a member's chord among those of this call."""
        known = self._chords.get(part.group)
        if known is None:
            keys = self._layout.queue(part.done.routing_key)
            done = self._envelopes.words(part.done, keys, temporary=False)
            known = self._chords[part.group] = len(self._chords) + 1
            parts = self._envelopes.others.of(self._layout.parts(part.group))
            self._chord_words += parts, part.size, *done
        return known

    def _give_back(self, s: Settlement) -> None:
        d, envelopes = s.delivery, self._envelopes
        priority, entry = d.tag
        keys = self._layout.queue(d.queue)
        crashes, field = envelopes.others.of(keys.crashes), f"{priority}:{entry}"
        head = (self._source(d), entry, crashes, field)
        if not s.delay:
            self._words += ("r", *head, int(s.crashed), int(s.unused), keys.wake)
            return
        self._room = True
        member = member_head(priority, d.deliveries - s.unused, d.crashes + s.crashed)
        place = envelopes.delayed_set(keys)
        # Rounded up, and one more for what the server's clock leaves out: none may come early.
        self._words += ("l", *head, place, math.ceil(s.delay * 1000) + 1, member, d.packed)

    def call(self) -> Call:
        """The call that writes all of it; it answers with those that cannot be written."""
        envelopes = self._envelopes
        room = self._layout.queue(self.settlements[0].delivery.queue).room
        ttl = self._backend.ttl if self._backend is not None else 0
        return SETTLE.call(
            [
                *(room, *self._source_keys, *envelopes.streams),
                *(*envelopes.sets, *envelopes.others, *self._results),
            ],
            *(GROUP, self._me, ttl, int(ONCE_WINDOW * 1000), int(self._room)),
            *(len(self._sources), len(envelopes.streams), len(envelopes.sets), FREE),
            len(envelopes.others),
            *envelopes.channels,
            len(self._chords),
            *self._chord_words,
            *self._words,
        )
