"""The tables of taskq in the project's database."""

from taskq.contrib.django.models.marks import ScheduleMark, ScheduleMessage
from taskq.contrib.django.models.outbox import OutboxMessage
from taskq.contrib.django.models.results import ChordPart, GroupResult, TaskResult
from taskq.contrib.django.models.schedules import PeriodicTask

__all__ = [
    "ChordPart",
    "GroupResult",
    "OutboxMessage",
    "PeriodicTask",
    "ScheduleMark",
    "ScheduleMessage",
    "TaskResult",
]
