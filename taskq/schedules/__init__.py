"""When something runs again and again: rules, and the entries that name a task for one."""

from taskq.schedules.base import BaseSchedule, schedstate
from taskq.schedules.bounded import bounded
from taskq.schedules.clocked import clocked
from taskq.schedules.crontab import crontab
from taskq.schedules.entry import ScheduleEntry, read_entries
from taskq.schedules.interval import schedule
from taskq.schedules.plain import read_schedule
from taskq.schedules.solar import solar

__all__ = [
    "BaseSchedule",
    "ScheduleEntry",
    "bounded",
    "clocked",
    "crontab",
    "read_entries",
    "read_schedule",
    "schedstate",
    "schedule",
    "solar",
]
