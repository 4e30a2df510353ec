"""How log records are written: as lines, in colour, or as JSON."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from taskq.log.records import describe

_COLORS = {logging.WARNING: 33, logging.ERROR: 31, logging.CRITICAL: 35}
"""ANSI colours: yellow, red, magenta."""

_KNOWN = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
"""Attributes that every record has; others were given as ``extra``."""


class TaskFormatter(logging.Formatter):
    """Formats with the task that a record was made in, also where nobody has described it."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record, with ``task_name``, ``task_id`` and ``task_attempt``."""
        if not hasattr(record, "task_attempt"):
            describe(record)
        return super().format(record)


class ColorFormatter(TaskFormatter):
    """Colours lines by level."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record, coloured if it is a warning or worse."""
        text = super().format(record)
        color = _COLORS.get(record.levelno)
        return f"\033[{color}m{text}\033[0m" if color else text


class InAndOutside(logging.Formatter):
    """Formats what is logged inside of tasks in one way, and everything else in another.

    Args:
        outside: for records that belong to no task.
        inside: for those that do.
    """

    def __init__(self, outside: logging.Formatter, inside: logging.Formatter) -> None:
        super().__init__()
        self.outside = outside
        self.inside = inside

    def format(self, record: logging.LogRecord) -> str:
        """Format a record by one of the two."""
        is_inside = getattr(record, "task_attempt", 0) > 0
        return (self.inside if is_inside else self.outside).format(record)


class JsonFormatter(logging.Formatter):
    """Writes each record as one line of JSON.

    What was given as ``extra`` stands beside the fields of its own; what JSON does not know is
    written as text.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        # msgspec is imported by those who use it.
        import msgspec

        document: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
            "process_name": record.processName,
            "thread": record.threadName,
        }
        if not hasattr(record, "task_attempt"):
            describe(record)
        fields = vars(record)
        if fields["task_attempt"]:
            for name in ("task_id", "task_name", "task_attempt"):
                document[name] = fields[name]
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        elif record.exc_text:
            document["exception"] = record.exc_text
        if record.stack_info:
            document["stack"] = self.formatStack(record.stack_info)
        for name in fields.keys() - _KNOWN - {"task_id", "task_name", "task_attempt"}:
            document.setdefault(name, fields[name])
        try:
            return msgspec.json.encode(document, enc_hook=str).decode()
        except Exception:  # whatever somebody has put into a record
            plain = {name: _printable(value) for name, value in document.items()}
            return msgspec.json.encode(plain).decode()


def _printable(value: Any) -> str:
    return str(value).encode(errors="backslashreplace").decode()
