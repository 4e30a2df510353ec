"""Setting up a worker's log."""

from __future__ import annotations

import logging
import sys
from logging.handlers import WatchedFileHandler
from typing import TYPE_CHECKING

from taskq import signals
from taskq.log.formats import ColorFormatter, InAndOutside, JsonFormatter, TaskFormatter
from taskq.log.records import describe_records

if TYPE_CHECKING:
    from taskq.settings import Settings


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
    describe_records()
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
    outside, inside = _formatters(conf, colorize)
    if not root.handlers:
        root.addHandler(_handler(logfile, InAndOutside(outside, inside)))
    tasks = logging.getLogger("taskq.task")
    tasks.handlers = [_handler(logfile, inside)]
    tasks.propagate = False
    arguments = {"loglevel": level, "logfile": logfile, "colorize": colorize}
    signals.after_setup_logger.send(None, logger=root, format=conf.worker_log_format, **arguments)
    signals.after_setup_task_logger.send(
        None, logger=tasks, format=conf.worker_task_log_format, **arguments
    )


def _formatters(conf: Settings, colorize: bool) -> tuple[logging.Formatter, logging.Formatter]:
    """For what is logged outside of tasks, and inside."""
    if conf.worker_log_json:
        return JsonFormatter(), JsonFormatter()
    make = ColorFormatter if colorize else TaskFormatter
    return (
        make(conf.worker_log_format, conf.worker_log_datefmt),
        make(conf.worker_task_log_format, conf.worker_task_log_datefmt),
    )


def _handler(logfile: str | None, formatter: logging.Formatter) -> logging.Handler:
    # What logrotate(8) has moved away is opened anew, without a signal.
    handler = WatchedFileHandler(logfile) if logfile else logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    return handler
