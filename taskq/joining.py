"""Whether a task may wait for another one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from taskq.context import running

_allowed: ContextVar[bool | None] = ContextVar("taskq_join_allowed", default=None)


def may_join() -> bool:
    """May the running code wait for a result?  Inside a task it must not, unless it is allowed."""
    allowed = _allowed.get()
    return running.get() is None if allowed is None else allowed


def refuse_inside_task() -> None:
    """Raise RuntimeError inside a task: waiting there can go on for ever."""
    if not may_join():
        raise RuntimeError(
            "never wait for a result inside a task: workers that wait for each other stop "
            "for ever.  Link the tasks as a chain, or pass disable_sync_subtasks=False, or "
            "wait within `with allow_join_result():`"
        )


@contextmanager
def allow_join_result() -> Iterator[None]:
    """Within this, a task may wait for the results of others.

    There must be workers to run them, however many tasks wait.
    """
    token = _allowed.set(True)
    try:
        yield
    finally:
        _allowed.reset(token)


@contextmanager
def denied_join_result() -> Iterator[None]:
    """Within this, nobody may wait for results, inside a task or not."""
    token = _allowed.set(False)
    try:
        yield
    finally:
        _allowed.reset(token)
