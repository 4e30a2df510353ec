"""Logging: the worker's set-up, loggers for tasks, and what stands in each record."""

from taskq.log.formats import ColorFormatter, JsonFormatter, TaskFormatter
from taskq.log.records import name_process
from taskq.log.setup import get_logger, get_task_logger, setup_logging
from taskq.log.streams import redirect_stdouts, redirected_stdouts

__all__ = [
    "ColorFormatter",
    "JsonFormatter",
    "TaskFormatter",
    "get_logger",
    "get_task_logger",
    "name_process",
    "redirect_stdouts",
    "redirected_stdouts",
    "setup_logging",
]
