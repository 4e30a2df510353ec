"""From settlements to the arguments of the script that writes them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from taskq.backends.redis.documents import pack_outcome
from taskq.brokers.base import Delivery, Fate, Settlement
from taskq.brokers.redis.enqueue import ONCE_WINDOW, Envelopes, Places, Routed, member_head
from taskq.brokers.redis.scripts import SETTLE
from taskq.stores.redis.calls import Call, Word
from taskq.stores.redis.keys import FREE, GROUP, Layout

if TYPE_CHECKING:
    from taskq.backends.base import Outcome
    from taskq.backends.redis import RedisBackend
    from taskq.stores.redis.keys import QueueKeys

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
        self._sources = Places()
        self._source_keys: list[str] = []
        self._envelopes = Envelopes()
        self._words: list[Word] = []
        self._needs_room = False
        self._room = ""
        self.settlements: list[Settlement] = []

    def add(self, s: Settlement, follow_ups: Follow) -> None:
        """Add one settlement."""
        self.settlements.append(s)
        keys = self._layout.queue(s.delivery.queue)
        self._room = self._room or keys.room
        if s.fate is Fate.REQUEUE and not s.acknowledged:
            self._give_back(s, keys)
            return
        outcomes: Sequence[Outcome] = s.outcomes() if self._backend is not None else ()
        if s.fate is Fate.REQUEUE:  # acknowledged: nothing is left to give back
            outcomes, follow_ups = (), ()
        self._needs_room = self._needs_room or bool(outcomes or follow_ups)
        if s.acknowledged:
            self._words.append("a")
            self._parts(outcomes, follow_ups)
        elif s.fate is Fate.DEAD:
            self._bury(s, keys)
            self._parts(outcomes, follow_ups)
        else:
            self._finish(s, keys, outcomes, follow_ups)

    def _source(self, delivery: Delivery, keys: QueueKeys) -> tuple[int, str]:
        """The place of a delivery's stream, and its id there."""
        priority, entry = delivery.tag
        stream = keys.streams[priority]
        place = self._sources.of(stream)
        if 2 * place > len(self._source_keys):
            self._source_keys += stream, keys.born
        return place, entry

    def _finish(
        self, s: Settlement, keys: QueueKeys, outcomes: Sequence[Outcome], follow_ups: Follow
    ) -> None:
        source, entry = self._source(s.delivery, keys)
        others = self._envelopes.others
        if s.delivery.crashes:
            self._words += "h", others.of(keys.crashes), f"{s.delivery.tag[0]}:{entry}"
        if follow_ups or len(outcomes) > 1:
            self._words += "d", source, entry
            self._parts(outcomes, follow_ups)
        elif outcomes:
            (outcome,) = outcomes
            key = others.of(self._layout.result(outcome.task_id))
            self._words += "s", source, entry, key, outcome.state, pack_outcome(outcome)
        else:
            self._words += "n", source, entry

    def _bury(self, s: Settlement, keys: QueueKeys) -> None:
        source, entry = self._source(s.delivery, keys)
        d = s.delivery
        self._needs_room = True
        self._words += ("x", source, entry, self._envelopes.others.of(keys.crashes))
        self._words += (self._envelopes.streams.of(keys.dead), d.tag[0], s.reason)
        self._words += (repr(time.time()), d.deliveries, d.crashes + s.crashed, d.packed)

    def _parts(self, outcomes: Sequence[Outcome], follow_ups: Follow) -> None:
        self._words.append(len(outcomes))
        for outcome in outcomes:
            key = self._envelopes.others.of(self._layout.result(outcome.task_id))
            self._words += key, outcome.state, pack_outcome(outcome)
        self._words.append(len(follow_ups))
        for message, keys, temporary in follow_ups:
            self._words += self._envelopes.words(message, keys, temporary)

    def _give_back(self, s: Settlement, keys: QueueKeys) -> None:
        source, entry = self._source(s.delivery, keys)
        d, envelopes = s.delivery, self._envelopes
        priority = d.tag[0]
        head = (source, entry, envelopes.others.of(keys.crashes), f"{priority}:{entry}")
        if not s.delay:
            self._words += ("r", *head, int(s.crashed), int(s.unused), keys.wake)
            return
        self._needs_room = True
        member = member_head(priority, d.deliveries - s.unused, d.crashes + s.crashed)
        place = envelopes.delayed_set(keys)
        self._words += ("l", *head, place, int(s.delay * 1000), member, d.packed)

    def call(self) -> Call:
        """The call that writes all of it; it answers with those that cannot be written."""
        envelopes = self._envelopes
        ttl = self._backend.ttl if self._backend is not None else 0
        return SETTLE.call(
            [
                *(self._room, *self._source_keys, *envelopes.streams),
                *(*envelopes.sets, *envelopes.others),
            ],
            *(GROUP, self._me, ttl, int(ONCE_WINDOW * 1000), int(self._needs_room)),
            *(len(self._sources), len(envelopes.streams), len(envelopes.sets), FREE),
            *envelopes.channels,
            *self._words,
        )
