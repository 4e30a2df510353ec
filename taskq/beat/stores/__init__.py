"""Where beat keeps what runs when, and what has run."""

from taskq.beat.stores.base import Claim, Held, Record, ScheduleStore
from taskq.beat.stores.registry import open_store

__all__ = ["Claim", "Held", "Record", "ScheduleStore", "open_store"]
