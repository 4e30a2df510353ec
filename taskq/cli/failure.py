"""How a command fails: in a few lines on standard error, and with a status."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Any

import click

import taskq
from taskq.exceptions import TaskQError

_OWN_CODE = os.path.dirname(taskq.__file__) + os.sep
_IMPORT_CODE = os.path.dirname(os.__file__) + os.sep + "importlib"


class Failure(click.ClickException):
    """A command cannot go on: the world is not as it needs it.

    Args:
        message: what is wrong, and what to do.
        details: lines to show before the message.
    """

    exit_code = 1

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details
        # Asked for now: when it is shown, no command is running any more.
        ctx = click.get_current_context(silent=True)
        self._color = ctx.color if ctx is not None else None

    def show(self, file: IO[Any] | None = None) -> None:
        """Write it to standard error."""
        stream = file or sys.stderr
        click.echo(self.details, file=stream, nl=False)
        label = click.style("Error:", fg="red")
        click.echo(f"{label} {self.message}", file=stream, color=self._color)


class Misuse(Failure):
    """The call, or the app's set-up, must be changed before it can work."""

    exit_code = 2


@contextmanager
def user_code(purpose: str) -> Iterator[None]:
    """Import modules of the user's; an error in one is shown as theirs.

    Args:
        purpose: what they are imported for, to begin the message with.

    Raises:
        Misuse: one of them raised something, or has called ``sys.exit``.
    """
    try:
        yield
    except (Exception, SystemExit) as exc:
        theirs = _from_first_foreign_frame(exc.__traceback__)
        if isinstance(exc, TaskQError):
            raise Misuse(f"{exc}{_place(theirs)}") from exc
        if theirs is None and not isinstance(exc, SyntaxError):
            raise
        lines = traceback.format_exception(type(exc), exc, theirs)
        what = "".join(traceback.format_exception_only(exc)).strip().splitlines()[-1]
        raise Misuse(
            f"{purpose}: {_failed_module(theirs, exc)} cannot be imported: {what}",
            details="".join(lines),
        ) from exc


def _from_first_foreign_frame(tb: TracebackType | None) -> TracebackType | None:
    """The traceback without what led from the command to the user's code."""
    while tb is not None and not _is_foreign(tb):
        tb = tb.tb_next
    return tb


def _is_foreign(tb: TracebackType) -> bool:
    name = tb.tb_frame.f_code.co_filename
    return not name.startswith((_OWN_CODE, _IMPORT_CODE, "<frozen importlib"))


def _foreign_frames(tb: TracebackType | None) -> Iterator[TracebackType]:
    while tb is not None:
        if _is_foreign(tb):
            yield tb
        tb = tb.tb_next


def _place(tb: TracebackType | None) -> str:
    """Where in the user's code something of taskq has raised an error."""
    frames = list(_foreign_frames(tb))
    if not frames:
        return ""
    return f"\n  (in {frames[-1].tb_frame.f_code.co_filename}, line {frames[-1].tb_lineno})"


def _failed_module(tb: TracebackType | None, exc: BaseException) -> str:
    """The innermost module that was being imported."""
    if isinstance(exc, SyntaxError) and exc.filename:
        return exc.filename
    modules = [
        frame.tb_frame.f_globals["__name__"]
        for frame in _foreign_frames(tb)
        if frame.tb_frame.f_code.co_name == "<module>"
    ]
    return f"module {modules[-1]!r}" if modules else "a module"
