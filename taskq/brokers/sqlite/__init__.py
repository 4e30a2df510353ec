"""The embedded broker: one SQLite file."""

from taskq.brokers.sqlite.broker import SqliteBroker

__all__ = ["SqliteBroker"]
