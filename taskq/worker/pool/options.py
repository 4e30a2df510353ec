"""What a child must know of its worker."""

from __future__ import annotations

import msgspec


class ChildOptions(msgspec.Struct, array_like=True):
    """What a child must know of its worker.

    Attributes:
        hostname: the worker's name.
        max_tasks: tasks after which the child makes way for a new one.
        max_memory: resident memory in KiB after which it does.
        verbose: put results' texts into reports, for the log.
        relay: broker and results are reached through the parent.
        pool: which executor runs the tasks.
        lanes: how many tasks the child can be told to run at a time.
    """

    hostname: str
    max_tasks: int | None = None
    max_memory: int | None = None
    verbose: bool = False
    relay: bool = False
    pool: str = "prefork"
    lanes: int = 1
