"""Logging: the worker's set-up, and loggers for tasks."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from taskq import signals
from taskq.context import running

if TYPE_CHECKING:
    from taskq.settings import Settings


class TaskFormatter(logging.Formatter):
    """Gives each record the name and id of the task that wrote it, or ``???``."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record, with ``task_name`` and ``task_id``."""
        request = running.get()
        record.task_id = (request.id if request is not None else None) or "???"
        record.task_name = (request.task if request is not None else None) or "???"
        return super().format(record)


_COLORS = {logging.WARNING: 33, logging.ERROR: 31, logging.CRITICAL: 35}
"""ANSI colours: yellow, red, magenta."""


class ColorFormatter(logging.Formatter):
    """Colours lines by level."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record, coloured if it is a warning or worse."""
        text = super().format(record)
        color = _COLORS.get(record.levelno)
        return f"\033[{color}m{text}\033[0m" if color else text


def get_logger(name: str) -> logging.Logger:
    """A logger by name."""
    return logging.getLogger(name)


def get_task_logger(name: str) -> logging.Logger:
    """A logger for tasks: its lines carry the task's name and id.

    Args:
        name: usually ``__name__``.
    """
    logger = logging.getLogger(name)
    if logger.parent is logging.getLogger():
        logger.parent = logging.getLogger("taskq.task")
    return logger


def setup_logging(
    conf: Settings, level: int | str = logging.WARNING, logfile: str | None = None
) -> None:
    """Set up a worker's logging, unless a receiver of ``setup_logging`` does.

    Args:
        conf: the app's settings.
        level: name or number.
        logfile: a path; standard error by default.
    """
    colorize = conf.worker_log_color
    if signals.setup_logging.receivers:
        signals.setup_logging.send(
            None,
            loglevel=level,
            logfile=logfile,
            format=conf.worker_log_format,
            colorize=colorize,
        )
        return
    root = logging.getLogger()
    if conf.worker_hijack_root_logger:
        root.handlers.clear()
    root.setLevel(level)
    if colorize is None:
        colorize = logfile is None and sys.stderr is not None and sys.stderr.isatty()
    plain = ColorFormatter if colorize else logging.Formatter
    handler = _handler(logfile, plain(conf.worker_log_format))
    if not root.handlers:
        root.addHandler(handler)
    tasks = logging.getLogger("taskq.task")
    tasks.handlers = [_handler(logfile, TaskFormatter(conf.worker_task_log_format))]
    tasks.propagate = False
    arguments = {
        "loglevel": level,
        "logfile": logfile,
        "format": conf.worker_log_format,
        "colorize": colorize,
    }
    signals.after_setup_logger.send(None, logger=root, **arguments)
    signals.after_setup_task_logger.send(None, logger=tasks, **arguments)


def _handler(logfile: str | None, formatter: logging.Formatter) -> logging.Handler:
    handler: logging.Handler = (
        logging.FileHandler(logfile) if logfile else logging.StreamHandler(sys.stderr)
    )
    handler.setFormatter(formatter)
    return handler
