"""Log records that know in which task they were made."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from taskq.context import running

OUTSIDE = "???"
"""What stands for the name and id of a task where there is none, as in Celery."""

MakeRecord = Callable[..., logging.LogRecord]


def describe(record: logging.LogRecord) -> None:
    """Note in a record which task is running here: ``task_id``, ``task_name``, ``task_attempt``.

    Attempts are counted from 1; 0 stands for code that belongs to no task.
    """
    request = running.get()
    if request is None:
        record.task_id = record.task_name = OUTSIDE
        record.task_attempt = 0
    else:
        record.task_id = request.id or OUTSIDE
        record.task_name = request.task or OUTSIDE
        record.task_attempt = request.retries + 1


class TaskRecords:
    """Makes log records, and describes them.

    A record is described when it is made, since a handler may format it in another thread.

    Args:
        make: makes the record itself.
        process_name: what to call this process; by default what Python does.
    """

    def __init__(self, make: MakeRecord, process_name: str | None = None) -> None:
        self.make = make
        self.process_name = process_name

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        """Make a record; the arguments are those of `logging.LogRecord`."""
        record = self.make(*args, **kwargs)
        if self.process_name is not None:
            record.processName = self.process_name
        describe(record)
        return record


def describe_records() -> None:
    """Have all records described that are made from now on, whatever logger they come from."""
    make = logging.getLogRecordFactory()
    if not isinstance(make, TaskRecords):
        logging.setLogRecordFactory(TaskRecords(make))


def name_process(name: str) -> None:
    """Call this process so in log records, if they are described."""
    make = logging.getLogRecordFactory()
    if isinstance(make, TaskRecords):
        logging.setLogRecordFactory(TaskRecords(make.make, name))
