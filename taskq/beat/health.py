"""How a beat does, for probes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from taskq.health import Health

STUCK = 30.0
"""Seconds that one look at the schedule may take, after which beat is not alive."""


class BeatHealth:
    """Is told of each look at the schedule, and judges by it.

    Attributes:
        reason: why nothing can be sent, if nothing can.
        stopping: it has been told to stop.
    """

    def __init__(self) -> None:
        self._next = float("inf")
        self.reason = "beat is starting"
        self.stopping = False

    def looks_again(self, rest: float, reason: str = "") -> None:
        """It has looked, and does so again.

        Args:
            rest: in so many seconds.
            reason: why nothing could be sent, if that is so.
        """
        self._next = time.monotonic() + rest
        self.reason = reason

    def look(self, figures: Mapping[str, Any]) -> Health:
        """How it does now; can be called from any thread.

        Args:
            figures: for whoever looks.
        """
        stuck = time.monotonic() - self._next
        live, reason = stuck < STUCK, self.reason
        if not live:
            reason = f"one look at the schedule has taken {stuck:.0f} s"
        elif self.stopping:
            reason = "beat is shutting down"
        return Health(live, not reason, reason, figures)
