"""The broker that lives in one process: for tests, and for a worker inside a program."""

from taskq.brokers.memory.broker import ONCE_WINDOW, MemoryBroker

__all__ = ["ONCE_WINDOW", "MemoryBroker"]
