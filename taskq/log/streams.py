"""What tasks print, as lines of the log."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from taskq.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from taskq.settings import Settings


class _Lines(threading.local):
    """What one thread has written of a line so far, and whether it is logging just now."""

    text = ""
    logs = False


class LogStream(io.TextIOBase):
    """A stream whose lines are logged.

    Args:
        logger: where to.
        level: as what.
        stream: what it stands for; whoever needs a file descriptor gets that one's, and what
            logging itself complains of is written there.
    """

    def __init__(self, logger: logging.Logger, level: int, stream: io.TextIOBase | None) -> None:
        self._logger = logger
        self._level = level
        self._stream = stream
        self._lines = _Lines()

    def write(self, text: str) -> int:
        """Log the lines that are complete; the rest waits for its end."""
        lines = self._lines
        if lines.logs:  # a handler has failed and says so: not to itself
            return self._stream.write(text) if self._stream is not None else len(text)
        *complete, lines.text = (lines.text + text).split("\n")
        for line in complete:
            self._log(line)
        return len(text)

    def flush(self) -> None:
        """Log what has been written of a line that has no end yet."""
        text, self._lines.text = self._lines.text, ""
        self._log(text)

    def _log(self, line: str) -> None:
        if line.strip() and not self._lines.logs:
            self._lines.logs = True
            try:
                self._logger.log(self._level, "%s", line.rstrip())
            finally:
                self._lines.logs = False

    def writable(self) -> bool:
        """It can be written to."""
        return True

    def fileno(self) -> int:
        """The descriptor of the stream that it stands for."""
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a slot of the base class
        """That of texts in the log."""
        return "utf-8"


def redirect_stdouts(conf: Settings) -> None:
    """Have what is printed from now on logged, if `worker_redirect_stdouts` says so.

    Raises:
        ImproperlyConfigured: `worker_redirect_stdouts_level` is no level.
    """
    if not conf.worker_redirect_stdouts:
        return
    text = conf.worker_redirect_stdouts_level
    level = logging.getLevelNamesMapping().get(text.upper(), -1)
    if level < 0:
        raise ImproperlyConfigured(
            f"worker_redirect_stdouts_level={text!r}: choose one of "
            f"{', '.join(logging.getLevelNamesMapping())}"
        )
    logger = logging.getLogger("taskq.redirected")
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, LogStream):
            setattr(sys, name, LogStream(logger, level, stream))


@contextmanager
def redirected_stdouts(conf: Settings) -> Iterator[None]:
    """`redirect_stdouts` while the block runs."""
    before = sys.stdout, sys.stderr
    try:
        redirect_stdouts(conf)
        yield
    finally:
        sys.stdout, sys.stderr = before
