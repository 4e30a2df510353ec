"""Publishing what a store could not send in the step that claimed it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from taskq.beat.stores.base import Held, ScheduleStore
from taskq.exceptions import OperationalError
from taskq.message import unpack

if TYPE_CHECKING:
    from taskq.brokers.base import Broker

logger = logging.getLogger("taskq.beat")

_BATCH = 500
"""Messages that are taken and published in one step at most."""


class Outbox:
    """A store's outbox, as one beat empties it.

    Args:
        store: the store.
        broker: where messages go.
        lease: seconds for which the store lets a beat hold messages.
        monotonic: a clock that nobody sets.
    """

    def __init__(
        self,
        store: ScheduleStore,
        broker: Broker,
        lease: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._broker = broker
        self._lease = lease
        self._monotonic = monotonic
        self._held: Sequence[Held] = ()
        self._until = 0.0

    def deliver(self) -> None:
        """Publish what is there, this beat's or a dead one's.

        Raises:
            OperationalError: store or broker cannot be reached; what is held is tried again.
        """
        while True:
            if not self._held or self._monotonic() > self._until:
                # Let go of them well before another beat may take them.
                self._until = self._monotonic() + self._lease / 2
                self._held = self._store.take(_BATCH)
            if not self._held:
                return
            self._publish(self._held)
            self._store.sent(self._held)
            self._held = ()

    def _publish(self, held: Sequence[Held]) -> None:
        try:
            self._broker.publish([unpack(one.packed) for one in held])
        except OperationalError:
            raise
        except Exception as exc:
            if len(held) == 1:
                logger.error("a message of the schedule cannot be sent, and is dropped: %s", exc)
            else:
                for one in held:
                    self._publish([one])
